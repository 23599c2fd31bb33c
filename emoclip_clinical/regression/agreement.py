"""Agreement of raters, or of a model with a rater: ICC with intervals, kappa, Bland-Altman."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from emoclip_clinical.records import CrossValidation, InputError
from emoclip_clinical.regression.metrics import bias, difference_sd, moments, over_repeats


@dataclass(frozen=True)
class IntraclassCorrelation:
    """An intraclass correlation of single ratings.

    Attributes
    ----------
    kind : str
        ``ICC(A,1)``, absolute agreement, or ``ICC(C,1)``, consistency.
    value : float or None
        None where it is not defined.
    low, high : float or None
        F interval; None where it is not defined.
    n_subjects : float
        Sum of the weights: number of subjects.
    n_raters : int
    warnings : tuple of str
        Why something is None, where it is.
    """

    kind: str
    value: float | None
    low: float | None
    high: float | None
    n_subjects: float
    n_raters: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _MeanSquares:
    n: float
    k: int
    rows: float
    columns: float
    residual: float


def intraclass_correlations(
    values: np.ndarray, *, weight: np.ndarray | None = None, confidence: float = 0.95
) -> tuple[IntraclassCorrelation, IntraclassCorrelation]:
    """Return ICC(A,1) and ICC(C,1) of complete ratings by the same raters.

    Two-way models of McGraw & Wong (1996), Psychological Methods 1, 30-46: values from table 4,
    F intervals from table 7. With weights 1/(visits of the subject) the degrees of freedom are
    those of the number of subjects, and the interval is approximate.

    Parameters
    ----------
    values : ndarray of shape (n_rows, n_raters)
        Scale points, no NaN; a row a visit.
    weight : ndarray of shape (n_rows,), optional
        1 by default.
    confidence : float
        Level, in (0, 1).

    Raises
    ------
    InputError
        For NaN or fewer than two raters.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] < 2 or not np.isfinite(values).all():
        raise InputError(
            "ratings of two or more raters without gaps are wanted, "
            f"got an array of shape {values.shape} with {int((~np.isfinite(values)).sum())} gaps"
        )
    weight = np.ones(len(values)) if weight is None else weight
    n, k = float(weight.sum()), values.shape[1]
    if n <= 1 or np.ptp(values) <= 1e-12 * np.abs(values).max():
        why = f"the ratings of {n:g} subject(s) do not vary"
        nothing = (None, None, None, n, k, (f"ICC is not defined: {why}",))
        return IntraclassCorrelation("ICC(A,1)", *nothing), IntraclassCorrelation(
            "ICC(C,1)", *nothing
        )
    squares = _mean_squares(values, weight)
    return _absolute(squares, confidence), _consistency(squares, confidence)


def _mean_squares(values: np.ndarray, weight: np.ndarray) -> _MeanSquares:
    n, k = float(weight.sum()), values.shape[1]
    means = weight @ values / n
    centred = values - means
    covariance = (centred * weight[:, np.newaxis]).T @ centred / (n - 1)
    rows = float(covariance.sum()) / k
    residual = max((float(np.trace(covariance)) - rows) / (k - 1), 0.0)
    return _MeanSquares(n, k, rows, n * float(means.var(ddof=1)), residual)


def _consistency(m: _MeanSquares, confidence: float) -> IntraclassCorrelation:
    below = m.rows + (m.k - 1) * m.residual
    if below <= 0:
        why = ("ICC(C,1) is not defined: no rater's ratings vary",)
        return IntraclassCorrelation("ICC(C,1)", None, None, None, m.n, m.k, why)
    value = (m.rows - m.residual) / below
    if m.residual <= 1e-24 * m.rows:
        return IntraclassCorrelation("ICC(C,1)", value, value, value, m.n, m.k)
    f, above, within = m.rows / m.residual, m.n - 1, (m.n - 1) * (m.k - 1)
    tail = (1 + confidence) / 2
    f_low = f / stats.f.ppf(tail, above, within)
    f_high = f * stats.f.ppf(tail, within, above)
    low, high = ((x - 1) / (x + m.k - 1) for x in (f_low, f_high))
    return IntraclassCorrelation("ICC(C,1)", value, float(low), float(high), m.n, m.k)


def _absolute(m: _MeanSquares, confidence: float) -> IntraclassCorrelation:
    n, k = m.n, m.k
    below = m.rows + (k - 1) * m.residual + k / n * (m.columns - m.residual)
    if below <= 0:
        why = ("ICC(A,1) is not defined: no rater's ratings vary",)
        return IntraclassCorrelation("ICC(A,1)", None, None, None, n, k, why)
    value = (m.rows - m.residual) / below
    if value >= 1 - 1e-12:
        return IntraclassCorrelation("ICC(A,1)", value, value, value, n, k)
    a = k * value / (n * (1 - value))
    b = 1 + k * value * (n - 1) / (n * (1 - value))
    spread = (a * m.columns) ** 2 / (k - 1) + (b * m.residual) ** 2 / ((n - 1) * (k - 1))
    degrees = (a * m.columns + b * m.residual) ** 2 / spread if spread > 0 else np.inf
    tail = (1 + confidence) / 2
    rest = k * m.columns + (k * n - k - n) * m.residual
    f_low = stats.f.ppf(tail, n - 1, degrees)
    f_high = stats.f.ppf(tail, degrees, n - 1)
    low = n * (m.rows - f_low * m.residual) / (f_low * rest + n * m.rows)
    high = n * (f_high * m.rows - m.residual) / (rest + n * f_high * m.rows)
    if not np.isfinite([low, high]).all():
        why = ("ICC(A,1) has no interval: its degrees of freedom are not defined",)
        return IntraclassCorrelation("ICC(A,1)", value, None, None, n, k, why)
    return IntraclassCorrelation("ICC(A,1)", value, float(low), float(high), n, k)


def to_scale(predicted: np.ndarray, *, minimum: float, maximum: float) -> np.ndarray:
    """Round predictions half-up and clip them to the item's range."""
    return np.asarray(np.clip(np.floor(predicted + 0.5), minimum, maximum))


def quadratic_kappa(
    observed: np.ndarray, predicted: np.ndarray, weight: np.ndarray
) -> float | None:
    """Return quadratic weighted kappa of integer ratings (Cohen 1968, Psych. Bulletin 70, 213).

    1 - mean (x - y)² / expected (x - y)² of independent raters, which is what the table of
    counts gives. None where both sides are the same constant.
    """
    m = moments(observed, predicted, weight)
    expected = m.var_observed + m.var_predicted + (m.mean_observed - m.mean_predicted) ** 2
    if expected <= 1e-12 * max(float(np.abs(observed).max()), 1.0) ** 2:
        return None
    return 1 - float(np.average((observed - predicted) ** 2, weights=weight)) / expected


def item_kappa(cv: CrossValidation, *, minimum: float, maximum: float) -> float | None:
    """Return the mean over repeats of quadratic kappa, predictions rounded to the item's range.

    Parameters
    ----------
    minimum, maximum : float
        Range of the item, scale points.

    Raises
    ------
    InputError
        If the ratings are not integers of that range.
    """
    wrong = (cv.observed != np.round(cv.observed)) | (cv.observed < minimum)
    wrong |= cv.observed > maximum
    if wrong.any():
        raise InputError(
            f"kappa of {cv.target} wants integer ratings from {minimum:g} to {maximum:g}, "
            f"got {cv.observed[wrong][0]:g}"
        )

    def rounded(x: np.ndarray, y: np.ndarray, w: np.ndarray) -> float | None:
        return quadratic_kappa(x, to_scale(y, minimum=minimum, maximum=maximum), w)

    return over_repeats(rounded, cv)


@dataclass(frozen=True)
class Estimated:
    """A value in scale points with its interval; None where it is not defined."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class BlandAltman:
    """Bias and limits of agreement of predicted - observed, scale points.

    Attributes
    ----------
    bias, lower_limit, upper_limit : Estimated
    sd : float or None
        Standard deviation of the differences.
    n_subjects : float
    warnings : tuple of str
    """

    bias: Estimated
    lower_limit: Estimated
    upper_limit: Estimated
    sd: float | None
    n_subjects: float
    warnings: tuple[str, ...] = ()


def bland_altman(cv: CrossValidation, *, confidence: float = 0.95) -> BlandAltman:
    """Return bias and 95 % limits of agreement, each with an interval.

    Bland & Altman (1999), Statistical Methods in Medical Research 8, 135-160: the standard error
    of a limit is s √(1/n + z² / (2 (n - 1))), z = 1.96, with the t distribution of n - 1 degrees
    of freedom; n is the number of subjects. Bias and SD are means over repeats.

    Parameters
    ----------
    confidence : float
        Level of the intervals, in (0, 1); the limits are always those of 95 %.
    """
    n = float(cv.weight.sum())
    centre = float(np.mean([bias(cv.observed, p, cv.weight) for p in cv.predicted]))
    sd = over_repeats(difference_sd, cv)
    if sd is None:
        nothing = Estimated(None, None, None)
        why = (f"limits of agreement need two subjects, got {n:g}",)
        return BlandAltman(Estimated(centre, None, None), nothing, nothing, None, n, why)
    z = float(stats.norm.ppf(0.975))
    t = float(stats.t.ppf((1 + confidence) / 2, n - 1))
    of_bias = t * sd / np.sqrt(n)
    of_limit = t * sd * np.sqrt(1 / n + z**2 / (2 * (n - 1)))

    def around(value: float, half: float) -> Estimated:
        return Estimated(value, value - half, value + half)

    return BlandAltman(
        bias=around(centre, of_bias),
        lower_limit=around(centre - z * sd, of_limit),
        upper_limit=around(centre + z * sd, of_limit),
        sd=sd,
        n_subjects=n,
    )
