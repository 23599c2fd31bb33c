"""Agreement between observed and predicted ratings, each row weighted.

Weights are 1/(visits of the subject), so that every subject counts once and their sum is the
number of subjects. What is not defined (a constant prediction has no correlation) is None, never
NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from emoclip_clinical.records import CrossValidation

CONSTANT = 1e-12
"""Spread, relative to the largest absolute value, below which numbers count as constant."""
MINIMUM_ROWS_FOR_R = 3
LIMIT = 1.959963984540054
"""Normal quantile of 97.5 %, for limits of agreement."""

Measure = Callable[[np.ndarray, np.ndarray, np.ndarray], float | None]


@dataclass(frozen=True)
class Moments:
    """Weighted moments of observed and predicted ratings.

    Attributes
    ----------
    n : float
        Sum of the weights.
    mean_observed, mean_predicted : float
    var_observed, var_predicted, covariance : float
        Central second moments, divided by `n`.
    """

    n: float
    mean_observed: float
    mean_predicted: float
    var_observed: float
    var_predicted: float
    covariance: float


def moments(observed: np.ndarray, predicted: np.ndarray, weight: np.ndarray) -> Moments:
    """Return the weighted moments of two sets of numbers, each of shape (n_rows,)."""
    total = float(weight.sum())
    mx, my = float(weight @ observed) / total, float(weight @ predicted) / total
    x, y = observed - mx, predicted - my
    vx, vy, xy = (float(weight @ (a * b)) / total for a, b in ((x, x), (y, y), (x, y)))
    return Moments(total, mx, my, vx, vy, xy)


def is_constant(values: np.ndarray) -> bool:
    """Say whether numbers differ by no more than rounding."""
    return bool(np.ptp(values) <= CONSTANT * np.abs(values).max())


def pearson_r(observed: np.ndarray, predicted: np.ndarray, weight: np.ndarray) -> float | None:
    """Return the weighted Pearson correlation; None if either side is constant or rows are few."""
    if len(observed) < MINIMUM_ROWS_FOR_R or is_constant(observed) or is_constant(predicted):
        return None
    m = moments(observed, predicted, weight)
    r = m.covariance / float(np.sqrt(m.var_observed * m.var_predicted))
    # Rounding carries r of rows on a line past 1.
    return min(max(r, -1.0), 1.0)


def spearman_r(observed: np.ndarray, predicted: np.ndarray, weight: np.ndarray) -> float | None:
    """Return the correlation of weighted mid-ranks; None where `pearson_r` is."""
    return pearson_r(_ranks(observed, weight), _ranks(predicted, weight), weight)


def _ranks(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weight below a value plus half the weight at it; mid-ranks where all weights are 1."""
    _, place = np.unique(values, return_inverse=True)
    at = np.bincount(place, weights=weight)
    return np.asarray((np.cumsum(at) - at / 2)[place])


def mae(observed: np.ndarray, predicted: np.ndarray, weight: np.ndarray) -> float:
    """Return the weighted mean absolute error in scale points."""
    return float(np.average(np.abs(predicted - observed), weights=weight))


def rmse(observed: np.ndarray, predicted: np.ndarray, weight: np.ndarray) -> float:
    """Return the root of the weighted mean squared error in scale points."""
    return float(np.sqrt(np.average((predicted - observed) ** 2, weights=weight)))


def ccc(observed: np.ndarray, predicted: np.ndarray, weight: np.ndarray) -> float | None:
    """Return Lin's concordance correlation (Lin 1989, Biometrics 45, 255-268).

    2 s_xy / (s_x² + s_y² + (m_x - m_y)²), with moments divided by n; None if the ratings are
    constant.
    """
    if is_constant(observed):
        return None
    m = moments(observed, predicted, weight)
    shift = (m.mean_observed - m.mean_predicted) ** 2
    return 2 * m.covariance / (m.var_observed + m.var_predicted + shift)


def icc_a1(observed: np.ndarray, predicted: np.ndarray, weight: np.ndarray) -> float | None:
    """Return ICC(A,1): two-way, absolute agreement, single rating (McGraw & Wong 1996).

    The mean squares for two raters are written with weighted moments and n = the sum of the
    weights; with unit weights this is the textbook value. None if the ratings are constant or n
    is at most 1.
    """
    m = moments(observed, predicted, weight)
    if is_constant(observed) or m.n <= 1:
        return None
    correction = m.n / (m.n - 1)
    vx, vy, xy = (correction * v for v in (m.var_observed, m.var_predicted, m.covariance))
    subjects, residual = (vx + vy + 2 * xy) / 2, (vx + vy - 2 * xy) / 2
    raters = m.n * (m.mean_observed - m.mean_predicted) ** 2 / 2
    denominator = subjects + residual + 2 * (raters - residual) / m.n
    return (subjects - residual) / denominator if denominator > 0 else None


def icc_c1(observed: np.ndarray, predicted: np.ndarray, weight: np.ndarray) -> float | None:
    """Return ICC(C,1): two-way, consistency, single rating (McGraw & Wong 1996).

    For two raters 2 s_xy / (s_x² + s_y²): a constant shift costs nothing. None where `icc_a1` is.
    """
    m = moments(observed, predicted, weight)
    if is_constant(observed) or m.n <= 1:
        return None
    return 2 * m.covariance / (m.var_observed + m.var_predicted)


def calibration_slope(
    observed: np.ndarray, predicted: np.ndarray, weight: np.ndarray
) -> float | None:
    """Return the slope of observed on predicted ratings; None if the prediction is constant."""
    if is_constant(predicted):
        return None
    m = moments(observed, predicted, weight)
    return m.covariance / m.var_predicted


def calibration_intercept(
    observed: np.ndarray, predicted: np.ndarray, weight: np.ndarray
) -> float | None:
    """Return the intercept of observed on predicted ratings, in scale points."""
    slope = calibration_slope(observed, predicted, weight)
    if slope is None:
        return None
    m = moments(observed, predicted, weight)
    return m.mean_observed - slope * m.mean_predicted


def bias(observed: np.ndarray, predicted: np.ndarray, weight: np.ndarray) -> float:
    """Return the weighted mean of predicted - observed, in scale points."""
    return float(np.average(predicted - observed, weights=weight))


def difference_sd(observed: np.ndarray, predicted: np.ndarray, weight: np.ndarray) -> float | None:
    """Return the SD of predicted - observed with n - 1 in the denominator (n: sum of weights)."""
    total = float(weight.sum())
    if total <= 1:
        return None
    difference = predicted - observed
    centred = difference - np.average(difference, weights=weight)
    return float(np.sqrt(weight @ centred**2 / (total - 1)))


def column_correlations(
    observed: np.ndarray, predicted: np.ndarray, weight: np.ndarray
) -> np.ndarray:
    """Return the weighted r of each pair of columns; NaN where one of them is constant.

    Parameters
    ----------
    observed, predicted : ndarray of shape (n_rows, n_columns)
    weight : ndarray of shape (n_rows,)

    Returns
    -------
    ndarray of shape (n_columns,)
    """
    share = weight / weight.sum()
    x, y = observed - share @ observed, predicted - share @ predicted
    vx, vy = share @ x**2, share @ y**2
    defined = (np.ptp(predicted, axis=0) > CONSTANT * np.abs(predicted).max(axis=0)) & (vx > 0)
    r = np.full(observed.shape[1], np.nan)
    np.divide(share @ (x * y), np.sqrt(np.where(defined, vx * vy, 1.0)), out=r, where=defined)
    return r


def over_repeats(measure: Measure, cv: CrossValidation) -> float | None:
    """Return the mean over repeats of a measure of that repeat's out-of-fold rows.

    None if it is not defined in some repeat.
    """
    values = [measure(cv.observed, predicted, cv.weight) for predicted in cv.predicted]
    defined = [v for v in values if v is not None]
    return float(np.mean(defined)) if len(defined) == len(values) else None


@dataclass(frozen=True)
class Metrics:
    """Summary of a cross-validation: each value the mean over repeats.

    Attributes
    ----------
    pearson_pooled : float or None
        Pearson r over a repeat's out-of-fold rows.
    pearson_fold_mean : float or None
        Mean r within folds, by Fisher's z, over the folds where it is defined.
    spearman : float or None
    mae, rmse, baseline_mae, baseline_rmse : float
        Scale points; the baseline predicts the mean rating of the training subjects.
    skill : float or None
        1 - SSE / SSE of the baseline; 0 is no better than the mean, 1 is perfect.
    ccc, icc_a1, icc_c1 : float or None
        Lin's concordance; ICC(A,1); ICC(C,1).
    calibration_slope, calibration_intercept : float or None
        Of observed on predicted.
    bias, limit_low, limit_high : float or None
        Bland-Altman: mean of predicted - observed, and bias ± 1.96 SD.
    """

    pearson_pooled: float | None
    pearson_fold_mean: float | None
    spearman: float | None
    mae: float
    rmse: float
    baseline_mae: float
    baseline_rmse: float
    skill: float | None
    ccc: float | None
    icc_a1: float | None
    icc_c1: float | None
    calibration_slope: float | None
    calibration_intercept: float | None
    bias: float
    limit_low: float | None
    limit_high: float | None


def summarise(cv: CrossValidation) -> Metrics:
    """Derive all metrics from the out-of-fold predictions."""

    def baseline_mean(measure: Callable[..., float]) -> float:
        return float(np.mean([measure(cv.observed, b, cv.weight) for b in cv.baseline]))

    def mean(measure: Callable[..., float]) -> float:
        return float(np.mean([measure(cv.observed, p, cv.weight) for p in cv.predicted]))

    centre, spread = mean(bias), over_repeats(difference_sd, cv)
    return Metrics(
        pearson_pooled=over_repeats(pearson_r, cv),
        pearson_fold_mean=fisher_mean([r for row in fold_correlations(cv) for r in row]),
        spearman=over_repeats(spearman_r, cv),
        mae=mean(mae),
        rmse=mean(rmse),
        baseline_mae=baseline_mean(mae),
        baseline_rmse=baseline_mean(rmse),
        skill=skill(cv),
        ccc=over_repeats(ccc, cv),
        icc_a1=over_repeats(icc_a1, cv),
        icc_c1=over_repeats(icc_c1, cv),
        calibration_slope=over_repeats(calibration_slope, cv),
        calibration_intercept=over_repeats(calibration_intercept, cv),
        bias=centre,
        limit_low=None if spread is None else centre - LIMIT * spread,
        limit_high=None if spread is None else centre + LIMIT * spread,
    )


def skill(cv: CrossValidation) -> float | None:
    """Return the mean over repeats of 1 - SSE / SSE(mean of the training subjects)."""
    error = ((cv.predicted - cv.observed) ** 2) @ cv.weight
    reference = ((cv.baseline - cv.observed) ** 2) @ cv.weight
    return float(np.mean(1 - error / reference)) if (reference > 0).all() else None


def fold_correlations(cv: CrossValidation) -> list[list[float | None]]:
    """Return r within each fold, by repeat; None where it is not defined."""
    correlations = []
    for fold, predicted in zip(cv.fold, cv.predicted, strict=True):
        rows = [fold == number for number in range(int(fold.max()) + 1)]
        correlations.append([pearson_r(cv.observed[k], predicted[k], cv.weight[k]) for k in rows])
    return correlations


def fisher_mean(correlations: list[float | None]) -> float | None:
    """Return the mean of correlations by Fisher's z; None if none is defined and below 1."""
    inside = np.array([r for r in correlations if r is not None and abs(r) < 1 - CONSTANT])
    return float(np.tanh(np.arctanh(inside).mean())) if inside.size else None
