"""Filling in missing feature values with what the training rows say, and nothing else."""

from __future__ import annotations

import numpy as np


def training_medians(X: np.ndarray) -> np.ndarray:
    """Return each feature's median over the training rows that have it.

    Parameters
    ----------
    X : ndarray of shape (n_train, n_features)
        NaN where a value is missing.

    Returns
    -------
    ndarray of shape (n_features,)
        0 for a feature that no training row has: filled in, it is constant and says nothing.
    """
    medians = np.zeros(X.shape[1])
    known = ~np.isnan(X).all(axis=0)
    medians[known] = np.nanmedian(X[:, known], axis=0)
    return medians


def filled(X: np.ndarray, medians: np.ndarray) -> np.ndarray:
    """Return the rows with each missing value replaced; the same array where none is missing."""
    missing = np.isnan(X)
    return np.where(missing, medians, X) if missing.any() else X
