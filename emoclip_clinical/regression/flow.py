"""The flow of visits into an analysis: each step a part of the one before it."""

from __future__ import annotations

import pandas as pd

from emoclip_clinical.records import KEY_COLUMNS

KNOWN = "in the features or the ratings"
"""The first step; tables of before, whose steps were no parts of each other, do not have it."""
NOT_SELECTED_STAGE = "not selected"
MISSING_CONFOUND = "confound"
"""Stage of visits that lack a confound which is to be removed."""
# In this order a visit with several faults is told by the first of them.
_STEPS = (
    ("with a rating", "no rating"),
    ("selected", NOT_SELECTED_STAGE),
    ("with a complete rating", "rating"),
    ("with features", "no features"),
    ("with usable features", "features"),
    ("in the analysis", MISSING_CONFOUND),
)
STAGES = tuple(stage for _, stage in _STEPS)
"""Stages of visits that are not in the analysis, in the order of the steps that they fail."""


def flow_table(used: pd.DataFrame, excluded: pd.DataFrame) -> pd.DataFrame:
    """Count who is left after each step.

    Parameters
    ----------
    used : DataFrame
        ``participant_id, session_id`` of the visits in the analysis.
    excluded : DataFrame
        ``participant_id, session_id, stage`` of the others, each in one of `STAGES`.

    Returns
    -------
    DataFrame
        ``step, participants, visits``: from every visit that is known down to the analysis. A
        step has as many visits fewer than the one before it as `excluded` has of its stage.
        ``selected`` is there only where a choice left somebody out.
    """
    columns = list(KEY_COLUMNS)
    left = excluded
    rows = [(KNOWN, pd.concat([used[columns], left[columns]]))]
    for step, stage in _STEPS:
        fails = left["stage"] == stage
        if stage == NOT_SELECTED_STAGE and not fails.any():
            continue
        left = left[~fails]
        rows.append((step, pd.concat([used[columns], left[columns]])))
    return pd.DataFrame(
        [
            (step, visits["participant_id"].nunique(), len(visits.drop_duplicates()))
            for step, visits in rows
        ],
        columns=["step", "participants", "visits"],
    )
