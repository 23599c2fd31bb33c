"""From what was read of an uploaded video to the features of an estimator, without a file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from emoclip_clinical.features.config import ExtractionConfig
from emoclip_clinical.features.description import describe_run, describe_tables
from emoclip_clinical.features.layout import interviews_table
from emoclip_clinical.features.pooled_parts import Pooler
from emoclip_clinical.features.reading_results import InterviewReading
from emoclip_clinical.features.reading_settings import segment_grid
from emoclip_clinical.features.scores import named_vectors
from emoclip_clinical.records import FeatureTable, InputError, InterviewKey, PromptSet
from emoclip_clinical.regression.estimator import FinalEstimator
from emoclip_clinical.regression.feature_rows import embedding_features, interview_features
from emoclip_clinical.regression.predict import check_origin
from emoclip_clinical.study.predict import averages_embeddings
from emoclip_clinical.tables.parquet import typed_table

if TYPE_CHECKING:
    from emoclip_clinical.core.embedder import Embedder

_KEY = InterviewKey("sub-upload")
_NAME = "the video"


@dataclass(frozen=True)
class VideoFeatures:
    """How a server makes features of videos.

    Attributes
    ----------
    pooler : Pooler
        From segments to a row of features.
    source : mapping
        What ``features.json`` would say of them.
    """

    pooler: Pooler
    source: Mapping[str, object]

    def differences(self, fitted: FinalEstimator) -> tuple[str, ...]:
        """Say why an estimator can not be used for videos; empty where it can."""
        try:
            check_origin(fitted, self.source)
        except InputError as error:
            return error.faults
        if averages_embeddings(fitted):
            return ()
        made = set(self.pooler.names)
        return tuple(
            f"videos give no feature {name!r}" for name in fitted.feature_names if name not in made
        )

    def table(self, reading: InterviewReading, fitted: FinalEstimator) -> FeatureTable:
        """Return the features of a video, as `extract` and `read_feature_files` would make them.

        Raises
        ------
        InputError
            If none of its segments can be used.
        """
        summary = reading.summary
        if summary.n_ok == 0:
            reason = f"{summary.status}: {summary.reason}" if summary.reason else summary.status
            raise InputError(f"{_NAME} has no usable features ({reason})")
        if averages_embeddings(fitted):
            return embedding_features(reading.embeddings.to_pandas(), self.source, name=_NAME)
        pooled = self.pooler.pool(reading.segments, reading.embeddings)
        row = interviews_table([(_KEY, summary, pooled)], pooled_names=self.pooler.names)
        keys = ("participant_id", "session_id")
        return interview_features(typed_table(row.to_pandas(), text=keys, name=_NAME), self.source)


def video_features(
    embedder: Embedder, *, extraction: ExtractionConfig, prompts: Sequence[PromptSet]
) -> VideoFeatures:
    """Return how a server makes features.

    Parameters
    ----------
    embedder : Embedder
        Its model.
    extraction : ExtractionConfig
        How it reads videos.
    prompts : sequence of PromptSet
        With what it scores them, in this order.
    """
    nothing = np.zeros((0, embedder.embedding_width), dtype=np.float32)
    pooler = Pooler(
        # Names alone are asked for; the vectors stay with the model.
        [entry for one in prompts for entry in named_vectors(one, nothing, nothing)],
        embedder.embedding_width,
        extraction.pooling,
        extraction.pooling_weights,
    )
    grid = segment_grid(extraction, model=embedder)
    run = describe_run(embedder, extraction, prompts, grid)
    tables = describe_tables(embedder, extraction, run=run, pooled_names=pooler.names)
    # As it comes out of a file: there, no sequence is a tuple.
    return VideoFeatures(pooler, json.loads(json.dumps({**run, **tables})))
