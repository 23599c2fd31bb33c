"""Models whose predictions are linear in the ratings: one decomposition serves all vectors.

For a training set and a candidate (a penalty, a kernel width) a matrix maps training ratings to
predictions, whatever the ratings are. Kernel ridge chooses by inner cross-validation; the Gaussian
process chooses by its marginal likelihood, which needs no inner folds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from emoclip_clinical.regression.models.base import (
    FoldResult,
    Predictor,
    Rows,
    inner_splits,
    predictor_of,
    prepared,
    standardised,
)
from emoclip_clinical.regression.ridge import coefficients, decompose, prediction_matrices, tune

KERNEL_WIDTHS = (0.1, 0.3, 1.0, 3.0)
"""Factors of the squared distance over the number of features, in the Gaussian kernel."""
NOISE_RATIOS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
"""Variances of the noise of a rating over that of the process."""
_Maps = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class RidgeModel:
    """Ridge on standardised features; the penalty by inner cross-validation.

    Attributes
    ----------
    alphas : tuple of float
        Penalties to choose from.
    """

    alphas: tuple[float, ...]
    shares: bool = True

    def fit_fold(
        self,
        Y: np.ndarray,
        *,
        rows: Rows,
        train: np.ndarray,
        test: np.ndarray,
        inner: np.ndarray,
        seed: int,
    ) -> FoldResult:
        """See `Model.fit_fold`; nothing is random here."""
        weight = rows.weights[train]
        if rows.confounds.shape[1]:
            best = _tuned(self.maps, Y, rows, train, inner)
            X, X_test = prepared(rows, train, test)
        else:
            X, X_test = rows.X[train], rows.X[test]
            best = tune(
                X,
                Y[train],
                weight=weight,
                subjects=rows.subjects[train],
                inner_fold=inner,
                alphas=self.alphas,
            )
        training = decompose(X, weight=weight)
        used = np.unique(best)
        matrices = prediction_matrices(training, X_test, alphas=[self.alphas[i] for i in used])
        alpha = float(self.alphas[best[0]])
        slopes = coefficients(training, Y[train, 0], alpha=alpha)
        return FoldResult(
            predicted=_applied(matrices, used, best, Y, train),
            chosen={"alpha": alpha},
            coefficients=slopes,
            predictor=_linear(rows, train, slopes, Y[:, 0]),
        )

    def maps(self, X: np.ndarray, X_test: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Return the matrices from training ratings to predictions, one for each penalty."""
        return prediction_matrices(decompose(X, weight=weight), X_test, alphas=self.alphas)


@dataclass(frozen=True)
class KernelRidgeModel:
    """Kernel ridge with a Gaussian kernel exp(-width · ‖z - z'‖² / n_features).

    The intercept is the weighted mean rating and is not penalised. Penalty and width by inner
    cross-validation.

    Attributes
    ----------
    alphas, widths : tuple of float
        Penalties and widths to choose from.
    """

    alphas: tuple[float, ...]
    widths: tuple[float, ...] = KERNEL_WIDTHS
    shares: bool = True

    @property
    def candidates(self) -> list[tuple[float, float]]:
        """Width and penalty of each candidate."""
        return list(product(self.widths, self.alphas))

    def fit_fold(
        self,
        Y: np.ndarray,
        *,
        rows: Rows,
        train: np.ndarray,
        test: np.ndarray,
        inner: np.ndarray,
        seed: int,
    ) -> FoldResult:
        """See `Model.fit_fold`; nothing is random here."""
        best = _tuned(self.maps, Y, rows, train, inner)
        width, alpha = self.candidates[best[0]]
        return _kernel_fold(self.maps, Y, rows, train, test, best, {"width": width, "alpha": alpha})

    def maps(self, X: np.ndarray, X_test: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Return the matrices from training ratings to predictions, one for each candidate."""
        return _kernel_maps(X, X_test, weight, self.widths, self.alphas)


@dataclass(frozen=True)
class GaussianProcessModel:
    """A Gaussian process with the same kernel; width, noise and variance by marginal likelihood.

    The mean is the weighted mean rating; a row of weight w has noise of variance σ²/w. The
    variance of the process has its maximum in closed form, so that the likelihood is looked at
    over width and noise ratio only (Rasmussen & Williams 2006, Gaussian Processes for Machine
    Learning, section 5.4.1).

    Attributes
    ----------
    widths, noise_ratios : tuple of float
        Candidates.
    """

    widths: tuple[float, ...] = KERNEL_WIDTHS
    noise_ratios: tuple[float, ...] = NOISE_RATIOS
    shares: bool = True

    @property
    def candidates(self) -> list[tuple[float, float]]:
        """Width and noise ratio of each candidate."""
        return list(product(self.widths, self.noise_ratios))

    def fit_fold(
        self,
        Y: np.ndarray,
        *,
        rows: Rows,
        train: np.ndarray,
        test: np.ndarray,
        inner: np.ndarray,
        seed: int,
    ) -> FoldResult:
        """See `Model.fit_fold`; the inner folds are not needed and nothing is random."""
        weight = rows.weights[train]
        X, _ = prepared(rows, train, test)
        Z, _ = standardised(X, X, weight)
        best = np.argmax(self.log_likelihood(Z, Y[train], weight=weight), axis=0)
        width, noise = self.candidates[best[0]]
        return _kernel_fold(
            self.maps, Y, rows, train, test, best, {"width": width, "noise_ratio": noise}
        )

    def maps(self, X: np.ndarray, X_test: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Return the matrices from training ratings to posterior means, one for each candidate."""
        return _kernel_maps(X, X_test, weight, self.widths, self.noise_ratios)

    def log_likelihood(self, Z: np.ndarray, Y: np.ndarray, *, weight: np.ndarray) -> np.ndarray:
        """Return the log marginal likelihood, the process variance at its best.

        Parameters
        ----------
        Z : ndarray of shape (n_train, n_features)
            Standardised features.
        Y : ndarray of shape (n_train, n_vectors)
        weight : ndarray of shape (n_train,)

        Returns
        -------
        ndarray of shape (n_candidates, n_vectors)
            -inf for constant ratings.
        """
        n, root = len(Z), np.sqrt(weight)
        centred = (Y - np.average(Y, axis=0, weights=weight)) * root[:, np.newaxis]
        distance = _distances(Z, Z)
        made = []
        for width in self.widths:
            values, vectors = np.linalg.eigh(_kernel(distance, width) * np.outer(root, root))
            squared = (vectors.T @ centred) ** 2
            for noise in self.noise_ratios:
                spread = np.maximum(values, 0.0) + noise
                variance = (squared / spread[:, np.newaxis]).sum(axis=0) / n
                with np.errstate(divide="ignore"):
                    fit = -0.5 * n * (np.log(2 * np.pi * variance) + 1)
                made.append(fit - 0.5 * np.log(spread).sum() + np.log(root).sum())
        found = np.array(made)
        return np.where(np.isfinite(found), found, -np.inf)


def _kernel_fold(
    maps: _Maps,
    Y: np.ndarray,
    rows: Rows,
    train: np.ndarray,
    test: np.ndarray,
    best: np.ndarray,
    chosen: dict[str, float],
) -> FoldResult:
    weight = rows.weights[train]
    X, X_test = prepared(rows, train, test)
    used = np.unique(best)
    matrices = maps(X, X_test, weight)[used]
    Z, _ = standardised(X, X, weight)
    width, ridge = chosen.values()
    y, root = Y[train, 0], np.sqrt(weight)
    centre = float(np.average(y, weights=weight))
    system = _kernel(_distances(Z, Z), width) * np.outer(root, root) + ridge * np.eye(len(y))
    dual = root * np.linalg.solve(system, root * (y - centre))

    def predict(new: np.ndarray) -> np.ndarray:
        return np.asarray(_kernel(_distances(new, Z), width) @ dual + centre)

    return FoldResult(
        predicted=_applied(matrices, used, best, Y, train),
        chosen=chosen,
        predictor=predictor_of(rows, train, predict),
    )


def _tuned(
    maps: _Maps, Y: np.ndarray, rows: Rows, train: np.ndarray, inner: np.ndarray
) -> np.ndarray:
    """Position of each vector's best candidate: least mean over inner folds of squared error."""
    errors = []
    for fit, held_out, share in inner_splits(rows, train, inner):
        X, X_test = prepared(rows, fit, held_out)
        found = [
            share @ (matrix @ Y[fit] - Y[held_out]) ** 2
            for matrix in maps(X, X_test, rows.weights[fit])
        ]
        errors.append(found)
    return np.asarray(np.argmin(np.array(errors).sum(axis=0), axis=0))


def _applied(
    matrices: np.ndarray, used: np.ndarray, best: np.ndarray, Y: np.ndarray, train: np.ndarray
) -> np.ndarray:
    predicted = np.empty((matrices.shape[1], Y.shape[1]))
    for index, matrix in zip(used, matrices, strict=True):
        columns = best == index
        predicted[:, columns] = matrix @ Y[np.ix_(train, np.flatnonzero(columns))]
    return predicted


def _linear(rows: Rows, train: np.ndarray, slopes: np.ndarray, y: np.ndarray) -> Predictor | None:
    centre = np.average(y[train], weights=rows.weights[train])
    return predictor_of(rows, train, lambda Z: np.asarray(Z @ slopes + centre))


def _kernel_maps(
    X: np.ndarray,
    X_test: np.ndarray,
    weight: np.ndarray,
    widths: Sequence[float],
    ridges: Sequence[float],
) -> np.ndarray:
    Z, Z_test = standardised(X, X_test, weight)
    root, share = np.sqrt(weight), weight / weight.sum()
    among, between = _distances(Z, Z), _distances(Z_test, Z)
    shrink = np.asarray(ridges)[:, np.newaxis, np.newaxis]
    made = []
    for width in widths:
        values, vectors = np.linalg.eigh(_kernel(among, width) * np.outer(root, root))
        left = _kernel(between, width) * root @ vectors
        right = vectors.T * root
        right = right - right.sum(axis=1, keepdims=True) * share
        made.append(left / (np.maximum(values, 0.0) + shrink) @ right + share)
    return np.concatenate(made)


def _kernel(distance: np.ndarray, width: float) -> np.ndarray:
    return np.asarray(np.exp(-width * distance))


def _distances(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    """Squared distances over the number of features, (n_a, n_b)."""
    squared = (A**2).sum(axis=1)[:, np.newaxis] + (B**2).sum(axis=1) - 2 * A @ B.T
    return np.asarray(np.maximum(squared, 0.0) / max(A.shape[1], 1))
