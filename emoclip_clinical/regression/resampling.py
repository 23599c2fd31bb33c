"""Bootstrap of whole subjects: one set of draws, any number of statistics, BCa intervals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

MINIMUM_DEFINED_SHARE = 0.95
"""Smaller shares of resamples with a defined statistic give no interval."""
BOOTSTRAP = 4
"""Number of the stream of random numbers that draws the resamples."""
BATCH = 500

Statistic = Callable[[np.ndarray], np.ndarray]
"""Takes how often each subject counts, (n_resamples, n_subjects); returns (n_resamples,), NaN
where it is not defined."""


@dataclass(frozen=True)
class Interval:
    """A bootstrap interval of a statistic.

    Attributes
    ----------
    low, high : float or None
        Ends; None where no interval can be given.
    method : str
        ``BCa``, ``percentile`` or ``none``.
    warnings : tuple of str
        Why the method is not BCa, where it is not.
    """

    low: float | None
    high: float | None
    method: str
    warnings: tuple[str, ...] = ()


def no_interval(reason: str) -> Interval:
    """Return the absence of an interval, with its reason."""
    return Interval(None, None, "none", (f"no interval: {reason}",))


def subject_counts(n_subjects: int, *, resamples: int, seed: int) -> np.ndarray:
    """Draw subjects with replacement and count how often each was drawn.

    Intervals of several statistics from the same counts are paired.

    Returns
    -------
    ndarray of shape (resamples, n_subjects)
        Each row sums to `n_subjects`.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(BOOTSTRAP,)))
    counts = np.empty((resamples, n_subjects))
    for start in range(0, resamples, BATCH):
        size = min(BATCH, resamples - start)
        drawn = rng.integers(0, n_subjects, (size, n_subjects))
        cell = drawn + n_subjects * np.arange(size)[:, np.newaxis]
        flat = np.bincount(cell.ravel(), minlength=size * n_subjects)
        counts[start : start + size] = flat.reshape(size, n_subjects)
    return counts


def subject_interval(
    statistic: Statistic, *, counts: np.ndarray, confidence: float, name: str = "r"
) -> Interval:
    """Return the BCa interval of a statistic of subjects (Efron 1987, JASA 82, 171-185).

    Where it is not defined (the statistic does not vary, or some resample has none), the
    percentile interval of the defined resamples, and no interval where these are fewer than
    `MINIMUM_DEFINED_SHARE`.

    Parameters
    ----------
    statistic : callable
        See `Statistic`.
    counts : ndarray of shape (n_resamples, n_subjects)
        From `subject_counts`.
    confidence : float
        Level, in (0, 1).
    name : str
        What warnings call the statistic.
    """
    n_subjects = counts.shape[1]
    observed = float(statistic(np.ones((1, n_subjects)))[0])
    if not np.isfinite(observed):
        return no_interval(f"{name} is not defined")
    drawn = np.concatenate([statistic(counts[k : k + BATCH]) for k in range(0, len(counts), BATCH)])
    if np.isfinite(drawn).all():
        levels = _bca_levels(drawn, observed, statistic(1.0 - np.eye(n_subjects)), confidence)
        if np.isfinite(levels).all():
            low, high = np.percentile(drawn, 100 * levels)
            return Interval(float(low), float(high), "BCa")
    text = "the interval is a percentile interval; BCa is not defined for these resamples"
    return percentile_interval(drawn, confidence=confidence, name=name, warnings=(text,))


def correlation_of(x: np.ndarray, y: np.ndarray) -> Statistic:
    """Return the statistic: Pearson r of two values of each subject, NaN where one is constant.

    Parameters
    ----------
    x, y : ndarray of shape (n_subjects,)
    """
    x, y = x - x.mean(), y - y.mean()
    columns = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=1)
    smallest = 1e-14 * (x * x).max(), 1e-14 * (y * y).max()

    def statistic(count: np.ndarray) -> np.ndarray:
        n, mx, my, xx, yy, xy = (count @ columns).T
        vx, vy = xx / n - (mx / n) ** 2, yy / n - (my / n) ** 2
        defined = (vx > smallest[0]) & (vy > smallest[1])
        r = np.full(len(count), np.nan)
        covariance = xy / n - mx * my / n**2
        np.divide(covariance, np.sqrt(np.where(defined, vx * vy, 1.0)), out=r, where=defined)
        # Rounding carries r of a few subjects on a line past 1.
        return np.asarray(np.clip(r, -1.0, 1.0))

    return statistic


def percentile_interval(
    drawn: np.ndarray, *, confidence: float, name: str = "r", warnings: tuple[str, ...] = ()
) -> Interval:
    """Return the percentile interval of resampled values, of which NaN are left out.

    No interval where fewer than `MINIMUM_DEFINED_SHARE` are defined.

    Parameters
    ----------
    drawn : ndarray of shape (n_resamples,)
    confidence : float
        Level, in (0, 1).
    """
    defined = drawn[np.isfinite(drawn)]
    if len(defined) < MINIMUM_DEFINED_SHARE * len(drawn):
        return no_interval(f"{name} is defined in only {len(defined)} of {len(drawn)} resamples")
    tail = (1 - confidence) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return Interval(float(low), float(high), "percentile", warnings)


def _bca_levels(
    drawn: np.ndarray, observed: float, without_one: np.ndarray, confidence: float
) -> np.ndarray:
    """Corrected quantile levels of both ends; NaN where they are not defined."""
    below = (np.mean(drawn < observed) + np.mean(drawn <= observed)) / 2
    tail = (1 - confidence) / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        bias = ndtri(below)
        influence = without_one.mean() - without_one
        # A statistic that no subject moves has influence 0 but for rounding.
        flat = np.abs(influence).max() <= 1e-13 * max(abs(observed), 1.0)
        cubed, squared = (influence**3).sum(), (influence**2).sum()
        acceleration = np.nan if flat else cubed / (6 * squared**1.5)
        shifted = bias + ndtri(np.array([tail, 1 - tail]))
        return np.asarray(ndtr(bias + shifted / (1 - acceleration * shifted)))
