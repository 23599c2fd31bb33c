"""What every model shares: the rows it sees, how they are prepared, and what a fold gives back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from emoclip_clinical.records import SegmentBags
from emoclip_clinical.regression.folds import splits
from emoclip_clinical.regression.imputation import both_filled, filled, training_medians
from emoclip_clinical.regression.removal import fit_confounds, remove_confounds
from emoclip_clinical.regression.ridge import weighted_scale

Predictor = Callable[[np.ndarray], np.ndarray]
"""Maps features as they are read, (n_rows, n_features), to predictions (n_rows,)."""


@dataclass(frozen=True)
class Rows:
    """Everything that models may look at, a row a visit.

    Attributes
    ----------
    X : ndarray of shape (n_visits, n_features)
        NaN where a value is missing: it becomes the median of the training rows.
    confounds : ndarray of shape (n_visits, n_confounds)
        Removed from the features inside the fold; no columns where none are to be removed.
    subjects : ndarray of int, shape (n_visits,)
    weights : ndarray of shape (n_visits,)
    bags : SegmentBags or None
        Segments of each visit, for models that pool them themselves.
    """

    X: np.ndarray
    confounds: np.ndarray
    subjects: np.ndarray
    weights: np.ndarray
    bags: SegmentBags | None = None


@dataclass(frozen=True)
class FoldResult:
    """What one outer fold gives.

    Attributes
    ----------
    predicted : ndarray of shape (n_test, n_vectors)
    chosen : mapping of str to float
        Hyper-parameters of the first rating vector.
    coefficients : ndarray of shape (n_features,) or None
        Of the first vector, scale points for one training SD; None where the model has none.
    predictor : callable or None
        The model of the first vector; None where it needs more than features.
    converged : tuple of bool
        Whether each fit, those of tuning included, came to its end; empty for models that are not
        fitted in steps.
    """

    predicted: np.ndarray
    chosen: Mapping[str, float]
    coefficients: np.ndarray | None = None
    predictor: Predictor | None = None
    converged: tuple[bool, ...] = ()


class Model(Protocol):
    """A model with its tuning.

    `shares` says whether all rating vectors of a fold are fitted at the cost of one.
    """

    @property
    def shares(self) -> bool: ...  # noqa: D102

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
        """Tune and fit on the training rows and predict the test rows, for every column of Y.

        Parameters
        ----------
        Y : ndarray of shape (n_visits, n_vectors)
            Or, where `learns_together`, (n_visits, n_vectors, n_outputs) with the target first
            and NaN where the rating of another target is missing.
        rows : Rows
        train, test : ndarray of int
        inner : ndarray of int, shape (n_train,)
            Inner fold of each training row.
        seed : int
            Of whatever is random in the fitting.
        """
        ...


def learns_together(model: Model) -> bool:
    """Say whether a model learns from the ratings of other targets, too."""
    return bool(getattr(model, "joint", False))


def prepared(rows: Rows, train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return training and test features: gaps filled, confounds removed, as training rows say."""
    X, X_test = rows.X[train], rows.X[test]
    X, X_test = both_filled(X, X_test)
    if not rows.confounds.shape[1]:
        return X, X_test
    fit = fit_confounds(rows.confounds[train], weight=rows.weights[train])
    return remove_confounds(fit, X, X_test=X_test, confounds_test=rows.confounds[test])


def standardised(
    X: np.ndarray, X_test: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return both less the training mean, over the training SD; a constant feature becomes 0."""
    mean, scale = weighted_scale(X, weight)
    return (X - mean) / scale, (X_test - mean) / scale


def predictor_of(
    rows: Rows, train: np.ndarray, predict: Callable[[np.ndarray], np.ndarray]
) -> Predictor | None:
    """Return a fitted model for features as they are read; None where confounds are removed.

    Parameters
    ----------
    predict : callable
        Takes features that `standardised` gave.
    """
    return None if rows.confounds.shape[1] else _OfFeatures(rows, train, predict)


class _OfFeatures:
    """A fitted model behind the gaps and scales of its training rows, found when first used."""

    def __init__(
        self, rows: Rows, train: np.ndarray, predict: Callable[[np.ndarray], np.ndarray]
    ) -> None:
        self._rows, self._train, self._predict = rows, train, predict

    def __call__(self, X: np.ndarray) -> np.ndarray:
        medians, mean, scale = self._training
        return np.asarray(self._predict((filled(X, medians) - mean) / scale))

    @cached_property
    def _training(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        X = self._rows.X[self._train]
        medians = training_medians(X)
        return medians, *weighted_scale(filled(X, medians), self._rows.weights[self._train])


def inner_splits(
    rows: Rows, train: np.ndarray, inner: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield the rows to fit, the rows held out, and these rows' share of the error."""
    for fit, held_out in splits(inner, subjects=rows.subjects[train]):
        weight = rows.weights[train[held_out]]
        yield train[fit], train[held_out], weight / weight.sum()
