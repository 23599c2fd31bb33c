"""The fitting of final estimators that are linear in the features, other than ridge."""

from __future__ import annotations

import numpy as np

from emoclip_clinical.regression.config import RegressionConfig
from emoclip_clinical.regression.estimator import Fit, Predictor
from emoclip_clinical.regression.folds import inner_folds
from emoclip_clinical.regression.imputation import filled, training_medians
from emoclip_clinical.regression.linear_model import LinearModel
from emoclip_clinical.regression.models.base import Rows
from emoclip_clinical.regression.models.catalogue import make_model
from emoclip_clinical.regression.ridge import weighted_scale

LINEAR = frozenset({"ridge", "elastic_net", "pls"})
"""Models that can be written as coefficients and an intercept."""


def not_saved_reason(config: RegressionConfig) -> str | None:
    """Say why no final estimator can be written for these settings; None where it can."""
    if config.remove_confounds:
        return (
            "no final estimator was saved: the confounds of new visits would have to be known to "
            "remove them"
        )
    if config.model not in LINEAR:
        return (
            f"no final estimator was saved: {config.model} can not be written without a pickle, "
            f"which could run code when it is read; {', '.join(sorted(LINEAR))} can"
        )
    return None


def linear_fit(config: RegressionConfig, *, seed: int) -> Fit:
    """Return the fitting of a linear model with its inner tuning, as the cross-validation does it.

    Parameters
    ----------
    config : RegressionConfig
        Its `model` must be one of `LINEAR`.
    seed : int
    """
    model = make_model(config.model, config=config)

    def fit(
        X: np.ndarray, y: np.ndarray, weight: np.ndarray, subjects: np.ndarray, number: int
    ) -> Predictor:
        dense = np.unique(subjects, return_inverse=True)[1]
        every = np.arange(len(y))
        made = model.fit_fold(
            y[:, np.newaxis],
            rows=Rows(X, np.empty((len(y), 0)), dense, weight),
            train=every,
            test=every,
            inner=inner_folds(dense, folds=config.inner_folds, seed=seed, repeat=0, fold=number),
            seed=seed,
        )
        assert made.coefficients is not None  # LINEAR says so
        medians = training_medians(X)
        whole = filled(X, medians)
        slopes = made.coefficients / weighted_scale(whole, weight)[1]
        intercept = float(np.mean(made.predicted[:, 0] - whole @ slopes))
        return LinearModel(intercept, slopes, medians, tuple(made.chosen.items()))

    return fit
