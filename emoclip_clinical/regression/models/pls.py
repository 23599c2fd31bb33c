"""Partial least squares for one rating, with weights of rows."""

from __future__ import annotations

import numpy as np

SMALLEST = 1e-10
"""Share of the first covariance below which nothing is left to explain."""


class WeightedPLS:
    """PLS1 on standardised features (NIPALS; Wold, Sjöström & Eriksson 2001).

    Rows are multiplied by the roots of their weights after weighted centring, which is weighted
    least squares in every step; with equal weights this is the textbook algorithm.

    Parameters
    ----------
    components : int
        As many as there are left to find, at most.
    """

    def __init__(self, *, components: int) -> None:
        self.components = components

    def fit(self, Z: np.ndarray, y: np.ndarray, *, weight: np.ndarray) -> WeightedPLS:
        """Fit to standardised features of shape (n_train, n_features) and ratings (n_train,)."""
        root = np.sqrt(weight)
        self.intercept_ = float(np.average(y, weights=weight))
        X = Z * root[:, np.newaxis]
        left = (y - self.intercept_) * root
        directions, loadings, responses = [], [], []
        first = 0.0
        for _ in range(self.components):
            covariance = X.T @ left
            size = float(np.linalg.norm(covariance))
            first = first or size
            if size <= SMALLEST * first or size == 0:
                break
            direction = covariance / size
            score = X @ direction
            length = float(score @ score)
            loading = X.T @ score / length
            response = float(left @ score) / length
            X = X - np.outer(score, loading)
            left = left - response * score
            directions.append(direction)
            loadings.append(loading)
            responses.append(response)
        self.coef_ = np.zeros(Z.shape[1])
        if directions:
            W, P = np.array(directions).T, np.array(loadings).T
            self.coef_ = W @ np.linalg.solve(P.T @ W, np.array(responses))
        return self

    def predict(self, Z: np.ndarray) -> np.ndarray:
        """Return predictions of shape (n_rows,) in scale points."""
        return np.asarray(Z @ self.coef_ + self.intercept_)
