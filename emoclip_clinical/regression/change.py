"""Per cent change of a score since a subject's first visit.

Scales whose items start at 1 have a score above 0 without any symptom, so that floor is taken off
the first visit's score: 100 (first - now) / (first - k) for a sum of k items (Obermeier et al.
2009; Leucht et al. 2010).
"""

from __future__ import annotations

import numpy as np

SCALE_POINTS, PER_CENT = "scale points", "per cent"
"""Units of targets."""


def unit_of(target: str) -> str:
    """Return the unit of a target by its name: `SCALE_POINTS` or `PER_CENT`."""
    return PER_CENT if target.startswith("percent_change(") else SCALE_POINTS


def difference_unit(unit: str) -> str:
    """Return the unit of errors, differences and slopes of what has the unit `unit`."""
    return "percentage points" if unit == PER_CENT else unit


def percent_change(first: np.ndarray, now: np.ndarray, *, floor: float) -> np.ndarray:
    """Return the improvement since the first visit, in per cent of what could improve.

    Parameters
    ----------
    first, now : ndarray of shape (n,)
        Scores in scale points, at least `floor`.
    floor : float
        Score of someone without symptoms: k times the lowest item value for a sum of k items.

    Returns
    -------
    ndarray of shape (n,)
        At most 100 (no symptom left); below 0 for a worsening; NaN where `first` is the floor.
    """
    first, now = np.asarray(first, dtype=np.float64), np.asarray(now, dtype=np.float64)
    above = first - floor
    out = np.full(np.broadcast(first, now).shape, np.nan)
    np.divide(100.0 * (first - now), above, out=out, where=above > 0)
    return out
