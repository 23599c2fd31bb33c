"""Tables about clips and videos."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from emoclip_clinical.features.config import ExtractionConfig
from emoclip_clinical.features.layout import vector_column
from emoclip_clinical.features.reading_results import InterviewReading
from emoclip_clinical.features.scores import PromptVectors, score_embeddings
from emoclip_clinical.features.segments import Grid
from emoclip_clinical.serving.answers import EMBEDDING

_KEYS = ["participant_id", "session_id", "interview"]


def embedding_table(vectors: np.ndarray) -> pa.Table:
    """Return vectors of shape (n, d) as a table."""
    return pa.table({EMBEDDING: vector_column(vectors)})


def score_table(
    vectors: np.ndarray, prompts: Sequence[PromptVectors], *, temperature: float
) -> pa.Table:
    """Return the scores of embeddings of shape (n, d); see `score_embeddings`."""
    scores = score_embeddings(vectors, prompts, temperature=temperature)
    return pa.table({name: pa.array(values) for name, values in scores.items()})


def segment_scores(reading: InterviewReading) -> pa.Table:
    """Return a video's segments with their quality and scores, without its keys."""
    return reading.segments.drop_columns(_KEYS)


def segment_embeddings(reading: InterviewReading) -> pa.Table:
    """Return a video's segments with their quality and embeddings.

    Parameters
    ----------
    reading : InterviewReading
        Read without prompts.

    Returns
    -------
    pyarrow.Table
        With a column `embedding`, null where the status is not ``ok``.
    """
    width = reading.embeddings.schema.field(EMBEDDING).type.list_size
    usable = pc.equal(reading.segments["status"], "ok").to_numpy()
    vectors = np.zeros((len(usable), width), dtype=np.float32)
    column = reading.embeddings[EMBEDDING].combine_chunks()
    vectors[usable] = column.flatten().to_numpy().reshape(-1, width)
    there = pa.FixedSizeListArray.from_arrays(
        pa.array(vectors.reshape(-1)), width, mask=pa.array(~usable)
    )
    return segment_scores(reading).append_column(EMBEDDING, there)


def about_video(
    reading: InterviewReading, *, extraction: ExtractionConfig, grid: Grid
) -> Mapping[str, object]:
    """Return what is true of a video as a whole, and how it was read.

    Parameters
    ----------
    reading : InterviewReading
        What was read.
    extraction : ExtractionConfig
        How.
    grid : Grid
        Where its segments begin and end.

    Returns
    -------
    mapping
        JSON-like; what is not defined is None.
    """
    summary = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in asdict(reading.summary).items()
    }
    patient = {} if extraction.face == "whole_frame" else {"patient": extraction.patient}
    return {
        "video": summary,
        "settings": {"face": extraction.face, **patient, **asdict(grid)},
    }
