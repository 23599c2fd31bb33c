"""Writing the result of one target: predictions, folds, metrics, and what they rest on."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd

from emoclip_clinical.records import KEY_COLUMNS
from emoclip_clinical.regression.analysis import Estimate
from emoclip_clinical.regression.descriptions import description_record
from emoclip_clinical.regression.inference import exchange_words
from emoclip_clinical.regression.quality import QUALITY_COLUMNS
from emoclip_clinical.regression.supplement import Supplement
from emoclip_clinical.regression.supplement_record import supplement_record


def metrics_record(
    estimate: Estimate, more: Supplement | None = None, *, quality: pd.DataFrame | None = None
) -> dict[str, object]:
    """Return the content of ``metrics.json``; what is not defined is None.

    Parameters
    ----------
    estimate : Estimate
    more : Supplement, optional
        What stands beside it; its sections are left out where it is not given.
    quality : DataFrame, optional
        Recording quality, a row an interview; see `description_record`.
    """
    design, config, m = estimate.design, estimate.config, estimate.metrics
    fold = estimate.cross_validation.fold
    return {
        "target": design.target,
        "items": list(design.items),
        "n_subjects": design.n_subjects,
        "n_interviews": len(design.keys[list(KEY_COLUMNS)].drop_duplicates()),
        "n_excluded": design.n_excluded,
        "model": config.model,
        "cv": {
            "scheme": config.cv,
            "folds": int(fold.max()) + 1,
            "repeats": len(fold),
            "groups": "participant_id",
            "site": config.site,
            "confounds_removed": list(config.confounds) if config.remove_confounds else [],
        },
        "pearson_r": {
            "pooled": m.pearson_pooled,
            "fold_mean": m.pearson_fold_mean,
            "ci_low": estimate.interval.low,
            "ci_high": estimate.interval.high,
            "ci_of": estimate.interval_of if estimate.interval.low is not None else None,
            "ci_method": estimate.interval.method,
            "pooled_ci_low_conditional": estimate.conditional.low,
            "pooled_ci_high_conditional": estimate.conditional.high,
            "pooled_ci_method": estimate.conditional.method,
            "p_permutation": estimate.p_permutation,
            "n_permutations": len(estimate.null),
            "n_exchangeable": estimate.n_exchangeable,
            "null": exchange_words(within_sites=estimate.sites is not None),
        },
        "spearman_r": m.spearman,
        "mae": m.mae,
        "rmse": m.rmse,
        "baseline": {"mae": m.baseline_mae, "rmse": m.baseline_rmse},
        "skill": m.skill,
        "ccc": m.ccc,
        "icc_a1": m.icc_a1,
        "calibration": {"slope": m.calibration_slope, "intercept": m.calibration_intercept},
        "bland_altman": {"bias": m.bias, "low": m.limit_low, "high": m.limit_high},
        "p_adjusted": estimate.p_adjusted,
        "warnings": [*estimate.warnings, *(more.warnings if more else ())],
        **description_record(estimate, quality),
        **(supplement_record(estimate, more) if more else {}),
    }


def prediction_table(estimate: Estimate) -> pd.DataFrame:
    """Return every out-of-fold prediction, a row a visit and repeat, in the order of repeats."""
    cv = estimate.cross_validation
    repeats = len(cv.predicted)
    return pd.DataFrame(
        {
            "participant_id": np.tile(cv.keys["participant_id"].to_numpy(dtype=object), repeats),
            "session_id": np.tile(cv.keys["session_id"].to_numpy(dtype=object), repeats),
            "repeat": np.repeat(np.arange(repeats), len(cv.observed)),
            "fold": cv.fold.ravel(),
            "observed": np.tile(cv.observed, repeats),
            "predicted": cv.predicted.ravel(),
        }
    )


def write_results(
    estimate: Estimate,
    folder: str | Path,
    *,
    more: Supplement | None = None,
    quality: pd.DataFrame | None = None,
) -> None:
    """Write the tables and metrics of one target, each file whole or not at all.

    Writes ``predictions.csv``, ``folds.csv``, ``metrics.json``, ``permutation_null.csv``,
    ``coefficients.csv``, ``flow.csv``, ``excluded.csv`` and, where it is known, ``quality.csv``.
    Numbers are written in full, so that
    reading them back gives the same bits; ``metrics.json`` holds null for what is not defined.

    Parameters
    ----------
    estimate : Estimate
        The result.
    folder : path
        ``results/<target>``; made where it is missing.
    more : Supplement, optional
        What stands beside it, in ``metrics.json``.
    quality : DataFrame, optional
        Recording quality, a row an interview: keys, ``status`` and any of `QUALITY_COLUMNS`.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    null = pd.DataFrame({"permutation": np.arange(len(estimate.null)), "pearson_r": estimate.null})
    tables = {
        "predictions.csv": prediction_table(estimate),
        "folds.csv": estimate.folds,
        "permutation_null.csv": null,
        "coefficients.csv": estimate.coefficients,
        "flow.csv": estimate.design.flow,
        "excluded.csv": estimate.design.excluded,
    }
    if quality is not None:
        wanted = ("participant_id", "session_id", "status", *QUALITY_COLUMNS)
        tables["quality.csv"] = quality[[c for c in wanted if c in quality]]
    else:
        (folder / "quality.csv").unlink(missing_ok=True)
    for name, table in tables.items():
        _write_whole(folder / name, table.to_csv(index=False, lineterminator="\n"))
    record = json.dumps(
        metrics_record(estimate, more, quality=quality),
        indent=2,
        ensure_ascii=False,
        allow_nan=False,
    )
    _write_whole(folder / "metrics.json", record + "\n")


def _write_whole(path: Path, content: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(content, encoding="utf-8", newline="\n")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
