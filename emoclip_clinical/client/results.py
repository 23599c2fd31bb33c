"""What the client hands back: tables, and small records of what the server has."""

from __future__ import annotations

import inspect
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx2
import numpy as np
import pandas as pd
import pyarrow as pa

_Record = TypeVar("_Record")


@dataclass(frozen=True)
class ModelFacts:
    """The model that a server has loaded.

    Attributes
    ----------
    name, hash : str
        The hash is the one in ``features.json`` of what the model extracted.
    embedding_width : int
        Width d of every vector.
    image_size_pixels : int
        Side of the square that every picture is made to.
    sample_fps : float
        Frames a second of the clips that it was trained on; clips should be sampled so.
    frames_per_clip : int
        Longest clip of its training, in sampled frames.
    temperature : float
        Divides the cosines before the softmax.
    has_text_tower : bool
        Whether texts and scores can be asked for.
    precision, device : str
        What the image tower computes with, and where.
    """

    name: str
    hash: str
    embedding_width: int
    image_size_pixels: int
    sample_fps: float
    frames_per_clip: int
    temperature: float
    has_text_tower: bool
    precision: str
    device: str


@dataclass(frozen=True)
class PromptSetFacts:
    """A prompt set that a server has loaded: its name, classes and compounds."""

    name: str
    classes: tuple[str, ...]
    compounds: tuple[str, ...]


@dataclass(frozen=True)
class EstimatorFacts:
    """An estimator that a server has loaded.

    Attributes
    ----------
    target : str
        What it estimates.
    n_subjects : int or None
        People that it was fitted to, where that is known.
    minimum, maximum : float or None
        The scale's range, where it is known.
    level : float
        Share of new subjects whose rating an interval is to hold.
    n_features : int
        Feature columns that it needs.
    for_videos : bool
        Whether the server reads videos as those were read that it was fitted to.
    notice : str
        What its estimates may be used for.
    """

    target: str
    n_subjects: int | None
    minimum: float | None
    maximum: float | None
    level: float
    n_features: int
    for_videos: bool
    notice: str


@dataclass(frozen=True)
class Models:
    """Everything that a server has loaded."""

    model: ModelFacts
    prompt_sets: tuple[PromptSetFacts, ...]
    estimators: tuple[EstimatorFacts, ...]


@dataclass(frozen=True)
class Estimates:
    """Estimates of visits that were not rated; research use only.

    Attributes
    ----------
    target : str
        What is estimated.
    table : DataFrame
        A row a visit, with the columns of ``predict``: ``predicted, predicted_unclipped, low,
        high, level, status, reason, out_of_range, distance, ...``; a video has no
        ``participant_id`` and ``session_id``.
    excluded : DataFrame
        ``participant_id, session_id, reason`` of visits without an estimate.
    warnings : tuple of str
        What the user should know.
    notice : str
        What the estimates may be used for.
    video, settings : mapping
        How the video as a whole was (the columns of ``interviews.parquet`` that are no features),
        and how it was read; empty for features.
    """

    target: str
    table: pd.DataFrame
    excluded: pd.DataFrame
    warnings: tuple[str, ...]
    notice: str
    video: Mapping[str, object]
    settings: Mapping[str, object]


def models(content: Mapping[str, Any]) -> Models:
    """Build the record from the server's JSON; keys that this version does not know are left."""
    return Models(
        _record(ModelFacts, content["model"]),
        tuple(
            PromptSetFacts(
                str(entry["name"]), tuple(entry["classes"]), tuple(entry.get("compounds", ()))
            )
            for entry in content["prompt_sets"]
        ),
        tuple(_record(EstimatorFacts, entry) for entry in content["estimators"]),
    )


def _record(kind: Callable[..., _Record], content: Mapping[str, Any]) -> _Record:
    known = inspect.signature(kind).parameters
    return kind(**{name: content.get(name) for name in known})


def vectors(response: httpx2.Response) -> np.ndarray:
    """Read an answer in npy format, float32 of shape (n, d)."""
    # Without pickles, which run code when they are read.
    array: np.ndarray = np.load(io.BytesIO(response.content), allow_pickle=False)
    return array


def arrow_table(response: httpx2.Response) -> pa.Table:
    """Read an answer in Arrow format."""
    with pa.ipc.open_stream(response.content) as reader:
        return reader.read_all()


def about(table: pa.Table) -> dict[str, Any]:
    """Return what the answer says beside its rows."""
    metadata = table.schema.metadata or {}
    content: dict[str, Any] = json.loads(metadata.get(b"about", b"{}"))
    return content


def frame(table: pa.Table) -> pd.DataFrame:
    """Return the rows as a data frame, with `about` in its ``attrs``."""
    made: pd.DataFrame = table.to_pandas()
    made.attrs.update(about(table))
    return made


def estimates(table: pa.Table) -> Estimates:
    """Build the record from the server's table."""
    said = about(table)
    excluded = pd.DataFrame(
        said.get("excluded", []), columns=["participant_id", "session_id", "reason"]
    )
    return Estimates(
        str(said["target"]),
        table.to_pandas(),
        excluded,
        tuple(map(str, said.get("warnings", ()))),
        str(said.get("notice", "")),
        said.get("video") or {},
        said.get("settings") or {},
    )
