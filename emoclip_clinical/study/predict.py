"""Estimating new visits with an estimator that regress wrote."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from emoclip_clinical.records import FeatureTable, InputError
from emoclip_clinical.regression.estimator import FinalEstimator
from emoclip_clinical.regression.estimator_files import ARRAYS, CARD, NOTICE, load_estimator
from emoclip_clinical.regression.feature_files import read_feature_files
from emoclip_clinical.regression.feature_rows import EMBEDDING, EMBEDDINGS
from emoclip_clinical.regression.features import same_features
from emoclip_clinical.regression.predict import Predictions, check_origin, predict_visits
from emoclip_clinical.study.left_out import (
    LeftOut,
    exclusion_hashes,
    left_out_segments,
    without_segments,
)
from emoclip_clinical.study.prediction_output import require_free
from emoclip_clinical.study.protocol import Study
from emoclip_clinical.study.provenance import json_sha256, tree_sha256
from emoclip_clinical.study.rated import study_scales
from emoclip_clinical.study.target_folders import target_folder

PREDICTIONS = "predictions"


@dataclass(frozen=True)
class PredictionRun:
    """What `run_predict` made.

    Attributes
    ----------
    predictions : Predictions
    path : Path
        The table that was written; a JSON file of the same name says what made it.
    """

    predictions: Predictions
    path: Path


def run_predict(
    study: Study, *, estimator: Path, features: Path | None = None, output: Path | None = None
) -> PredictionRun:
    """Estimate a target of new visits and write the table.

    No rating is read.

    Parameters
    ----------
    study : Study
    estimator : Path
        A folder that regress wrote, ``results/<target>/estimator``.
    features : Path, optional
        Other features than the study's.
    output : Path, optional
        A CSV file; ``predictions/<target>.csv`` in the study by default, called as the target's
        results are. Only earlier predictions
        are written over.

    Raises
    ------
    InputError
        See `load_estimator`, `require_free`, `read_feature_files` and `predict_table`.
    """
    fitted = load_estimator(estimator)
    path = features or study.path(study.protocol.data.features)
    name = target_folder(fitted.target, study_scales(study))
    written = output or study.folder / PREDICTIONS / f"{name}.csv"
    require_free(written, inputs=(path, estimator))
    if path.is_dir() and averages_embeddings(fitted):
        path = path / EMBEDDINGS
    # Exclusions are of the study's own interviews; others' segments are not in them.
    own = features is None and path.is_dir()
    left_out = left_out_segments(study, path) if own else LeftOut()

    def amend(interviews: pd.DataFrame) -> pd.DataFrame:
        return without_segments(interviews, path, left_out.segments)

    table, file = read_feature_files(
        path,
        columns=(),
        needed=fitted.feature_names,
        amend=amend if left_out.segments else None,
    )
    made = predict_table(fitted, table, file=file, warnings=left_out.warnings)
    try:
        written.parent.mkdir(parents=True, exist_ok=True)
        _write(written, made.table.to_csv(index=False, lineterminator="\n"))
        origin = {
            **prediction_record(made),
            "estimator_sha256": json_sha256([tree_sha256(estimator / n) for n in (CARD, ARRAYS)]),
            "features_sha256": tree_sha256(path if path.is_file() else path / "interviews.parquet"),
            **({"exclusions_sha256": exclusion_hashes(study, path)} if left_out.segments else {}),
        }
        text = json.dumps(origin, indent=2, ensure_ascii=False, allow_nan=False)
        _write(written.with_suffix(".json"), text + "\n")
    except OSError as error:
        raise InputError(f"can not write to {written}: {error.strerror}") from None
    return PredictionRun(made, written)


def averages_embeddings(fitted: FinalEstimator) -> bool:
    """Say whether an estimator's features are the mean embedding of a visit's segments."""
    return all(name.startswith(f"{EMBEDDING}_") for name in fitted.feature_names)


def predict_table(
    fitted: FinalEstimator, table: FeatureTable, *, file: str, warnings: Sequence[str] = ()
) -> Predictions:
    """Estimate the visits of a table; the one way of the command line and of the server.

    Parameters
    ----------
    fitted : FinalEstimator
    table : FeatureTable
        Has the estimator's columns, and maybe others.
    file : str
        What messages call the table.
    warnings : sequence of str
        What else the user should know of it.

    Raises
    ------
    InputError
        If columns are missing, no visit has them all, or the features were made otherwise than
        those of the estimator; see `same_features` and `predict_visits`.
    """
    if fitted.source and table.source:
        # Columns that are missing have their reason in it.
        check_origin(fitted, table.source)
    same = same_features(table, names=fitted.feature_names, impute=fitted.impute, file=file)
    return predict_visits(fitted, replace(same, warnings=(*same.warnings, *warnings)))


def prediction_record(made: Predictions) -> dict[str, object]:
    """Return predictions as JSON-ready content; what is not defined is None."""
    rows = made.table.to_dict("records")
    return {
        "notice": NOTICE,
        "target": made.target,
        "predictions": [_plain(row) for row in rows],
        "excluded": made.excluded.to_dict("records"),
        "warnings": list(made.warnings),
    }


def _plain(row: Mapping[object, object]) -> dict[str, object]:
    out: dict[str, object] = {}
    for name, value in row.items():
        undefined = isinstance(value, float) and not math.isfinite(value)
        out[str(name)] = None if undefined else value
    return out


def _write(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
