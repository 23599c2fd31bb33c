"""Segments that move a subject's estimate most: how it changes when a segment is left out.

Only times are given, never a frame. The features of an interview are pooled anew without each of
its usable segments, and the estimator's weights turn the change of the features into a change of
the estimate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from emoclip_clinical.records import InputError

Pooling = Callable[[pd.DataFrame], np.ndarray]
"""Pools the usable segments of one interview to its features, (n_features,)."""
KEYS = ("interview", "onset", "duration")


def segment_influence(
    segments: pd.DataFrame,
    *,
    pool: Pooling,
    weights: np.ndarray,
    names: Sequence[str],
    most: int = 5,
) -> pd.DataFrame:
    """Rank the segments of each interview by how much they move its estimate.

    Parameters
    ----------
    segments : DataFrame
        ``interview, onset, duration`` (seconds of the video's own clock), ``status`` where there
        is one (rows other than ``ok`` are left out), and what `pool` reads.
    pool : callable
        See `Pooling`.
    weights : ndarray of shape (n_features,)
        Scale points for one unit of a feature; for instance the mean over folds.
    names : sequence of str, length n_features
        Names of the features, for messages.
    most : int
        Segments of each interview to keep.

    Returns
    -------
    DataFrame
        ``interview, rank, onset, duration, change``: the estimate with the segment less the
        estimate without it, scale points; the largest change in either direction first.
        Interviews with fewer than three usable segments are left out.

    Raises
    ------
    InputError
        If a column is missing, or the features do not fit the weights.
    """
    missing = [c for c in KEYS if c not in segments]
    faults = [f"the segments table has no column {c!r}" for c in missing]
    if len(weights) != len(names):
        faults.append(f"{len(names)} features need as many weights, got {len(weights)}")
    if faults:
        raise InputError(faults)
    usable = segments[segments["status"] == "ok"] if "status" in segments else segments
    rows: list[tuple[str, int, float, float, float]] = []
    for interview, part in usable.groupby("interview", sort=True):
        if len(part) >= 3:
            rows += _ranked(str(interview), part, pool, weights, most)
    return pd.DataFrame(rows, columns=["interview", "rank", "onset", "duration", "change"])


def _ranked(
    interview: str, part: pd.DataFrame, pool: Pooling, weights: np.ndarray, most: int
) -> list[tuple[str, int, float, float, float]]:
    whole = _features(pool, part, weights, interview)
    changes = np.array(
        [
            (whole - _features(pool, part.drop(index=row), weights, interview)) @ weights
            for row in part.index
        ]
    )
    order = np.argsort(-np.abs(changes), kind="stable")[:most]
    times = part[["onset", "duration"]].to_numpy(dtype=np.float64)
    return [
        (interview, rank + 1, float(times[i, 0]), float(times[i, 1]), float(changes[i]))
        for rank, i in enumerate(order)
    ]


def _features(pool: Pooling, part: pd.DataFrame, weights: np.ndarray, interview: str) -> np.ndarray:
    made = np.asarray(pool(part), dtype=np.float64)
    if made.shape != weights.shape or not np.isfinite(made).all():
        raise InputError(
            f"{interview}: pooling {len(part)} segments should give {len(weights)} numbers, "
            f"got shape {made.shape} with {int((~np.isfinite(made)).sum())} undefined"
        )
    return made
