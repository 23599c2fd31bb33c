"""Estimates of new visits: with an interval, and a flag where the features lie out of range."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from emoclip_clinical.records import FeatureTable, InputError
from emoclip_clinical.regression.estimator import FinalEstimator, fingerprints
from emoclip_clinical.regression.imputation import filled

NOT_COMPARED = frozenset(
    {"versions", "inputs", "pooled_features", "settings_hash", "precision_check", "tower"}
)
"""Parts of the features' origin that may differ: whether they do is told by the others.

``precision_check`` is measured on each cohort's own frames; ``model.precision`` is what came of it.
``tower`` is the model's in words, and stands in no ``features.json`` of before.
"""

OUTSIDE_SCALE = "outside_scale"
"""Status of a visit whose whole interval lies outside the target's range."""
NOT_COMPUTED = "not_computed"
"""Status of a visit whose features are too large to compute with."""


@dataclass(frozen=True)
class Predictions:
    """Estimates of visits that were not rated.

    Attributes
    ----------
    target : str
        What is estimated.
    table : DataFrame
        A row a visit: ``participant_id, session_id, predicted, predicted_unclipped, low, high,
        level, status, reason, out_of_range, distance, distance_limit, farthest_feature,
        farthest_sd, n_imputed, in_training``.
        `predicted`, `low` and `high` are in the target's unit and cut to its range;
        `predicted_unclipped` is what the model said. An end without a bound is NaN, and `warnings`
        says so. `status` is ``ok``, or `OUTSIDE_SCALE` or `NOT_COMPUTED` with its `reason`: there
        `predicted`, `low` and `high` are NaN.
    excluded : DataFrame
        ``participant_id, session_id, reason``.
    warnings : tuple of str
        What the user should know.
    """

    target: str
    table: pd.DataFrame
    excluded: pd.DataFrame
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class OriginDifference:
    """A part in which features were made otherwise than those of an estimator.

    Attributes
    ----------
    path : tuple of str
        Where it stands in ``features.json``.
    is_known : bool
        Whether the estimator's own origin has this part.
    fitted, found : object
        What the estimator was fitted to, and what came; None where there is nothing.
    """

    path: tuple[str, ...]
    is_known: bool
    fitted: object
    found: object

    def text(self, *, with_found: bool = True) -> str:
        """Return what differs, in words.

        Parameters
        ----------
        with_found : bool
            Whether to repeat what came. Without it, neither values nor names of parts are told
            that the estimator's own origin has not.
        """
        if not (self.is_known or with_found):
            return (
                f"these features were made with settings that the estimator does not know: an "
                f"entry of {'.'.join(('source', *self.path[:-1]))} that it has not"
            )
        name = ".".join(self.path)
        what = {"prompts": "other prompt sets", "model.hash": "another model"}.get(
            name, f"another {name}"
        )
        shown = _prompt_names if name == "prompts" else _short
        found = f", they have {shown(self.found)}" if with_found else ""
        return (
            f"these features were made with {what}: the estimator was fitted to "
            f"{shown(self.fitted)}{found}"
        )


def predict_visits(estimator: FinalEstimator, features: FeatureTable) -> Predictions:
    """Estimate the target of every visit.

    Parameters
    ----------
    estimator : FinalEstimator
    features : FeatureTable
        The estimator's columns, in its order, made as those it was fitted to.

    Returns
    -------
    Predictions

    Raises
    ------
    InputError
        If the features were made with another model, prompt set or settings, if columns are
        missing, or if values are missing that the estimator can not fill in.
    """
    check_origin(estimator, features.source)
    names = tuple(str(c) for c in features.values.columns)
    if names != estimator.feature_names:
        raise InputError(
            f"the estimator needs the {len(estimator.feature_names)} feature columns it was fitted "
            f"to, in their order; got {len(names)}"
        )
    X = features.values.to_numpy(dtype=np.float64)
    missing = np.isnan(X)
    if missing.any() and estimator.impute != "median":
        raise InputError(
            f"{int(missing.any(axis=1).sum())} visits lack a feature, and the estimator was fitted "
            "without imputation"
        )
    # Numbers without any measure overflow: such a visit is out of range, and no fault of ours.
    with np.errstate(over="ignore", invalid="ignore"):
        table = pd.concat([features.keys, _estimates(estimator, X), _range(estimator, X)], axis=1)
    seen = set(estimator.rows_seen)
    table["n_imputed"] = missing.sum(axis=1)
    table["in_training"] = [mark in seen for mark in fingerprints(X)]
    return Predictions(
        estimator.target, table, features.excluded, (*features.warnings, *_warnings(table))
    )


def check_origin(estimator: FinalEstimator, source: Mapping[str, object]) -> None:
    """Refuse features that were made otherwise than those of the estimator.

    Raises
    ------
    InputError
        Naming what differs: the model, the prompt sets, or single settings.
    """
    fitted = estimator.source
    if bool(fitted) != bool(source):
        named = "come from extract" if fitted else "come from a table of unknown origin"
        raise InputError(
            f"the features that the estimator was fitted to {named}, these do not; they can not be "
            "compared"
        )
    faults = [difference.text() for difference in origin_differences(estimator, source)]
    if faults:
        raise InputError(faults)


def origin_differences(
    estimator: FinalEstimator, source: Mapping[str, object]
) -> list[OriginDifference]:
    """Return in what features were made otherwise than those of an estimator.

    Parameters
    ----------
    estimator : FinalEstimator
    source : mapping
        The content of ``features.json``; `NOT_COMPARED` says which parts may differ.
    """
    fitted = estimator.source
    found: list[OriginDifference] = []
    for part in sorted({*fitted, *source} - NOT_COMPARED):
        found += _differences((part,), part in fitted, fitted.get(part), source.get(part))
    return found


def _differences(
    path: tuple[str, ...], is_known: bool, fitted: object, found: object
) -> list[OriginDifference]:
    if fitted == found:
        return []
    if not (isinstance(fitted, Mapping) and isinstance(found, Mapping)):
        return [OriginDifference(path, is_known, fitted, found)]
    inner: list[OriginDifference] = []
    for key in sorted({*map(str, fitted), *map(str, found)}):
        inner += _differences((*path, key), key in fitted, fitted.get(key), found.get(key))
    return inner


def _prompt_names(prompts: object) -> str:
    if not isinstance(prompts, list):
        return "none"
    pairs = [(p.get("name"), _short(p.get("hash"))) for p in prompts if isinstance(p, Mapping)]
    return ", ".join(f"{name} ({mark})" for name, mark in pairs) or "none"


def _short(value: object) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 24 else f"{text[:12]}..."


def _estimates(estimator: FinalEstimator, X: np.ndarray) -> pd.DataFrame:
    folds = np.stack([model.predict(X) for model in estimator.fold_models])
    said = estimator.model.predict(X)
    low, high = estimator.calibration.interval(folds, level=estimator.level)
    least = -np.inf if estimator.minimum is None else estimator.minimum
    most = np.inf if estimator.maximum is None else estimator.maximum
    # Comparisons with NaN are false; -inf below and inf above are no bound, the other way overflow.
    computed = np.isfinite(said) & (low < np.inf) & (high > -np.inf)
    outside = computed & ((low > most) | (high < least))
    status = np.where(computed, np.where(outside, OUTSIDE_SCALE, "ok"), NOT_COMPUTED)
    # Cut to the range, such an interval would be a point that the model does not stand for.
    # Nor is an end of the scale a bound that was found.
    found = np.array([said, low, high])
    cut = np.where((status == "ok") & np.isfinite(found), np.clip(found, least, most), np.nan)
    return pd.DataFrame(
        {
            "predicted": cut[0],
            "predicted_unclipped": np.where(np.isfinite(said), said, np.nan),
            "low": cut[1],
            "high": cut[2],
            "level": estimator.level,
            "status": status.astype(object),
            "reason": [
                _reason(str(s), *ends, least=least, most=most)
                for s, *ends in zip(status, low, high, strict=True)
            ],
        }
    )


def _reason(status: str, low: float, high: float, *, least: float, most: float) -> str:
    if status == OUTSIDE_SCALE:
        return (
            f"the whole interval ({low:.1f} to {high:.1f}) lies outside the target's range "
            f"({least:g} to {most:g})"
        )
    return "the features are too large to compute with" if status == NOT_COMPUTED else ""


def _range(estimator: FinalEstimator, X: np.ndarray) -> pd.DataFrame:
    whole = filled(X, estimator.medians)
    distance = estimator.reach.distances(whole)
    deviations = estimator.reach.standardised(whole)
    farthest = np.abs(deviations).argmax(axis=1)
    return pd.DataFrame(
        {
            # Asked this way round, no NaN is within it.
            "out_of_range": ~(distance <= estimator.distance_limit),
            "distance": distance,
            "distance_limit": estimator.distance_limit,
            "farthest_feature": [estimator.feature_names[i] for i in farthest],
            "farthest_sd": deviations[np.arange(len(X)), farthest],
        }
    )


def _warnings(table: pd.DataFrame) -> list[str]:
    found = []
    outside, known = int(table["out_of_range"].sum()), int(table["in_training"].sum())
    estimated = table["status"] == "ok"
    none = int((~estimated).sum())
    unbounded = int((table[["low", "high"]].isna().any(axis=1) & estimated).sum())
    if outside:
        found.append(
            f"{_visits(outside)} out of range: the features lie farther from those of the training "
            "subjects than nearly all new subjects like them would; do not rely on these estimates"
        )
    if known:
        found.append(
            f"{_visits(known)} among those that the estimator was fitted to: their estimates are "
            "too good, use predictions.csv of regress instead"
        )
    if none:
        found.append(
            f"{_visits(none)} without an estimate: column `reason` of the predictions says why"
        )
    if unbounded:
        found.append(
            f"{_visits(unbounded)} without a bounded interval: the estimator was fitted to too few "
            "subjects for its level"
        )
    return found


def _visits(n: int) -> str:
    return "1 visit is" if n == 1 else f"{n} visits are"
