"""What a report tells beside the metrics: sizes, ranges, groups, recordings; for ``metrics.json``.

A report shows no number of its own, so that whatever it shows is counted here.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
from pydantic import ValidationError

from emoclip_clinical.records import InputError
from emoclip_clinical.regression.analysis import Estimate
from emoclip_clinical.regression.change import unit_of
from emoclip_clinical.regression.flow import STAGES
from emoclip_clinical.regression.metrics import (
    fold_correlations,
    is_constant,
    pearson_r,
    spearman_r,
)
from emoclip_clinical.regression.models.catalogue import CATALOGUE
from emoclip_clinical.regression.power import SampleSizeQuestion, riley_sample_size
from emoclip_clinical.regression.quality import QUALITY_COLUMNS, quality_of_visits

CALIBRATION_GROUPS = 4
COEFFICIENTS_SHOWN = 15
MINIMUM_VISITS = 10
"""Fewer visits than this get no correlation of coverage and error."""

Record = dict[str, object]


def description_record(made: Estimate, quality: pd.DataFrame | None = None) -> Record:
    """Return the parts of ``metrics.json`` that describe rows, folds and recordings.

    Parameters
    ----------
    made : Estimate
    quality : DataFrame, optional
        Recording quality, a row an interview: keys, ``status`` and any of `QUALITY_COLUMNS`.

    Returns
    -------
    dict
        ``settings``, ``flow``, ``losses``, ``observed``, ``predicted``, ``prediction_band``,
        ``null``, ``repeats``, ``calibration_groups``, ``coefficients``, ``sample_size`` and
        ``recordings``; what is not defined is None.
    """
    return {
        "settings": _settings(made),
        "flow": [dict(row) for row in made.design.flow.to_dict("records")],
        "losses": _losses(made.design.excluded),
        "observed": _spread(made.design.y, made.design.weights),
        "predicted": _spread(made.cross_validation.predicted.mean(axis=0), made.design.weights),
        "prediction_band": _band(made),
        "null": _null(made.null),
        "repeats": _repeats(made),
        "calibration_groups": _calibration_groups(made),
        "coefficients": _coefficients(made.coefficients),
        "sample_size": _sample_size(made),
        "recordings": None if quality is None else _recordings(made, quality),
    }


def _settings(made: Estimate) -> Record:
    design, config = made.design, made.config
    return {
        "unit": unit_of(design.target),
        "minimum": design.minimum,
        "maximum": design.maximum,
        "n_features": len(design.feature_names),
        "several_raters": design.several_raters,
        "learnt_with": [] if design.others is None else list(map(str, design.others.columns)),
        "inner_folds": config.inner_folds,
        "bootstrap": config.bootstrap,
        "confidence": config.confidence,
        "seed": made.seed,
    }


def _sample_size(made: Estimate) -> Record | None:
    """Return the participants that Riley's criteria ask for at the R² that was found.

    None where they say nothing: the skill is not above 0, there are fewer than three features, or
    the model sees segments.
    """
    skill = made.metrics.skill
    if skill is None or CATALOGUE[made.config.model].needs_segments:
        return None
    asked: Record = {"predictors": len(made.design.feature_names), "r_squared": skill}
    mean = float(np.average(made.design.y, weights=made.design.weights))
    if mean > 0:  # the criterion of the mean is a share of it
        asked |= {"mean": mean, "sd": _spread(made.design.y, made.design.weights)["sd"]}
    try:
        size = riley_sample_size(SampleSizeQuestion.model_validate(asked))
    except (ValidationError, InputError):
        return None
    return {"features": asked["predictors"], "r_squared": skill, "riley_subjects": size.subjects}


def _losses(excluded: pd.DataFrame) -> list[Record]:
    counted = Counter(zip(excluded["stage"].tolist(), excluded["reason"].tolist(), strict=True))
    # As the steps of the flow, to be read beside them.
    ordered = sorted(counted.items(), key=lambda found: (STAGES.index(found[0][0]), found[0][1]))
    return [{"stage": s, "reason": r, "visits": n} for (s, r), n in ordered]


def _spread(values: np.ndarray, weight: np.ndarray) -> Record:
    mean = float(np.average(values, weights=weight))
    return {
        "mean": mean,
        "sd": float(np.sqrt(np.average((values - mean) ** 2, weights=weight))),
        "low": float(values.min()),
        "high": float(values.max()),
    }


def _band(made: Estimate) -> Record:
    """Return how far from the mean prediction the stated share of ratings lies at most."""
    cv, level = made.cross_validation, made.config.prediction_level
    error = np.abs(cv.observed - cv.predicted.mean(axis=0))
    width = np.quantile(error, level, weights=cv.weight, method="inverted_cdf")
    return {"level": level, "half_width": float(width)}


def _null(null: np.ndarray) -> Record | None:
    known = null[np.isfinite(null)]
    if not len(known):
        return None
    return {
        "n_defined": len(known),
        "mean": float(known.mean()),
        "low": float(known.min()),
        "high": float(known.max()),
    }


def _repeats(made: Estimate) -> Record:
    cv = made.cross_validation
    within = [r for row in fold_correlations(cv) for r in row if r is not None]
    return {
        "pearson_pooled": [pearson_r(cv.observed, p, cv.weight) for p in cv.predicted],
        "fold_r_low": min(within, default=None),
        "fold_r_high": max(within, default=None),
    }


def _calibration_groups(made: Estimate) -> list[Record]:
    cv = made.cross_validation
    mean = cv.predicted.mean(axis=0)
    groups = np.array_split(np.argsort(mean, kind="stable"), min(CALIBRATION_GROUPS, len(mean)))
    return [
        {
            "visits": len(g),
            "predicted": float(np.average(mean[g], weights=cv.weight[g])),
            "observed": float(np.average(cv.observed[g], weights=cv.weight[g])),
        }
        for g in groups
    ]


def _coefficients(table: pd.DataFrame) -> Record:
    shown = table.head(COEFFICIENTS_SHOWN).to_dict("records")
    return {"n": len(table), "largest": [{str(k): v for k, v in row.items()} for row in shown]}


def _recordings(made: Estimate, quality: pd.DataFrame) -> Record:
    counts = Counter(map(str, quality["status"].tolist() if "status" in quality else ()))
    measures = []
    for name in (c for c in QUALITY_COLUMNS if c in quality):
        values = quality[name].dropna().astype(np.float64)
        if len(values):
            low, middle, high = (float(v) for v in values.quantile([0, 0.5, 1]))
            measures.append({"name": name, "low": low, "median": middle, "high": high})
    return {
        "n": len(quality),
        "status": [{"status": k, "interviews": n} for k, n in sorted(counts.items())],
        "measures": measures,
        "coverage_and_error": _coverage_and_error(made, quality),
    }


def _coverage_and_error(made: Estimate, quality: pd.DataFrame) -> Record | None:
    """Return Spearman's correlation of face coverage with the absolute error of a visit."""
    try:
        coverage = quality_of_visits(made.design.keys, quality).get("face_coverage")
    except InputError:
        return None
    # Where the whole picture is the face, no interview has a coverage.
    if coverage is None or coverage.isna().all():
        return None
    cv = made.cross_validation
    known = coverage.notna().to_numpy()
    seen = coverage.to_numpy(dtype=np.float64)[known]
    error = np.abs(cv.observed - cv.predicted.mean(axis=0))[known]
    if len(seen) < MINIMUM_VISITS or is_constant(seen) or is_constant(error):
        return {"visits": len(seen), "spearman_r": None}
    return {"visits": len(seen), "spearman_r": spearman_r(seen, error, cv.weight[known])}
