"""Prediction intervals from cross-validation: CV+ (Barber et al. 2021, Annals of Statistics 49).

For every training subject there is a model that has not seen it, and the error that this model
made on it. A new subject's interval is made of what those models say of the new subject, each
widened by the error it made: the lower end is a low quantile of prediction minus error, the upper
end a high quantile of prediction plus error. Where the subjects are exchangeable, the intervals
hold the rating of at least 1 - 2a of new subjects, and of about 1 - a in practice.

Subjects are exchangeable and visits are not, so every subject weighs 1, spread over its visits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ROWS_AT_ONCE = 2_000
"""New rows whose quantiles are taken together; bounds memory, changes nothing."""


@dataclass(frozen=True)
class Calibration:
    """The errors that models made on rows that they had not seen.

    Attributes
    ----------
    residual : ndarray of shape (n_rows,)
        Absolute error in scale points.
    fold : ndarray of int, shape (n_rows,)
        Which of the models had not seen the row, from 0.
    weight : ndarray of shape (n_rows,)
        1 / number of rows of the row's subject; the sum is the number of subjects.
    """

    residual: np.ndarray
    fold: np.ndarray
    weight: np.ndarray

    def interval(
        self, fold_predictions: np.ndarray, *, level: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the ends of the intervals of new rows.

        Parameters
        ----------
        fold_predictions : ndarray of shape (n_folds, n_new)
            What each model says of the new rows, in scale points.
        level : float
            Share of new subjects to be covered, between 0 and 1.

        Returns
        -------
        low, high : ndarray of shape (n_new,)
            Scale points; -inf and inf where there are too few subjects for the level.
        """
        n_new = fold_predictions.shape[1]
        low, high = np.empty((2, n_new))
        for start in range(0, n_new, ROWS_AT_ONCE):
            at = slice(start, start + ROWS_AT_ONCE)
            said = fold_predictions[self.fold, at]
            error = self.residual[:, np.newaxis]
            low[at] = -_upper_quantile(error - said, self.weight, level=level)
            high[at] = _upper_quantile(error + said, self.weight, level=level)
        return low, high


def upper_limit(values: np.ndarray, weight: np.ndarray, *, level: float) -> float:
    """Return the limit that a new subject's value exceeds with a chance of at most 1 - level.

    Parameters
    ----------
    values, weight : ndarray of shape (n_rows,)
        Values of rows that a model had not seen; weights sum to the number of subjects.
    level : float

    Returns
    -------
    float
        The largest value where there are too few subjects for the level: then the chance is
        1 / (n_subjects + 1).
    """
    limit = float(_upper_quantile(values[:, np.newaxis], weight, level=level)[0])
    return limit if np.isfinite(limit) else float(values.max())


def _upper_quantile(values: np.ndarray, weight: np.ndarray, *, level: float) -> np.ndarray:
    """Return for each column the smallest value with weight level * (n + 1) at or below it.

    Infinite where the weights do not reach that far: a new subject counts as one more, with an
    infinite value.
    """
    order = np.argsort(values, axis=0, kind="stable")
    below = np.cumsum(weight[order], axis=0)
    # The small number keeps rounding of sums of 1/3 from asking for one subject more.
    reached = below >= level * (weight.sum() + 1) - 1e-9
    position = np.argmax(reached, axis=0)
    found = np.take_along_axis(values, np.take_along_axis(order, position[np.newaxis], 0), 0)[0]
    return np.where(reached[-1], found, np.inf)
