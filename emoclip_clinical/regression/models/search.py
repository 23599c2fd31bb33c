"""Models that are fitted one rating vector at a time, tuned by inner grouped cross-validation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from emoclip_clinical.records import SegmentBags
from emoclip_clinical.regression.models.base import (
    FoldResult,
    Rows,
    inner_splits,
    predictor_of,
    prepared,
    standardised,
)

Candidate = Mapping[str, float]


class Regressor(Protocol):
    """A model of standardised features, with given hyper-parameters."""

    def fit(self, Z: np.ndarray, y: np.ndarray, *, weight: np.ndarray) -> Regressor:
        """Fit to features (n_train, n_features) and ratings (n_train,)."""
        ...

    def predict(self, Z: np.ndarray) -> np.ndarray:
        """Return predictions of shape (n_rows,), in scale points."""
        ...


class BagRegressor(Protocol):
    """A model of the segments of each visit, with given hyper-parameters."""

    def fit(self, bags: SegmentBags, y: np.ndarray, *, weight: np.ndarray) -> BagRegressor:
        """Fit to visits and their ratings, of shape (n_visits,) or (n_visits, n_outputs)."""
        ...

    def predict(self, bags: SegmentBags) -> np.ndarray:
        """Return predictions in scale points, of the shape that the ratings had."""
        ...


@dataclass(frozen=True)
class SearchModel:
    """A model of pooled features and the candidates that inner folds choose from.

    Attributes
    ----------
    candidates : tuple of mapping
        Hyper-parameters; of equal ones the first wins.
    make : callable
        ``make(candidate, seed)`` returns an unfitted `Regressor`.
    """

    candidates: tuple[Candidate, ...]
    make: Callable[[Candidate, int], Regressor]
    shares: bool = False

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
        """See `Model.fit_fold`."""
        best, converged = self._tuned(Y, rows, train, inner, seed)
        Z, Z_test = standardised(*prepared(rows, train, test), rows.weights[train])
        predicted = np.empty((len(test), Y.shape[1]))
        fitted = []
        for column, index in enumerate(best):
            model = self.make(self.candidates[index], seed)
            model.fit(Z, Y[train, column], weight=rows.weights[train])
            predicted[:, column] = model.predict(Z_test)
            fitted.append(model)
        slopes = getattr(fitted[0], "coef_", None)
        is_linear = slopes is not None and hasattr(fitted[0], "intercept_")
        return FoldResult(
            predicted=predicted,
            chosen=self.candidates[best[0]],
            coefficients=np.asarray(slopes) if is_linear else None,
            predictor=predictor_of(rows, train, fitted[0].predict),
            converged=(*converged, *_converged(fitted)),
        )

    def _tuned(
        self, Y: np.ndarray, rows: Rows, train: np.ndarray, inner: np.ndarray, seed: int
    ) -> tuple[np.ndarray, list[bool]]:
        """Return each vector's best candidate, and whether the fits came to their end."""
        error = np.zeros((len(self.candidates), Y.shape[1]))
        converged: list[bool] = []
        if len(self.candidates) == 1:
            return np.zeros(Y.shape[1], dtype=np.int64), converged
        for fit, held_out, share in inner_splits(rows, train, inner):
            weight = rows.weights[fit]
            Z, Z_out = standardised(*prepared(rows, fit, held_out), weight)
            for index, candidate in enumerate(self.candidates):
                for column in range(Y.shape[1]):
                    model = self.make(candidate, seed).fit(Z, Y[fit, column], weight=weight)
                    residual = model.predict(Z_out) - Y[held_out, column]
                    error[index, column] += share @ residual**2
                    converged += _converged([model])
        return np.asarray(np.argmin(error, axis=0)), converged


def _converged(fitted: Sequence[Regressor]) -> list[bool]:
    """Say of models that are fitted in steps whether they came to their end."""
    return [m.converged_ for m in fitted if hasattr(m, "converged_")]


@dataclass(frozen=True)
class BagModel:
    """A model of segments and the candidates that inner folds choose from.

    Attributes
    ----------
    candidates : tuple of mapping
        Hyper-parameters; of equal ones the first wins.
    make : callable
        ``make(candidate, seed)`` returns an unfitted `BagRegressor`.
    joint : bool
        Whether rating vectors come with those of other targets, (n_visits, n_vectors, n_outputs)
        with the target first, which are learnt together. Only the target's own error tunes.
    """

    candidates: tuple[Candidate, ...]
    make: Callable[[Candidate, int], BagRegressor]
    joint: bool = False
    shares: bool = False

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
        """See `Model.fit_fold`."""
        assert rows.bags is not None  # the edge has seen to it
        predicted = np.empty((len(test), Y.shape[1]))
        chosen: list[Candidate] = []
        for column in range(Y.shape[1]):
            y = Y[:, column]
            candidate = self._tuned(y, rows, rows.bags, train, inner, seed)
            model = self.make(candidate, seed)
            model.fit(rows.bags.take(train), y[train], weight=rows.weights[train])
            predicted[:, column] = _of_target(model.predict(rows.bags.take(test)))
            chosen.append(candidate)
        return FoldResult(predicted=predicted, chosen=chosen[0])

    def _tuned(
        self,
        y: np.ndarray,
        rows: Rows,
        bags: SegmentBags,
        train: np.ndarray,
        inner: np.ndarray,
        seed: int,
    ) -> Candidate:
        if len(self.candidates) == 1:
            return self.candidates[0]
        error = np.zeros(len(self.candidates))
        for fit, held_out, share in inner_splits(rows, train, inner):
            for index, candidate in enumerate(self.candidates):
                model = self.make(candidate, seed)
                model.fit(bags.take(fit), y[fit], weight=rows.weights[fit])
                residual = model.predict(bags.take(held_out)) - y[held_out]
                error[index] += share @ _of_target(residual) ** 2
        return self.candidates[int(np.argmin(error))]


def _of_target(values: np.ndarray) -> np.ndarray:
    """Return the first output of several."""
    return values if values.ndim == 1 else values[:, 0]
