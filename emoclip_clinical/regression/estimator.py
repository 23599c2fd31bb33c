"""The final estimator: fitted to all subjects, with intervals and a limit to its reach."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from threadpoolctl import threadpool_limits

from emoclip_clinical.regression.config import RegressionConfig
from emoclip_clinical.regression.conformal import Calibration, upper_limit
from emoclip_clinical.regression.design import Design
from emoclip_clinical.regression.features import ImputeRule
from emoclip_clinical.regression.folds import fold_of_subjects, inner_folds, splits
from emoclip_clinical.regression.imputation import filled, training_medians
from emoclip_clinical.regression.linear_model import fit_ridge
from emoclip_clinical.regression.reach import Reach, fit_reach

CALIBRATION_FOLDS = 20
"""Models of the intervals, each of which has seen 95 % of the subjects."""
REACH_LEVEL = 0.99
"""Share of new subjects like the training ones that are not flagged as out of range."""
_CALIBRATION_STREAM = 4


class Predictor(Protocol):
    """A fitted model."""

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return the predictions of shape (n_rows,) for X of shape (n_rows, n_features)."""
        ...


Fit = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int], Predictor]
"""``fit(X, y, weight, subjects, number)``: tunes and fits on these rows; `number` tells the
training sets apart, for seeds."""


@dataclass(frozen=True)
class FinalEstimator:
    """What `predict` needs to estimate a target of new visits.

    Attributes
    ----------
    target : str
        Name of the rated target.
    items : tuple of str
        Items that the target is made of.
    minimum, maximum : float or None
        The target's range in scale points, where a scale is known.
    kind : str
        Name of the model.
    impute : str
        ``none`` or ``median``: whether visits with missing features can be estimated.
    feature_names : tuple of str
        Columns, in the order of the model.
    model : Predictor
        Fitted to all subjects.
    fold_models : tuple of Predictor
        Each fitted to all subjects but those of one fold.
    calibration : Calibration
        Errors of `fold_models` on the subjects that they had not seen.
    level : float
        Share of new subjects whose rating the interval is to hold.
    medians : ndarray of shape (n_features,)
        Medians of the training rows, which stand in for missing values in `reach`.
    reach : Reach
        Where the training features lie.
    distance_limit : float
        Distance beyond which a visit is out of range.
    n_subjects, n_visits : int
        Of the training data.
    rows_seen : tuple of str
        Fingerprint of each training row's features, by which a visit is known again that the
        estimator was fitted to; no identifier is kept.
    source : mapping
        What made the features.
    """

    target: str
    items: tuple[str, ...]
    minimum: float | None
    maximum: float | None
    kind: str
    impute: ImputeRule
    feature_names: tuple[str, ...]
    model: Predictor
    fold_models: tuple[Predictor, ...]
    calibration: Calibration
    level: float
    medians: np.ndarray
    reach: Reach
    distance_limit: float
    n_subjects: int
    n_visits: int
    rows_seen: tuple[str, ...]
    source: Mapping[str, object]


def ridge_fit(config: RegressionConfig, *, seed: int) -> Fit:
    """Return the fitting of ridge with its inner tuning, as the cross-validation does it."""

    def fit(
        X: np.ndarray, y: np.ndarray, weight: np.ndarray, subjects: np.ndarray, number: int
    ) -> Predictor:
        inner = inner_folds(subjects, folds=config.inner_folds, seed=seed, repeat=0, fold=number)
        return fit_ridge(
            X, y, weight=weight, subjects=subjects, inner_fold=inner, alphas=config.alphas
        )

    return fit


def fit_estimator(
    design: Design, *, fit: Fit, kind: str, level: float, impute: ImputeRule, seed: int
) -> FinalEstimator:
    """Fit a model to all subjects, and again without each fold of them for the intervals.

    Parameters
    ----------
    design : Design
        Rows to fit.
    fit : callable
        Tunes and fits the model; see `Fit`.
    kind : str
        Name of the model.
    level : float
        Share of new subjects whose rating an interval is to hold, between 0 and 1.
    impute : str
        ``none`` or ``median``.
    seed : int

    Returns
    -------
    FinalEstimator
    """
    # One thread, as in the cross-validation: the last bits must not depend on the machine's load.
    with threadpool_limits(limits=1, user_api="blas"):
        return _fitted(design, fit=fit, kind=kind, level=level, impute=impute, seed=seed)


def _fitted(
    design: Design, *, fit: Fit, kind: str, level: float, impute: ImputeRule, seed: int
) -> FinalEstimator:
    X, y, weight, subjects = design.X, design.y, design.weights, design.subjects
    folds = min(CALIBRATION_FOLDS, design.n_subjects)
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_CALIBRATION_STREAM,)))
    fold = fold_of_subjects(design.n_subjects, folds=folds, rng=rng)[subjects]
    residual, distance = np.empty((2, len(y)))
    models: list[Predictor] = []
    for number, (train, test) in enumerate(splits(fold, subjects=subjects)):
        model = fit(X[train], y[train], weight[train], subjects[train], number)
        residual[test] = np.abs(y[test] - model.predict(X[test]))
        medians = training_medians(X[train])
        reach = fit_reach(filled(X[train], medians), weight=weight[train])
        distance[test] = reach.distances(filled(X[test], medians))
        models.append(model)
    medians = training_medians(X)
    return FinalEstimator(
        target=design.target,
        items=design.items,
        minimum=design.minimum,
        maximum=design.maximum,
        kind=kind,
        impute=impute,
        feature_names=design.feature_names,
        model=fit(X, y, weight, subjects, folds),
        fold_models=tuple(models),
        calibration=Calibration(residual, fold, weight),
        level=level,
        medians=medians,
        reach=fit_reach(filled(X, medians), weight=weight),
        distance_limit=upper_limit(distance, weight, level=REACH_LEVEL),
        n_subjects=design.n_subjects,
        n_visits=len(y),
        rows_seen=tuple(sorted(set(fingerprints(X)))),
        source=design.source,
    )


def fingerprints(X: np.ndarray) -> list[str]:
    """Return a short hash of each row of features, which says nothing of who it is."""
    rows = np.where(np.isnan(X), np.nan, X + 0.0).astype("<f8")
    return [hashlib.sha256(row.tobytes()).hexdigest()[:16] for row in rows]
