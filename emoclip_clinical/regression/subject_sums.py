"""Metrics of resampled subjects: everything that sums over rows determine, for many draws at once.

A metric of a resample needs no rows copied out: it follows from each subject's sums of 1, x, y,
x², y², xy and |y - x|, added up as often as the subject was drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from emoclip_clinical.records import CrossValidation
from emoclip_clinical.regression.metrics import is_constant
from emoclip_clinical.regression.resampling import Statistic

SMALLEST_VARIANCE = 1e-14
"""Variances below this share of the largest squared deviation count as 0."""


@dataclass(frozen=True)
class SubjectSums:
    """Weighted sums by subject of one cross-validation.

    Attributes
    ----------
    terms : ndarray of shape (n_repeats, n_subjects, 9)
        Sums of w, wx, wy, wx², wy², wxy, w|d|, wd² and wb², where x and y are observed and
        predicted ratings less their means, d = predicted - observed and b = baseline - observed.
    shift : ndarray of shape (n_repeats,)
        Mean of predicted less mean of observed ratings.
    largest : ndarray of shape (n_repeats, 2)
        Largest sum of squares of a subject, of x and of y.
    constant : bool
        Whether the ratings, or the predictions of some repeat, do not vary.
    mean_observed : float
    """

    terms: np.ndarray
    shift: np.ndarray
    largest: np.ndarray
    constant: bool
    mean_observed: float

    @property
    def n_subjects(self) -> int:
        """Number of subjects."""
        return int(self.terms.shape[1])


@dataclass(frozen=True)
class SampleMoments:
    """Moments of each resample in one repeat, each of shape (n_resamples,).

    Attributes
    ----------
    n : ndarray
        Sum of the weights.
    bias : ndarray
        Mean of predicted - observed.
    mean_observed : ndarray
    vx, vy, xy : ndarray
        Central second moments, divided by `n`.
    varies : ndarray of bool
        Whether both sides vary.
    absolute, squared, reference : ndarray
        Means of absolute errors, squared errors, and squared errors of the baseline.
    """

    n: np.ndarray
    bias: np.ndarray
    mean_observed: np.ndarray
    vx: np.ndarray
    vy: np.ndarray
    xy: np.ndarray
    varies: np.ndarray
    absolute: np.ndarray
    squared: np.ndarray
    reference: np.ndarray


MomentMetric = Callable[[SampleMoments], np.ndarray]


def subject_numbers(cv: CrossValidation) -> np.ndarray:
    """Return the number of each row's subject, from 0, in the order of ``participant_id``."""
    names = cv.keys["participant_id"].to_numpy(dtype=str)
    return np.unique(names, return_inverse=True)[1]


def subject_sums(cv: CrossValidation) -> SubjectSums:
    """Add up the rows of each subject."""
    subjects = subject_numbers(cv)
    member = np.zeros((int(subjects.max()) + 1, len(subjects)))
    member[subjects, np.arange(len(subjects))] = cv.weight
    mean = float(np.average(cv.observed, weights=cv.weight))
    # Numbers near 0 keep the differences of sums exact.
    x = cv.observed - mean
    terms, shift = [], []
    for predicted, baseline in zip(cv.predicted, cv.baseline, strict=True):
        centre = float(np.average(predicted, weights=cv.weight))
        y, d, b = predicted - centre, predicted - cv.observed, baseline - cv.observed
        columns = [np.ones_like(x), x, y, x * x, y * y, x * y, np.abs(d), d * d, b * b]
        terms.append(member @ np.stack(columns, axis=1))
        shift.append(centre - mean)
    stacked = np.stack(terms)
    return SubjectSums(
        terms=stacked,
        shift=np.array(shift),
        largest=stacked[:, :, 3:5].max(axis=1),
        constant=is_constant(cv.observed) or any(is_constant(p) for p in cv.predicted),
        mean_observed=mean,
    )


def over_repeats_of(metric: MomentMetric, sums: SubjectSums) -> Statistic:
    """Return the statistic: mean over repeats of a metric of the resampled subjects."""

    def statistic(count: np.ndarray) -> np.ndarray:
        total = np.zeros(len(count))
        for repeat in range(len(sums.terms)):
            total += metric(_sample_moments(count, sums, repeat))
        return np.asarray(total / len(sums.terms))

    return statistic


def by_repeat(metric: MomentMetric, sums: SubjectSums, count: np.ndarray) -> np.ndarray:
    """Return a metric of the resampled subjects in each repeat; (n_repeats, n_resamples)."""
    repeats = range(len(sums.terms))
    return np.stack([metric(_sample_moments(count, sums, repeat)) for repeat in repeats])


def _sample_moments(count: np.ndarray, sums: SubjectSums, repeat: int) -> SampleMoments:
    w, x, y, xx, yy, xy, absolute, squared, reference = (count @ sums.terms[repeat]).T
    vx, vy = xx / w - (x / w) ** 2, yy / w - (y / w) ** 2
    largest_x, largest_y = sums.largest[repeat]
    return SampleMoments(
        n=w,
        bias=y / w - x / w + sums.shift[repeat],
        mean_observed=x / w + sums.mean_observed,
        vx=vx,
        vy=vy,
        xy=xy / w - x * y / w**2,
        varies=(vx > SMALLEST_VARIANCE * largest_x) & (vy > SMALLEST_VARIANCE * largest_y),
        absolute=absolute / w,
        squared=squared / w,
        reference=reference / w,
    )


def _ratio(above: np.ndarray, below: np.ndarray, defined: np.ndarray) -> np.ndarray:
    out = np.full(len(above), np.nan)
    np.divide(above, np.where(defined, below, 1.0), out=out, where=defined)
    return out


def _correlation(above: np.ndarray, below: np.ndarray, defined: np.ndarray) -> np.ndarray:
    # Rounding carries the correlation of a few subjects on a line past 1.
    return np.asarray(np.clip(_ratio(above, below, defined), -1.0, 1.0))


def pearson(m: SampleMoments) -> np.ndarray:
    """Pearson r."""
    return _correlation(m.xy, np.sqrt(np.where(m.varies, m.vx * m.vy, 1.0)), m.varies)


def concordance(m: SampleMoments) -> np.ndarray:
    """Lin's concordance correlation."""
    return _correlation(2 * m.xy, m.vx + m.vy + m.bias**2, m.varies)


def icc_absolute(m: SampleMoments) -> np.ndarray:
    """ICC(A,1) of observed and predicted."""
    correction = _correction(m)
    subjects = correction * (m.vx + m.vy + 2 * m.xy) / 2
    residual = correction * (m.vx + m.vy - 2 * m.xy) / 2
    raters = m.n * m.bias**2 / 2
    below = subjects + residual + 2 * (raters - residual) / m.n
    return _ratio(subjects - residual, below, m.varies & (below > 0))


def icc_consistency(m: SampleMoments) -> np.ndarray:
    """ICC(C,1) of observed and predicted."""
    return _correlation(2 * m.xy, m.vx + m.vy, m.varies)


def slope(m: SampleMoments) -> np.ndarray:
    """Calibration slope."""
    return _ratio(m.xy, m.vy, m.varies)


def intercept(m: SampleMoments) -> np.ndarray:
    """Calibration intercept, scale points."""
    return np.asarray(m.mean_observed - slope(m) * (m.mean_observed + m.bias))


def mean_bias(m: SampleMoments) -> np.ndarray:
    """Mean of predicted - observed, scale points."""
    return m.bias


def absolute_error(m: SampleMoments) -> np.ndarray:
    """MAE, scale points."""
    return m.absolute


def root_squared_error(m: SampleMoments) -> np.ndarray:
    """RMSE, scale points."""
    return np.asarray(np.sqrt(m.squared))


def skill_score(m: SampleMoments) -> np.ndarray:
    """1 - SSE / SSE of the training mean."""
    return 1 - _ratio(m.squared, m.reference, m.reference > 0)


def _correction(m: SampleMoments) -> np.ndarray:
    return np.asarray(m.n / np.maximum(m.n - 1, np.finfo(float).tiny))
