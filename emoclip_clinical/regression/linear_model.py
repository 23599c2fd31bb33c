"""A linear model of features as they are read, and ridge fitted to one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from emoclip_clinical.regression.imputation import filled, training_medians
from emoclip_clinical.regression.ridge import coefficients, decompose, tune


@dataclass(frozen=True)
class LinearModel:
    """Predictions that are linear in the features.

    Attributes
    ----------
    intercept : float
        Scale points.
    coefficients : ndarray of shape (n_features,)
        Scale points for one unit of each feature.
    medians : ndarray of shape (n_features,)
        What stands in for a missing value.
    settings : mapping
        Hyper-parameters that tuning chose, for the record.
    """

    intercept: float
    coefficients: np.ndarray
    medians: np.ndarray
    settings: tuple[tuple[str, float], ...] = ()

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return the predictions of shape (n_rows,) for X of shape (n_rows, n_features)."""
        # Summed row by row, so that a row's prediction does not depend on its neighbours.
        products = filled(X, self.medians) * self.coefficients
        return np.asarray(products.sum(axis=1) + self.intercept)


def fit_ridge(
    X: np.ndarray,
    y: np.ndarray,
    *,
    weight: np.ndarray,
    subjects: np.ndarray,
    inner_fold: np.ndarray,
    alphas: Sequence[float],
) -> LinearModel:
    """Tune and fit ridge on standardised features, and give it back for features as they are.

    Parameters
    ----------
    X : ndarray of shape (n_train, n_features)
        Missing values (NaN) are filled in with medians of these rows.
    y, weight, subjects, inner_fold : ndarray of shape (n_train,)
        Ratings, row weights, subject and inner fold of each row.
    alphas : sequence of float
        Penalties to choose from.

    Returns
    -------
    LinearModel
    """
    chosen = tune(
        X, y[:, np.newaxis], weight=weight, subjects=subjects, inner_fold=inner_fold, alphas=alphas
    )
    alpha = float(alphas[int(chosen[0])])
    training = decompose(X, weight=weight)
    slopes = coefficients(training, y, alpha=alpha) / training.scale
    intercept = float(np.average(y, weights=weight) - slopes @ training.mean)
    return LinearModel(intercept, slopes, training_medians(X), (("alpha", alpha),))
