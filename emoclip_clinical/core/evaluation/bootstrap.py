"""Percentile bootstrap over people: each resample draws groups, never single clips of a group."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Statistic = Callable[[np.ndarray], Sequence[float]]
"""From how often each clip counts, shape (n,), to figures (NaN where not defined)."""


@dataclass(frozen=True)
class Interval:
    """A percentile interval.

    Attributes
    ----------
    low, high : float
    """

    low: float
    high: float


def bootstrap_values(
    statistic: Statistic, *, units: Sequence[str], n_resamples: int, seed: int
) -> np.ndarray:
    """Compute figures on resamples of whole units (people; clips where they are unknown).

    Parameters
    ----------
    statistic : callable
        Called once a resample.
    units : sequence of str
        The unit of each clip.
    n_resamples : int
        Rows of the result.
    seed : int
        The same seed and units draw the same resamples, so that figures can be compared in pairs.

    Returns
    -------
    ndarray of shape (n_resamples, n_figures)
    """
    rng = np.random.default_rng(seed)
    names, unit = np.unique(np.asarray(units), return_inverse=True)
    rows = []
    for _ in range(n_resamples):
        drawn = np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names))
        rows.append(statistic(drawn[unit].astype(np.float64)))
    return np.asarray(rows, dtype=np.float64)


def percentile_interval(values: np.ndarray, *, confidence: float) -> Interval | None:
    """Return the middle share of bootstrap values; None where none is defined.

    Parameters
    ----------
    values : ndarray of shape (n_resamples,)
        NaN where a resample left the figure undefined; those are passed over.
    confidence : float
        In (0, 1).
    """
    defined = values[~np.isnan(values)]
    if not len(defined):
        return None
    tail = (1 - confidence) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return Interval(float(low), float(high))
