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


def both_filled(X: np.ndarray, X_test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return training and test rows with missing values replaced by the training rows' medians."""
    # Medians take long, and most studies miss nothing.
    if not (np.isnan(X).any() or np.isnan(X_test).any()):
        return X, X_test
    medians = training_medians(X)
    return filled(X, medians), filled(X_test, medians)


def subset_medians(X: np.ndarray, *, subsets: np.ndarray) -> np.ndarray:
    """Return `training_medians` of many sets of rows at once.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
        NaN where a value is missing.
    subsets : ndarray of bool, shape (n_subsets, n_rows)

    Returns
    -------
    ndarray of shape (n_subsets, n_features)
        Meaningful for features with a missing value alone; 0 for the others, which need none.
    """
    medians = np.zeros((len(subsets), X.shape[1]))
    for feature in np.flatnonzero(np.isnan(X).any(axis=0)):
        column = X[:, feature]
        # Ranks within each subset; NaN has none.
        order = np.argsort(column)
        rank = np.cumsum(subsets[:, order] & ~np.isnan(column[order]), axis=1)
        count = rank[:, -1:]
        known = np.flatnonzero(count > 0)
        lower = np.argmax(rank[known] >= (count[known] + 1) // 2, axis=1)
        upper = np.argmax(rank[known] >= count[known] // 2 + 1, axis=1)
        medians[known, feature] = (column[order[lower]] + column[order[upper]]) / 2
    return medians
