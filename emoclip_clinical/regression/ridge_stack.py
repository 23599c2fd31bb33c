"""Nested cross-validation of ridge for many training sets at once, each with its own vectors.

Folds that see ratings differ from one rating vector to the next, so that a permutation test needs
thousands of small training sets; fitted one by one, most of the time goes to calls, not to
arithmetic. Here training sets are stacked along the first axis of every array, and the rows that
one leaves out have weight 0 in it. The numbers are those of `models.smoothers.RidgeModel`, to
rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from emoclip_clinical.regression.imputation import subset_medians
from emoclip_clinical.regression.models.base import Rows
from emoclip_clinical.regression.nested_plans import TEST, Plans
from emoclip_clinical.regression.processes import in_processes
from emoclip_clinical.regression.removal import EXPLAINED

BLOCK_NUMBERS = 200_000
"""Numbers in the largest array of a block: more would leave the processor's cache."""


@dataclass(frozen=True)
class Stack:
    """Decompositions of several training sets, for the rows that each is to predict.

    Attributes
    ----------
    share : ndarray of shape (n_sets, n_visits)
        Share of each row in a set's weight, 0 outside.
    held : ndarray of int, shape (n_sets, n_held)
        Rows to predict; a set that has fewer repeats its first.
    right : ndarray of shape (n_sets, n_visits, k)
        Maps centred ratings to eigenvectors.
    values : ndarray of shape (n_sets, k)
        Eigenvalues.
    left : ndarray of shape (n_sets, k, n_held)
        Maps shrunk eigenvectors to predictions.
    """

    share: np.ndarray
    held: np.ndarray
    right: np.ndarray
    values: np.ndarray
    left: np.ndarray

    def predict(self, Y: np.ndarray, penalty: np.ndarray) -> np.ndarray:
        """Predict the held-out rows with every penalty.

        Parameters
        ----------
        Y : ndarray of shape (n_sets, n_vectors, n_visits)
        penalty : ndarray of shape (n_penalties,) or (n_sets, n_vectors, n_penalties)

        Returns
        -------
        ndarray of shape (n_sets, n_vectors, n_penalties, n_held)
        """
        mean = Y @ self.share[:, :, np.newaxis]
        on_vectors = (Y - mean) @ self.right
        spread = self.values[:, np.newaxis, np.newaxis] + penalty[..., np.newaxis]
        shrunk = on_vectors[:, :, np.newaxis] / spread
        flat = shrunk.reshape(len(Y), -1, shrunk.shape[-1]) @ self.left
        return np.asarray(flat.reshape(*shrunk.shape[:3], -1) + mean[..., np.newaxis])


def predict_plans(
    vectors: np.ndarray,
    *,
    plans: Plans,
    rows: Rows,
    alphas: Sequence[float],
    jobs: int = 1,
    done: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Predict every row of every vector out of fold, each penalty tuned on inner folds.

    Parameters
    ----------
    vectors : ndarray of shape (n_vectors, n_visits)
    plans : Plans
        Nested training sets of these vectors.
    rows : Rows
    alphas : sequence of float
    jobs : int
        Number of processes; results do not depend on it.
    done : callable, optional
        Told how many vectors' worth of work is behind.

    Returns
    -------
    ndarray of shape (n_vectors, n_repeats, n_visits)
    """
    n, p = rows.X.shape
    inner_folds = int(plans.part.max()) + 1

    def width(n_vectors: int) -> int:
        each: int = inner_folds * (n * p + n_vectors * (n + len(alphas) * p))
        return BLOCK_NUMBERS // each

    blocks = list(plans.blocks(width))
    tasks = ((vectors[plans.vector[uses]], plans.part[taken]) for taken, uses in blocks)
    found = in_processes(partial(_predict_block, rows=rows, alphas=alphas), tasks, jobs=jobs)
    predicted = np.empty((len(vectors), int(plans.repeat.max()) + 1, n))
    behind = 0
    for (taken, uses), (held, out) in zip(blocks, found, strict=True):
        vector, repeat = plans.vector[uses], plans.repeat[uses]
        predicted[vector[..., np.newaxis], repeat[..., np.newaxis], held[:, np.newaxis]] = out
        behind += len(taken)
        if done is not None:
            done(len(vectors) * behind // len(plans.part))
    return predicted


def _predict_block(
    task: tuple[np.ndarray, np.ndarray], *, rows: Rows, alphas: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Test rows, (n_plans, n_held), and predictions of them, (n_plans, n_vectors, n_held).

    The task is the vectors of each plan, (n_plans, n_vectors, n_visits), and its `Plans.part`.
    """
    Y, part = task
    penalties = np.asarray(alphas)
    best = _tuned(Y, part, rows, penalties)
    stack = decompose_stack(rows, train=part >= 0, test=part == TEST)
    return stack.held, stack.predict(Y, penalties[best][..., np.newaxis])[:, :, 0]


def decompose_stack(rows: Rows, *, train: np.ndarray, test: np.ndarray) -> Stack:
    """Standardise and decompose training sets; see `ridge.decompose`.

    Parameters
    ----------
    rows : Rows
    train, test : ndarray of bool, shape (n_sets, n_visits)
    """
    weight = np.where(train, rows.weights, 0.0)
    share = weight / weight.sum(axis=1, keepdims=True)
    root = np.sqrt(weight)[:, :, np.newaxis]
    X = _prepared(rows, train, share, root)
    mean, variance, constant = _moments(X, share)
    Z = (X - mean) / np.where(constant, np.inf, np.sqrt(variance))
    held = _places(test)
    tested = np.take_along_axis(Z, held[:, :, np.newaxis], axis=1)
    A = Z * root
    if A.shape[1] < A.shape[2]:
        values, vectors = np.linalg.eigh(A @ _turned(A))
        left, right = tested @ (_turned(A) @ vectors), root * vectors
    else:
        values, vectors = np.linalg.eigh(_turned(A) @ A)
        left, right = tested @ vectors, root * (A @ vectors)
    return Stack(share, held, right, np.maximum(values, 0.0), _turned(left))


def _tuned(Y: np.ndarray, part: np.ndarray, rows: Rows, penalties: np.ndarray) -> np.ndarray:
    """Position of each vector's best penalty, (n_plans, n_vectors); see `ridge.tune`."""
    n_folds = int(part.max()) + 1
    inner = part[:, np.newaxis]
    test = inner == np.arange(n_folds)[:, np.newaxis]
    train = (inner >= 0) & ~test
    n_visits = part.shape[1]
    test, train = test.reshape(-1, n_visits), train.reshape(-1, n_visits)
    stack = decompose_stack(rows, train=train, test=test)
    many = np.repeat(Y, n_folds, axis=0)
    residual = stack.predict(many, penalties)
    residual -= np.take_along_axis(many, stack.held[:, np.newaxis], axis=2)[:, :, np.newaxis]
    np.square(residual, out=residual)
    n_held = test.sum(axis=1, keepdims=True)
    weight = np.where(np.arange(stack.held.shape[1]) < n_held, rows.weights[stack.held], 0.0)
    share = weight / weight.sum(axis=1, keepdims=True)
    error = residual @ share[:, np.newaxis, :, np.newaxis]
    by_fold = error.reshape(len(part), n_folds, Y.shape[1], len(penalties))
    return np.asarray(np.argmin(by_fold.sum(axis=1), axis=-1))


def _prepared(rows: Rows, train: np.ndarray, share: np.ndarray, root: np.ndarray) -> np.ndarray:
    """Features of all rows as the training rows of each set say; see `models.base.prepared`."""
    X = rows.X[np.newaxis]
    missing = np.isnan(rows.X)
    if missing.any():
        X = np.where(missing, subset_medians(rows.X, subsets=train)[:, np.newaxis], X)
    return _without_confounds(X, rows.confounds, share, root) if rows.confounds.shape[1] else X


def _without_confounds(
    X: np.ndarray, confounds: np.ndarray, share: np.ndarray, root: np.ndarray
) -> np.ndarray:
    """See `removal.remove_confounds`."""
    centre, variance, constant = _moments(confounds[np.newaxis], share)
    scaled = (confounds - centre) / np.where(constant, np.inf, np.sqrt(variance))
    columns = np.concatenate([np.ones((*share.shape, 1)), scaled], axis=2)
    solve = np.linalg.pinv(columns * root, rcond=1e-10) * _turned(root)
    left = X - columns @ (solve @ X)
    _, original, _ = _moments(X, share)
    gone = share[:, np.newaxis] @ left**2 <= np.maximum(EXPLAINED * original, _noise(X, share))
    return np.where(gone, 0.0, left)


def _moments(X: np.ndarray, share: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weighted mean and variance of each column, and whether it is constant; (n_sets, 1, p)."""
    mean = share[:, np.newaxis] @ X
    variance = share[:, np.newaxis] @ (X - mean) ** 2
    return mean, variance, variance <= _noise(X, share)


def _noise(X: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Variance that rounding leaves a constant column; see `ridge.weighted_scale`."""
    count = (share > 0).sum(axis=1)[:, np.newaxis, np.newaxis]
    mean = share[:, np.newaxis] @ X
    return np.asarray((count * np.abs(mean) * np.finfo(np.float64).eps) ** 2)


def _places(inside: np.ndarray) -> np.ndarray:
    """Positions of the true values of each line, its first repeated where others have more."""
    count = inside.sum(axis=1, keepdims=True)
    order = np.argsort(~inside, axis=1, kind="stable")[:, : count.max()]
    return np.where(np.arange(order.shape[1]) < count, order, order[:, :1])


def _turned(A: np.ndarray) -> np.ndarray:
    return np.swapaxes(A, 1, 2)
