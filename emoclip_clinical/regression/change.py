"""Per cent change of a score since a subject's first visit.

Scales whose items start at 1 have a score above 0 without any symptom, so that floor is taken off
the first visit's score: 100 (first - now) / (first - k) for a sum of k items (Obermeier et al.
2009; Leucht et al. 2010).
"""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from emoclip_clinical.records import InputError

BASELINE = "ses-baseline"


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
    numbers: list[float] = []
    unclear: list[str] = []
    for session in keys["session_id"].tolist():
        found = re.findall(r"\d+", session)
        if session == BASELINE:
            numbers.append(-1.0)
        elif len(found) == 1:
            numbers.append(float(found[0]))
        else:
            numbers.append(np.nan)
            unclear.append(session or "none")
    if unclear:
        raise InputError(
            "a change needs session_ids that hold one number each, or 'baseline', so that the "
            f"first visit is known; got {', '.join(sorted(set(unclear))[:5])}"
        )
    number = np.array(numbers)
    first = np.empty(len(keys), dtype=np.int64)
    for participant, rows in keys.reset_index(drop=True).groupby("participant_id", sort=False):
        at = rows.index.to_numpy()
        lowest = at[number[at] == number[at].min()]
        if len(lowest) > 1:
            sessions = ", ".join(keys["session_id"].iloc[i] for i in lowest)
            raise InputError(f"{participant}: {sessions} may each be the first visit")
        first[at] = lowest[0]
    return first
