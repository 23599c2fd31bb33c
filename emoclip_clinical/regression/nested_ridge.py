"""Nested cross-validation of ridge for many rating vectors, with or without confounds beside it.

Confounds are not penalised: the fit is least squares on the confounds plus ridge of what they
leave of the ratings on what they leave of the features, all inside the training fold. Predictions
stay linear in the ratings, so that permuted rating vectors share every decomposition.

Beside confounds the penalty may also be infinite, which turns the features off: the model of
both then is the model of the confounds, exactly, and not a slightly worse copy of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from threadpoolctl import threadpool_limits

from emoclip_clinical.records import CrossValidation, Progress, no_progress
from emoclip_clinical.regression.config import RegressionConfig
from emoclip_clinical.regression.design import Design
from emoclip_clinical.regression.folds import inner_folds, splits
from emoclip_clinical.regression.imputation import both_filled
from emoclip_clinical.regression.metrics import column_correlations
from emoclip_clinical.regression.removal import fit_confounds, remove_confounds
from emoclip_clinical.regression.ridge import decompose, prediction_matrices

Role = Literal["features", "confounds", "both", "residualised"]
"""What predicts: features alone; confounds alone; both; features less the confounds in them."""


@dataclass(frozen=True)
class RidgeProblem:
    """Rows to cross-validate.

    Attributes
    ----------
    X : ndarray of shape (n_visits, n_features)
        NaN where a value is missing: it becomes the median of the training rows.
    confounds : ndarray of shape (n_visits, n_confounds)
        No columns where there are none.
    subjects : ndarray of int, shape (n_visits,)
        Numbered from 0.
    weights : ndarray of shape (n_visits,)
    """

    X: np.ndarray
    confounds: np.ndarray
    subjects: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True)
class CrossFit:
    """Out-of-fold predictions of every rating vector.

    Attributes
    ----------
    predicted : ndarray of shape (n_repeats, n_visits, n_vectors)
    chosen : tuple of dict
        Penalty of the first vector, by repeat and fold; empty for confounds alone.
    """

    predicted: np.ndarray
    chosen: tuple[dict[str, float], ...]


def problem_of(design: Design, *, confounds: np.ndarray | None = None) -> RidgeProblem:
    """Return the rows of a design, with confounds of shape (n_visits, n_confounds) if given."""
    none = np.empty((len(design.y), 0))
    return RidgeProblem(
        X=design.X,
        confounds=none if confounds is None else confounds,
        subjects=design.subjects,
        weights=design.weights,
    )


def cross_fit(
    Y: np.ndarray,
    *,
    problem: RidgeProblem,
    role: Role,
    fold: np.ndarray,
    config: RegressionConfig,
    seed: int,
    progress: Progress = no_progress,
) -> CrossFit:
    """Predict every row out of fold, for every rating vector, the penalty tuned for each.

    Parameters
    ----------
    Y : ndarray of shape (n_visits, n_vectors)
    problem : RidgeProblem
    role : str
        See `Role`.
    fold : ndarray of int, shape (n_repeats, n_visits)
        Outer fold of each row; with ``features`` and the folds of an `Estimate` with the same
        seed, its predictions are repeated.
    config : RegressionConfig
        `alphas` and `inner_folds` are used.
    seed : int
        Seed of the inner folds.
    progress : callable
        Called after each repeat.
    """
    predicted = np.empty((*fold.shape, Y.shape[1]))
    chosen: list[dict[str, float]] = []
    # The matrices are small: threads would wait for each other, and could change the last bits.
    with threadpool_limits(limits=1, user_api="blas"):
        for repeat, numbers in enumerate(fold):
            for number, (train, test) in enumerate(splits(numbers, subjects=problem.subjects)):
                inner = inner_folds(
                    problem.subjects[train],
                    folds=config.inner_folds,
                    seed=seed,
                    repeat=repeat,
                    fold=number,
                )
                out, alpha = _fit_fold(Y, problem, role, train, test, inner, config.alphas)
                predicted[repeat, test] = out
                chosen += [] if alpha is None else [{"alpha": alpha}]
            progress(f"ridge on {role}", repeat + 1, len(fold))
    return CrossFit(predicted, tuple(chosen))


def refit(
    design: Design,
    *,
    confounds: np.ndarray,
    fold: np.ndarray,
    config: RegressionConfig,
    seed: int,
) -> CrossValidation:
    """Cross-validate ridge on a design's own ratings, confounds removed where there are any.

    Parameters
    ----------
    confounds : ndarray of shape (n_visits, n_confounds)
        Removed from the features inside each training fold; no columns: nothing is.
    fold : ndarray of int, shape (n_repeats, n_visits)
    """
    made = cross_fit(
        design.y[:, np.newaxis],
        problem=problem_of(design, confounds=confounds),
        role="residualised" if confounds.shape[1] else "features",
        fold=fold,
        config=config,
        seed=seed,
    )
    return cross_validation(
        design, predicted=made.predicted[:, :, 0], fold=fold, chosen=made.chosen
    )


def cross_validation(
    design: Design, *, predicted: np.ndarray, fold: np.ndarray, chosen: tuple[dict[str, float], ...]
) -> CrossValidation:
    """Return the record of predictions of a design's own ratings.

    Parameters
    ----------
    predicted : ndarray of shape (n_repeats, n_visits)
    fold : ndarray of int, shape (n_repeats, n_visits)
    """
    return CrossValidation(
        target=design.target,
        keys=design.keys,
        observed=design.y,
        predicted=predicted,
        baseline=training_means(design.y, weights=design.weights, fold=fold),
        fold=fold,
        weight=design.weights,
        chosen=chosen,
    )


def training_means(y: np.ndarray, *, weights: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Return for each row the weighted mean of its training rows; (n_repeats, n_visits)."""
    means = np.empty(fold.shape)
    for repeat, numbers in enumerate(fold):
        for number in np.unique(numbers):
            test = numbers == number
            means[repeat, test] = np.average(y[~test], weights=weights[~test])
    return means


def pooled_correlations(Y: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the mean over repeats of each vector's pooled r; NaN where some is not defined.

    Parameters
    ----------
    Y : ndarray of shape (n_visits, n_vectors)
    predicted : ndarray of shape (n_repeats, n_visits, n_vectors)
    """
    return np.asarray(np.mean([column_correlations(Y, p, weights) for p in predicted], axis=0))


def subset(design: Design, rows: np.ndarray) -> Design:
    """Return a design of some of its visits, subjects and weights counted anew.

    Parameters
    ----------
    rows : ndarray of bool or int
        Visits to keep.
    """
    places = np.flatnonzero(rows) if rows.dtype == bool else rows
    subjects = np.unique(design.subjects[places], return_inverse=True)[1]
    return replace(
        design,
        keys=design.keys.iloc[places].reset_index(drop=True),
        X=design.X[places],
        y=design.y[places],
        subjects=subjects,
        weights=1.0 / np.bincount(subjects)[subjects],
        covariates=design.covariates.iloc[places].reset_index(drop=True),
        others=None if design.others is None else design.others.iloc[places].reset_index(drop=True),
    )


def _fit_fold(
    Y: np.ndarray,
    problem: RidgeProblem,
    role: Role,
    train: np.ndarray,
    test: np.ndarray,
    inner: np.ndarray,
    alphas: Sequence[float],
) -> tuple[np.ndarray, float | None]:
    if role == "confounds":
        return _maps(problem, role, train, test, alphas)[0] @ Y[train], None
    if role == "both":
        alphas = (*alphas, np.inf)
    best = _tune(Y, problem, role, train, inner, alphas)
    used = np.unique(best)
    matrices = _maps(problem, role, train, test, [alphas[i] for i in used])
    out = np.empty((len(test), Y.shape[1]))
    for index, matrix in zip(used, matrices, strict=True):
        columns = np.flatnonzero(best == index)
        out[:, columns] = matrix @ Y[np.ix_(train, columns)]
    return out, float(alphas[best[0]])


def _tune(
    Y: np.ndarray,
    problem: RidgeProblem,
    role: Role,
    train: np.ndarray,
    inner: np.ndarray,
    alphas: Sequence[float],
) -> np.ndarray:
    """Position of each vector's best penalty: least mean over inner folds of the squared error."""
    error = np.zeros((len(alphas), Y.shape[1]))
    for fit, held_out in splits(inner, subjects=problem.subjects[train]):
        fit, held_out = train[fit], train[held_out]
        share = problem.weights[held_out] / problem.weights[held_out].sum()
        for index, matrix in enumerate(_maps(problem, role, fit, held_out, alphas)):
            error[index] += share @ (matrix @ Y[fit] - Y[held_out]) ** 2
    return np.asarray(np.argmin(error / (int(inner.max()) + 1), axis=0))


def _maps(
    problem: RidgeProblem,
    role: Role,
    train: np.ndarray,
    test: np.ndarray,
    alphas: Sequence[float],
) -> np.ndarray:
    """Matrices from training ratings to predictions; (n_alphas, n_test, n_train)."""
    weight, X, X_test = problem.weights[train], problem.X[train], problem.X[test]
    X, X_test = both_filled(X, X_test)
    if role == "features":
        return prediction_matrices(decompose(X, weight=weight), X_test, alphas=alphas)
    confounds_test = problem.confounds[test]
    fit = fit_confounds(problem.confounds[train], weight=weight)
    if role == "confounds":
        return fit.hat_for(confounds_test)[np.newaxis]
    X, X_test = remove_confounds(fit, X, X_test=X_test, confounds_test=confounds_test)
    matrices = prediction_matrices(decompose(X, weight=weight), X_test, alphas=alphas)
    if role == "residualised":
        return matrices
    hat_test = fit.hat_for(confounds_test)
    combined = hat_test + matrices - matrices @ fit.hat
    combined[np.isinf(alphas)] = hat_test
    return np.asarray(combined)
