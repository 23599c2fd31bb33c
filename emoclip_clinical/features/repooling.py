"""Pooling interviews of a features folder anew, without some of their segments."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from emoclip_clinical.features.pooled_parts import scored_segments
from emoclip_clinical.features.pooling import ScoredSegments, pool_segments, pooled_names
from emoclip_clinical.features.pooling_config import PoolingStatistic, PoolingWeights
from emoclip_clinical.features.scores import PromptVectors, score_columns
from emoclip_clinical.records import InputError
from emoclip_clinical.tables.parquet import damage_told

SEGMENTS = "segments.parquet"
EMBEDDINGS = "embeddings.parquet"
SETTINGS = "features.json"


@dataclass(frozen=True)
class KeptSegments:
    """The segments of one interview that count.

    Attributes
    ----------
    scored : ScoredSegments
        Those with status ``ok`` that are not left out.
    onset, duration : ndarray of float, shape (n_ok,)
        Seconds of the video's own clock.
    face_coverage : ndarray of float, shape (n_ok,)
        Share of the sampled frames that show the face; NaN where no face was looked for.
    """

    scored: ScoredSegments
    onset: np.ndarray
    duration: np.ndarray
    face_coverage: np.ndarray


@dataclass(frozen=True)
class PooledFolder:
    """A folder that extract wrote, and how it pooled.

    Attributes
    ----------
    folder : Path
    prompt_vectors : tuple of PromptVectors
        The sets that were scored; their vectors are not known here, and empty.
    pooling : tuple of str
        Statistics.
    weights : {'equal', 'face_seconds'}
    embedding_width : int
    """

    folder: Path
    prompt_vectors: tuple[PromptVectors, ...]
    pooling: tuple[PoolingStatistic, ...]
    weights: PoolingWeights
    embedding_width: int

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the pooled features."""
        return pooled_names(
            self.prompt_vectors, embedding_width=self.embedding_width, pooling=self.pooling
        )

    def segments(self, interview: str, *, left_out: Collection[int] = ()) -> KeptSegments:
        """Read the usable segments of one interview.

        Parameters
        ----------
        interview : str
            Its name.
        left_out : collection of int
            Numbers of segments that do not count.
        """
        tables = []
        for path in (self.folder / SEGMENTS, self.folder / EMBEDDINGS):
            with damage_told(path):
                theirs = pq.read_table(path, filters=[("interview", "==", interview)])
            tables.append(_without(theirs, left_out))
        usable = tables[0].filter(pc.equal(tables[0]["status"], "ok"))
        return KeptSegments(
            scored=scored_segments(*tables, columns=score_columns(self.prompt_vectors)),
            onset=usable["onset"].to_numpy(),
            duration=usable["duration"].to_numpy(),
            face_coverage=pc.fill_null(usable["face_coverage"], np.nan).to_numpy(),
        )

    def pool(self, segments: ScoredSegments) -> dict[str, float | None]:
        """Pool segments as extract did."""
        return pool_segments(
            segments,
            prompt_vectors=self.prompt_vectors,
            pooling=self.pooling,
            weights=self.weights,
        )


def open_pooled_folder(folder: Path) -> PooledFolder:
    """Read from ``features.json`` how a folder was pooled.

    Parameters
    ----------
    folder : Path
        What extract wrote.

    Raises
    ------
    InputError
        If a table is not there, or ``features.json`` does not say how it was pooled.
    """
    faults = [
        f"{name}: it is wanted in the features folder, beside interviews.parquet"
        for name in (SEGMENTS, EMBEDDINGS, SETTINGS)
        if not (folder / name).is_file()
    ]
    if faults:
        raise InputError(faults)
    try:
        settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        made = PooledFolder(
            folder=folder,
            prompt_vectors=tuple(v for raw in settings["prompts"] for v in _prompt_vectors(raw)),
            pooling=tuple(settings["pooling"]["statistics"]),
            weights=settings["pooling"]["weights"],
            embedding_width=int(settings["model"]["embedding_width"]),
        )
        same = list(made.names) == settings["pooled_features"]
    except (OSError, ValueError, KeyError, TypeError):
        same = False
    if not same:
        raise InputError(
            f"{SETTINGS} does not say how interviews were pooled, or says it in the way of another "
            "version: run extract again (no video is read again where nothing else has changed)"
        )
    return made


def _prompt_vectors(raw: dict[str, object]) -> list[PromptVectors]:
    nothing = np.zeros((0, 0), dtype=np.float32)
    name = str(raw["name"])
    sets = [(name, raw["classes"]), (f"{name}_compounds", raw["compounds"])]
    return [
        PromptVectors(title, tuple(str(entry[0]) for entry in entries), nothing)
        for title, entries in sets
        if isinstance(entries, list) and entries
    ]


def _without(table: pa.Table, left_out: Collection[int]) -> pa.Table:
    if not left_out:
        return table
    gone = pc.is_in(table["segment"], value_set=pa.array(sorted(left_out), type=pa.int32()))
    return table.filter(pc.invert(gone))
