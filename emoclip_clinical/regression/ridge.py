"""Ridge regression tuned and cross-validated for many rating vectors at once.

For a given training set and penalty the predictions of ridge are linear in the ratings, so the
matrix that maps training ratings to predictions is made once and serves every permuted rating
vector. The result equals ``StandardScaler`` and ``Ridge`` of scikit-learn inside a grid search
over the same folds, with the same sample weights, to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from emoclip_clinical.regression.folds import splits
from emoclip_clinical.regression.imputation import filled, training_medians


@dataclass(frozen=True)
class TrainingSet:
    """The decomposition of one standardised, weighted training set.

    With A = W^½ Z (Z standardised, W the weights), it holds the eigenvectors of A Aᵀ (dual form,
    fewer rows than features) or of Aᵀ A (primal form).

    Attributes
    ----------
    mean, scale : ndarray of shape (n_features,)
        Weighted mean and standard deviation of the training rows; the scale of a constant feature
        is infinite, so that it says nothing.
    weight : ndarray of shape (n_train,)
        Weights of the training rows.
    A : ndarray of shape (n_train, n_features)
        Weighted standardised features.
    vectors : ndarray of shape (k, k)
        Eigenvectors; k is the smaller of n_train and n_features.
    values : ndarray of shape (k,)
        Eigenvalues, at least 0.
    X : ndarray of shape (n_train, n_features)
        The training rows, missing values filled in; their medians fill in those of test rows.
    """

    mean: np.ndarray
    scale: np.ndarray
    weight: np.ndarray
    A: np.ndarray
    vectors: np.ndarray
    values: np.ndarray
    X: np.ndarray

    @property
    def is_dual(self) -> bool:
        """Whether the decomposition is of A Aᵀ."""
        return bool(self.A.shape[0] < self.A.shape[1])


def decompose(X: np.ndarray, *, weight: np.ndarray) -> TrainingSet:
    """Standardise a training set with its weights and decompose it once for all penalties.

    Parameters
    ----------
    X : ndarray of shape (n_train, n_features)
        Missing values (NaN) are filled in with the medians of these rows.
    weight : ndarray of shape (n_train,), above 0
    """
    if np.isnan(X).any():
        X = filled(X, training_medians(X))
    mean, scale = weighted_scale(X, weight)
    A = (X - mean) / scale * np.sqrt(weight)[:, np.newaxis]
    gram = A @ A.T if A.shape[0] < A.shape[1] else A.T @ A
    values, vectors = np.linalg.eigh(gram)
    return TrainingSet(mean, scale, weight, A, vectors, np.maximum(values, 0.0), X)


def prediction_matrices(
    training: TrainingSet, X_test: np.ndarray, *, alphas: Sequence[float]
) -> np.ndarray:
    """Return the matrices that map training ratings to test predictions, one for each penalty.

    Returns
    -------
    ndarray of shape (n_alphas, n_test, n_train)
        Each row sums to 1: the intercept, which is not penalised, is the weighted mean rating.
    """
    root = np.sqrt(training.weight)
    if np.isnan(X_test).any():
        # Medians take long, and a filled-in training set has the same ones as before.
        X_test = filled(X_test, training_medians(training.X))
    Z = (X_test - training.mean) / training.scale
    if training.is_dual:
        left = Z @ training.A.T @ training.vectors
        right = training.vectors.T * root
    else:
        left = Z @ training.vectors
        right = training.vectors.T @ training.A.T * root
    share = training.weight / training.weight.sum()
    right = right - right.sum(axis=1, keepdims=True) * share
    shrunk = left / (training.values + np.asarray(alphas)[:, np.newaxis, np.newaxis])
    return np.asarray(shrunk @ right + share)


def coefficients(training: TrainingSet, y: np.ndarray, *, alpha: float) -> np.ndarray:
    """Return the coefficients of standardised features, in scale points a standard deviation.

    Parameters
    ----------
    y : ndarray of shape (n_train,)
        Ratings of the training rows.
    """
    centred = (y - np.average(y, weights=training.weight)) * np.sqrt(training.weight)
    shrink = 1.0 / (training.values + alpha)
    if training.is_dual:
        dual = training.vectors @ (shrink * (training.vectors.T @ centred))
        return np.asarray(training.A.T @ dual)
    projected = training.vectors.T @ (training.A.T @ centred)
    return np.asarray(training.vectors @ (shrink * projected))


def tune(
    X: np.ndarray,
    Y: np.ndarray,
    *,
    weight: np.ndarray,
    subjects: np.ndarray,
    inner_fold: np.ndarray,
    alphas: Sequence[float],
) -> np.ndarray:
    """Choose the penalty of each rating vector by inner grouped cross-validation.

    The criterion is the mean over inner folds of the weighted mean squared error; of equal
    penalties the first wins.

    Parameters
    ----------
    X : ndarray of shape (n_train, n_features)
    Y : ndarray of shape (n_train, n_vectors)
    weight, subjects, inner_fold : ndarray of shape (n_train,)
    alphas : sequence of float

    Returns
    -------
    ndarray of int, shape (n_vectors,)
        Position of the chosen penalty in `alphas`.
    """
    n_folds = int(inner_fold.max()) + 1
    error = np.zeros((len(alphas), Y.shape[1]))
    for train, test in splits(inner_fold, subjects=subjects):
        training = decompose(X[train], weight=weight[train])
        matrices = prediction_matrices(training, X[test], alphas=alphas)
        share = weight[test] / weight[test].sum()
        for index, matrix in enumerate(matrices):
            residual = matrix @ Y[train]
            residual -= Y[test]
            np.square(residual, out=residual)
            error[index] += share @ residual
    return np.asarray(np.argmin(error / n_folds, axis=0))


def weighted_scale(X: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the weighted mean and SD of each column, the SD of a constant one infinite.

    Parameters
    ----------
    X : ndarray of shape (n_train, n_features)
    weight : ndarray of shape (n_train,)
    """
    share = weight / weight.sum()
    mean = share @ X
    variance = share @ (X - mean) ** 2
    # Rounding leaves a constant column a variance of about (n · mean · eps)².
    noise = X.shape[0] * np.abs(mean) * np.finfo(np.float64).eps
    constant = variance <= noise**2
    scale = np.where(constant, np.inf, np.sqrt(variance))
    return mean, scale
