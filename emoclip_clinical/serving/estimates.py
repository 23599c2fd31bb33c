"""The estimators of a server: from features to ratings, by the same function as `predict`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from emoclip_clinical.features.reading_results import InterviewReading
from emoclip_clinical.records import KEY_COLUMNS, InputError
from emoclip_clinical.regression.estimator import FinalEstimator
from emoclip_clinical.regression.estimator_files import NOTICE, load_estimator
from emoclip_clinical.regression.predict import Predictions
from emoclip_clinical.serving.answers import Answer
from emoclip_clinical.serving.desk import Wanted, always
from emoclip_clinical.serving.problems import Problem, shortened
from emoclip_clinical.serving.sent_features import NAME, sent_features
from emoclip_clinical.serving.video_features import VideoFeatures
from emoclip_clinical.study.predict import predict_table, prediction_record
from emoclip_clinical.study.target_folders import target_folder

SCHEMA = pa.schema(
    [
        ("participant_id", pa.string()),
        ("session_id", pa.string()),
        ("predicted", pa.float64()),
        ("predicted_unclipped", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("level", pa.float64()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("out_of_range", pa.bool_()),
        ("distance", pa.float64()),
        ("distance_limit", pa.float64()),
        ("farthest_feature", pa.string()),
        ("farthest_sd", pa.float64()),
        ("n_imputed", pa.int64()),
        ("in_training", pa.bool_()),
    ]
)
"""Columns of an answer, which are those of `Predictions`."""


@dataclass(frozen=True)
class ServedEstimator:
    """One fitted estimator.

    Attributes
    ----------
    fitted : FinalEstimator
    differences : tuple of str
        Why it can not be used for this server's videos; empty where it can.
    """

    fitted: FinalEstimator
    differences: tuple[str, ...]

    def describe(self) -> dict[str, object]:
        """Return what a client may know of it."""
        fitted = self.fitted
        return {
            "target": fitted.target,
            "n_subjects": fitted.n_subjects,
            "minimum": fitted.minimum,
            "maximum": fitted.maximum,
            "level": fitted.level,
            "n_features": len(fitted.feature_names),
            "for_videos": not self.differences,
            "notice": NOTICE,
        }

    def require_videos(self) -> None:
        """Refuse videos where they would give other features than those that it was fitted to.

        Raises
        ------
        Problem
            422 with every difference.
        """
        if self.differences:
            raise Problem(
                422,
                [
                    f"the estimator of {self.fitted.target} can not be used for this server's "
                    "videos, only for features",
                    *shortened(self.differences),
                ],
            )


def load_estimators(folders: Sequence[Path]) -> tuple[FinalEstimator, ...]:
    """Read estimators that `regress` wrote.

    Parameters
    ----------
    folders : sequence of Path
        ``results/<target>/estimator`` each.

    Raises
    ------
    InputError
        With the faults of all of them; see `load_estimator`.
    """
    fitted: list[FinalEstimator] = []
    faults: list[str] = []
    for folder in folders:
        try:
            fitted.append(load_estimator(folder))
        except InputError as error:
            faults += [f"estimator {folder}: {fault}" for fault in error.faults]
    if faults:
        raise InputError(faults)
    return tuple(fitted)


def features_precision(fitted: FinalEstimator) -> str | None:
    """Return what the image tower computed with for the features of an estimator; None: unknown."""
    model = fitted.source.get("model")
    found = model.get("precision") if isinstance(model, Mapping) else None
    return found if isinstance(found, str) else None


class ServedEstimators:
    """Fitted estimators by target.

    Parameters
    ----------
    fitted : sequence of FinalEstimator
        No two of the same target.
    model : mapping
        ``name`` and ``hash`` of the server's model, for answers.
    videos : VideoFeatures
        How the server makes features of videos.

    Attributes
    ----------
    warnings : tuple of str
        What whoever starts the server should know.

    Raises
    ------
    InputError
        Naming every target that two of them have.
    """

    def __init__(
        self,
        fitted: Sequence[FinalEstimator],
        *,
        model: Mapping[str, object],
        videos: VideoFeatures,
    ) -> None:
        targets = [one.target for one in fitted]
        twice = sorted({target for target in targets if targets.count(target) > 1})
        if twice:
            raise InputError(
                f"two estimators are of {target}; a server has one of each target"
                for target in twice
            )
        self._served = {one.target: ServedEstimator(one, videos.differences(one)) for one in fitted}
        self._model = model
        self._videos = videos
        self.warnings = tuple(
            f"videos can not be estimated with the estimator of {target}, only features: {why}"
            for target, one in self._served.items()
            for why in one.differences
        )

    def describe(self) -> list[dict[str, object]]:
        """Return what a client may know of each."""
        return [one.describe() for one in self._served.values()]

    def choose(self, target: str | None) -> ServedEstimator:
        """Return the estimator of a target.

        Parameters
        ----------
        target : str or None
            By any of its names; None: the only one that there is.

        Raises
        ------
        Problem
            404 for a target that there is not, 422 where one must be named; both list those that
            there are.
        """
        there = ", ".join(self._served) or "none"
        if target is None and len(self._served) == 1:
            return next(iter(self._served.values()))
        if target is None and self._served:
            raise Problem(422, f"target must say which estimator is wanted; there are: {there}")
        if target is not None:
            if target in self._served:
                return self._served[target]
            for name, one in self._served.items():
                if target_folder(target) == target_folder(name):
                    return one
        raise Problem(404, f"there is no estimator of this target; there are: {there}")

    def estimate_rows(
        self,
        one: ServedEstimator,
        rows: pd.DataFrame,
        *,
        source: Mapping[str, object],
        wanted: Wanted = always,
    ) -> Answer:
        """Estimate visits from the features that a request brings.

        Parameters
        ----------
        one : ServedEstimator
            From `choose`.
        rows, source, wanted
            See `sent_features`.

        Raises
        ------
        InputError
            With every fault; see `sent_features` and `predict_table`.
        """
        table = sent_features(rows, source=source, fitted=one.fitted, wanted=wanted)
        wanted()
        return self._answer(predict_table(one.fitted, table, file=NAME))

    def estimate_reading(self, one: ServedEstimator, reading: InterviewReading) -> Answer:
        """Estimate the visit that a video shows.

        Parameters
        ----------
        one : ServedEstimator
            From `choose`.
        reading : InterviewReading
            Read and scored as `VideoFeatures` says.

        Raises
        ------
        Problem
            See `ServedEstimator.require_videos`.
        InputError
            If no segment can be used, or a feature is missing that the estimator needs.
        """
        one.require_videos()
        table = self._videos.table(reading, one.fitted)
        answer = self._answer(predict_table(one.fitted, table, file="the video"))
        known = answer.table["in_training"]
        # A video that was encoded in other batches has other last bits, and is not known again:
        # only a yes can be told.
        told = pc.if_else(known, known, pa.scalar(None, pa.bool_()))
        rows = answer.table.set_column(SCHEMA.get_field_index("in_training"), "in_training", told)
        return Answer(rows.drop_columns(list(KEY_COLUMNS)), answer.about)

    def _answer(self, made: Predictions) -> Answer:
        record = prediction_record(made)
        del record["predictions"]
        rows = pa.Table.from_pandas(made.table, schema=SCHEMA, preserve_index=False)
        return Answer(rows.replace_schema_metadata(None), {"model": self._model, **record})
