"""Whether recording quality alone predicts the rating.

Where the face was seen poorly or the interview was short, features change; if quality goes with
the ratings, a correlation may rest on it. The question is the same as for any confound, and is
answered by the same comparison: quality alone, and what video adds to it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from emoclip_clinical.records import InputError, Progress, no_progress
from emoclip_clinical.regression.config import RegressionConfig
from emoclip_clinical.regression.confounds import ConfoundAnalysis, analyse_confounds
from emoclip_clinical.regression.design import Design

QUALITY_COLUMNS = (
    "seconds",
    "n_segments",
    "n_ok",
    "face_coverage",
    "n_faces",
    "tracked_share",
    "FaceRectHeight",
    "FaceScore",
    "sharpness",
    "brightness",
)
"""Columns of ``interviews.parquet`` that describe the recording and not the person."""


def analyse_quality(
    design: Design,
    *,
    quality: pd.DataFrame,
    fold: np.ndarray,
    config: RegressionConfig,
    seed: int,
    strata: Sequence[str] | None = None,
    progress: Progress = no_progress,
) -> ConfoundAnalysis | None:
    """Say what recording quality predicts alone, and what video adds to it.

    Parameters
    ----------
    design : Design
    quality : DataFrame
        ``participant_id``, ``session_id`` where there are sessions, and any of `QUALITY_COLUMNS`;
        the recordings of a visit are averaged.
    fold, config, seed, strata, progress
        See `analyse_confounds`.

    Returns
    -------
    ConfoundAnalysis or None
        None if no quality column varies over the visits: then quality predicts nothing.

    Raises
    ------
    InputError
        If the table has no identifiers, or no visit of the design.
    """
    aligned = align_quality(design, quality)
    varying = [c for c in aligned.columns if aligned[c].dropna().nunique() > 1]
    distinct = _without_copies(aligned[varying])
    if not distinct:
        return None
    return analyse_confounds(
        design,
        names=distinct,
        table=aligned,
        fold=fold,
        config=config,
        seed=seed,
        strata=strata,
        progress=progress,
    )


def align_quality(design: Design, quality: pd.DataFrame) -> pd.DataFrame:
    """Return the quality of each visit of the design, its recordings averaged.

    See `quality_of_visits`.
    """
    return quality_of_visits(design.keys, quality)


def quality_of_visits(visits: pd.DataFrame, quality: pd.DataFrame) -> pd.DataFrame:
    """Return the quality of each visit, its recordings averaged.

    Visits are matched by participant and session, by participant where the table names no
    sessions.

    Parameters
    ----------
    visits : DataFrame of shape (n_visits, 2)
        ``participant_id`` and ``session_id``.
    quality : DataFrame
        A row a recording.

    Returns
    -------
    DataFrame of shape (n_visits, n_quality_columns)
        NaN where nothing is known.

    Raises
    ------
    InputError
        If the table has no identifiers, no quality column, or none of the visits.
    """
    if "participant_id" not in quality:
        raise InputError("the quality table has no participant_id")
    columns = [c for c in QUALITY_COLUMNS if c in quality]
    if not columns:
        raise InputError(f"the quality table has none of {', '.join(QUALITY_COLUMNS)}")
    keys = ["participant_id"]
    if "session_id" in quality and (quality["session_id"].fillna("") != "").any():
        keys.append("session_id")
    numbers = quality[columns].astype(np.float64)
    named = pd.concat([quality[keys].fillna("").astype(object), numbers], axis=1)
    means = named.groupby(keys, as_index=False)[columns].mean()
    aligned = visits.merge(means, on=keys, how="left")[columns]
    if aligned.isna().all(axis=None):
        raise InputError("the quality table has no visit of the analysis")
    return aligned


def _without_copies(table: pd.DataFrame) -> list[str]:
    kept: list[str] = []
    for name in table.columns:
        same = [k for k in kept if table[name].equals(table[k])]
        if not same:
            kept.append(str(name))
    return kept
