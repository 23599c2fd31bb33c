"""Per cent change of a score since a subject's first visit.

Scales whose items start at 1 have a score above 0 without any symptom, so that floor is taken off
the first visit's score: 100 (first - now) / (first - k) for a sum of k items (Obermeier et al.
2009; Leucht et al. 2010).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from emoclip_clinical.records import InputError

BASELINE = "ses-baseline"
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


def first_visits(keys: pd.DataFrame) -> np.ndarray:
    """Return for each row the row of its subject's first visit.

    Visits are put in order by the number in their session's label (``ses-1``, ``ses-week04``);
    ``ses-baseline`` comes before all.

    Parameters
    ----------
    keys : DataFrame of shape (n_visits, 2)
        No visit stands twice.

    Returns
    -------
    ndarray of int, shape (n_visits,)

    Raises
    ------
    InputError
        If the labels do not tell the order of a subject's visits.
    """
    number = visit_numbers(keys["session_id"].tolist())
    first = np.empty(len(keys), dtype=np.int64)
    for participant, rows in keys.reset_index(drop=True).groupby("participant_id", sort=False):
        at = rows.index.to_numpy()
        lowest = at[number[at] == number[at].min()]
        if len(lowest) > 1:
            sessions = ", ".join(keys["session_id"].iloc[i] for i in lowest)
            raise InputError(f"{participant}: {sessions} may each be the first visit")
        first[at] = lowest[0]
    return first


def visit_numbers(sessions: Sequence[str]) -> np.ndarray:
    """Return a number for each session that puts a subject's visits in order.

    Parameters
    ----------
    sessions : sequence of str, length n
        ``session_id`` of visits.

    Returns
    -------
    ndarray of shape (n,)
        The number in the label; -1 for ``ses-baseline``.

    Raises
    ------
    InputError
        If a label tells no number, or several.
    """
    found = [
        [-1.0] if s == BASELINE else [float(n) for n in re.findall(r"\d+", s)] for s in sessions
    ]
    unclear = {s or "none" for s, numbers in zip(sessions, found, strict=True) if len(numbers) != 1}
    if unclear:
        raise InputError(
            "a change needs session_ids that hold one number each, or 'baseline', so that the "
            f"first visit is known; got {', '.join(sorted(unclear)[:5])}"
        )
    return np.array([numbers[0] for numbers in found])
