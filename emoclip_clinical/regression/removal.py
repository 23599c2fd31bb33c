"""Removing confounds inside a training fold, from features and from ratings.

What is removed is a weighted least-squares fit to the confounds, made of training rows only and
then subtracted from training and test rows alike (Snoek, Miletić & Scholte 2019, NeuroImage 184,
741-760).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

EXPLAINED = 1e-16
"""Share of its variance below which what is left of a feature is rounding."""


@dataclass(frozen=True)
class ConfoundFit:
    """Least-squares fits to the confounds of one training set, as matrices over training rows.

    Attributes
    ----------
    centre, scale : ndarray of shape (n_confounds,)
        Weighted mean and standard deviation, or 1 for an indicator of 0 and 1; the scale of a
        confound that is constant in training is infinite.
    solve : ndarray of shape (n_confounds + 1, n_train)
        Maps training values to intercept and coefficients (least norm where confounds repeat
        each other).
    hat : ndarray of shape (n_train, n_train)
        Maps training values to their fit.
    weight : ndarray of shape (n_train,)
    """

    centre: np.ndarray
    scale: np.ndarray
    solve: np.ndarray
    hat: np.ndarray
    weight: np.ndarray

    def hat_for(self, confounds: np.ndarray) -> np.ndarray:
        """Return the matrix that maps training values to the fit of other rows.

        Parameters
        ----------
        confounds : ndarray of shape (n_rows, n_confounds)

        Returns
        -------
        ndarray of shape (n_rows, n_train)
        """
        return np.asarray(_columns(confounds, self.centre, self.scale) @ self.solve)


def fit_confounds(confounds: np.ndarray, *, weight: np.ndarray) -> ConfoundFit:
    """Prepare the removal of confounds of a training set.

    A category comes as one indicator a level. The fit of least norm treats levels alike, and gives
    a level that training does not hold the mean over the levels that it does.

    Parameters
    ----------
    confounds : ndarray of shape (n_train, n_confounds)
        Numbers, no NaN.
    weight : ndarray of shape (n_train,), above 0
    """
    share = weight / weight.sum()
    centre = share @ confounds
    variance = share @ (confounds - centre) ** 2
    noise = len(confounds) * np.abs(centre) * np.finfo(np.float64).eps
    is_indicator = np.isin(confounds, (0.0, 1.0)).all(axis=0)
    scale = np.where(is_indicator, 1.0, np.sqrt(variance))
    scale[variance <= noise**2] = np.inf
    columns = _columns(confounds, centre, scale)
    root = np.sqrt(weight)[:, np.newaxis]
    solve = np.linalg.pinv(columns * root, rcond=1e-10) * root.T
    return ConfoundFit(centre, scale, solve, columns @ solve, weight)


def remove_confounds(
    fit: ConfoundFit, X: np.ndarray, *, X_test: np.ndarray, confounds_test: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return training and test features less what the confounds explain of them in training.

    A feature that the confounds explain wholly becomes 0, not rounding noise.

    Parameters
    ----------
    X : ndarray of shape (n_train, n_features)
    X_test : ndarray of shape (n_test, n_features)
    confounds_test : ndarray of shape (n_test, n_confounds)
    """
    left = X - fit.hat @ X
    left_test = X_test - fit.hat_for(confounds_test) @ X
    share = fit.weight / fit.weight.sum()
    mean = share @ X
    original = share @ (X - mean) ** 2
    noise = (len(X) * np.abs(mean) * np.finfo(np.float64).eps) ** 2
    gone = share @ left**2 <= np.maximum(EXPLAINED * original, noise)
    left[:, gone] = 0.0
    left_test[:, gone] = 0.0
    return left, left_test


def _columns(confounds: np.ndarray, centre: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return np.column_stack([np.ones(len(confounds)), (confounds - centre) / scale])
