"""How far a visit's features lie from those that a model was fitted to.

The distance is Mahalanobis', with a covariance that is shrunk towards a diagonal one (Ledoit and
Wolf 2004, Journal of Multivariate Analysis 88), so that it is defined for more features than
subjects. It is divided by the root of the number of features: a typical visit has about 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LEAST_SHRINKAGE = 0.01
"""Keeps the distance finite where the features are copies of each other up to rounding."""


@dataclass(frozen=True)
class Reach:
    """Where the training features lie.

    Attributes
    ----------
    mean, scale : ndarray of shape (n_features,)
        Weighted mean and standard deviation of the training rows; the scale of a constant
        feature is 1.
    axes : ndarray of shape (n_axes, n_features)
        Principal axes of the standardised features, orthonormal.
    variances : ndarray of shape (n_axes,)
        Shrunk variances along them.
    rest : float
        Shrunk variance along every other direction.
    """

    mean: np.ndarray
    scale: np.ndarray
    axes: np.ndarray
    variances: np.ndarray
    rest: float

    def distances(self, X: np.ndarray) -> np.ndarray:
        """Return the distance of each row; X of shape (n_rows, n_features) without NaN."""
        Z = self.standardised(X)
        along = Z @ self.axes.T
        beside = np.maximum((Z**2).sum(axis=1) - (along**2).sum(axis=1), 0.0)
        squared = (along**2 / self.variances).sum(axis=1) + beside / self.rest
        return np.asarray(np.sqrt(squared / X.shape[1]))

    def standardised(self, X: np.ndarray) -> np.ndarray:
        """Return the features in standard deviations from the training mean."""
        return np.asarray((X - self.mean) / self.scale)


def fit_reach(X: np.ndarray, *, weight: np.ndarray) -> Reach:
    """Describe where training rows lie.

    Parameters
    ----------
    X : ndarray of shape (n_train, n_features)
        Without NaN.
    weight : ndarray of shape (n_train,), above 0
    """
    share = weight / weight.sum()
    mean = share @ X
    scale = np.sqrt(share @ (X - mean) ** 2)
    scale[scale <= X.shape[0] * np.abs(mean) * np.finfo(np.float64).eps] = 1.0
    Z = (X - mean) / scale * np.sqrt(share * len(X))[:, np.newaxis]
    _, singular, axes = np.linalg.svd(Z, full_matrices=False)
    variances = singular**2 / len(X)
    centre = max(float(variances.sum()) / X.shape[1], np.finfo(np.float64).tiny)
    shrinkage = max(_ledoit_wolf(Z, variances), LEAST_SHRINKAGE)
    shrunk = (1 - shrinkage) * variances + shrinkage * centre
    return Reach(mean, scale, axes, shrunk, shrinkage * centre)


def _ledoit_wolf(Z: np.ndarray, variances: np.ndarray) -> float:
    """Return the shrinkage of Ledoit and Wolf from the rows and their principal variances.

    Both sums over pairs of features that it needs are sums over rows or over axes, which are fewer.
    """
    n, p = Z.shape
    squares = float((variances**2).sum())
    apart = (squares - variances.sum() ** 2 / p) / p
    noise = (((Z**2).sum(axis=1) ** 2).sum() / n - squares) / (n * p)
    return float(np.clip(noise / apart, 0.0, 1.0)) if apart > 0 else 1.0
