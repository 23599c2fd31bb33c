"""Pooling of interviews from their tables, which may lie on disk or be there already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from emoclip_clinical.features.pooling import ScoredSegments, pool_segments, pooled_names
from emoclip_clinical.features.pooling_config import PoolingStatistic, PoolingWeights
from emoclip_clinical.features.scores import PromptVectors, score_columns


@dataclass(frozen=True)
class Pooler:
    """How interviews become rows of features.

    Attributes
    ----------
    prompt_vectors : sequence of PromptVectors
        The sets that were scored.
    embedding_width : int
        Length d of an embedding.
    pooling, weights
        See `pool_segments`.
    """

    prompt_vectors: Sequence[PromptVectors]
    embedding_width: int
    pooling: Sequence[PoolingStatistic]
    weights: PoolingWeights

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the pooled features, in the order of the table."""
        return pooled_names(
            self.prompt_vectors, embedding_width=self.embedding_width, pooling=self.pooling
        )

    def pool(self, segments: pa.Table, embeddings: pa.Table) -> dict[str, float | None]:
        """Pool one interview.

        Parameters
        ----------
        segments, embeddings : pyarrow.Table
            See `scored_segments`.

        Returns
        -------
        dict of str to float or None
            Under `names`.
        """
        return pool_segments(
            scored_segments(segments, embeddings, columns=score_columns(self.prompt_vectors)),
            prompt_vectors=self.prompt_vectors,
            pooling=self.pooling,
            weights=self.weights,
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
