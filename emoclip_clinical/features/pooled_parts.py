"""Pooling of interviews from the tables that were kept of them, without reading a video again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from emoclip_clinical.features.pooling import ScoredSegments, pool_segments
from emoclip_clinical.features.pooling_config import PoolingStatistic, PoolingWeights
from emoclip_clinical.features.scores import PromptVectors, score_columns


def pool_part(
    folder: Path,
    *,
    prompt_vectors: Sequence[PromptVectors],
    pooling: Sequence[PoolingStatistic],
    weights: PoolingWeights,
) -> dict[str, float | None]:
    """Pool one interview from its part.

    Parameters
    ----------
    folder : Path
        Holds ``segments.parquet`` and ``embeddings.parquet`` of one interview.
    prompt_vectors : sequence of PromptVectors
        The sets that were scored.
    pooling, weights
        See `pool_segments`.

    Returns
    -------
    dict of str to float or None
        Under `pooled_names`.
    """
    return pool_segments(
        scored_segments(
            pq.read_table(folder / "segments.parquet"),
            pq.read_table(folder / "embeddings.parquet"),
            columns=score_columns(prompt_vectors),
        ),
        prompt_vectors=prompt_vectors,
        pooling=pooling,
        weights=weights,
    )


def scored_segments(
    segments: pa.Table, embeddings: pa.Table, *, columns: Sequence[str]
) -> ScoredSegments:
    """Take the segments that have scores out of the tables of one interview.

    Parameters
    ----------
    segments : pyarrow.Table
        In the layout of ``segments.parquet``, in order.
    embeddings : pyarrow.Table
        The same interview's of ``embeddings.parquet``.
    columns : sequence of str
        Score columns.

    Returns
    -------
    ScoredSegments
        Those with status ``ok``.
    """
    usable = segments.filter(pc.equal(segments["status"], "ok"))
    width = embeddings.schema.field("embedding").type.list_size
    vectors = embeddings["embedding"].drop_null().combine_chunks().flatten()
    onset, duration = usable["onset"].to_numpy(), usable["duration"].to_numpy()
    # Where no face was looked for, the whole picture counts as seen.
    coverage = pc.fill_null(usable["face_coverage"], 1.0).to_numpy()
    return ScoredSegments(
        scores={name: usable[name].to_numpy() for name in columns},
        embeddings=np.asarray(vectors, dtype=np.float32).reshape(-1, width),
        movements=pc.fill_null(usable["movement"], np.nan).to_numpy(),
        index=usable["segment"].to_numpy().astype(np.int64),
        middle_seconds=onset + duration / 2,
        face_seconds=duration * coverage,
    )
