"""From scores of visits to their change since each subject's first one, selected or not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from emoclip_clinical.records import KEY_COLUMNS, InputError, Ratings
from emoclip_clinical.regression.change import percent_change
from emoclip_clinical.regression.rater_selection import Selection
from emoclip_clinical.regression.selection import NOT_SELECTED, Where, spelled
from emoclip_clinical.regression.targets import Target
from emoclip_clinical.regression.visit_order import first_visits


def with_first_visits(selection: Selection, keys: pd.DataFrame) -> np.ndarray:
    """Return the rows that a change of the selected ones needs: those, and other visits of theirs.

    Parameters
    ----------
    selection : Selection
        Rows of the first visits fulfil its conditions on raters too.
    keys : DataFrame of shape (n_rows, 2 or 3)
        ``participant_id``, ``session_id``, and ``rater_id`` where raters are named.

    Returns
    -------
    ndarray of bool, shape (n_rows,)
    """
    selected = selection.rows
    subjects = set(keys["participant_id"][selected])
    others = keys["participant_id"].isin(subjects) & ~_inside(keys, keys[selected])
    return np.asarray(selected | (others.to_numpy() & selection.of_raters))


def changed(rated: Ratings, target: Target, *, selected: pd.DataFrame, where: Where) -> Ratings:
    """Turn scores into the per cent change since each subject's first visit.

    All changes are counted from the same visit: someone whose first one comes after the earliest
    of the selected subjects is excluded, as someone is whose first visit has no rating.

    Parameters
    ----------
    rated : Ratings
        Scores of the selected visits, and of others of the same subjects.
    target : Target
        The change.
    selected : DataFrame of shape (n_rows, 2 or 3)
        Keys of the selected rows: only of their visits a change is wanted.
    where : mapping of str to value
        What was selected by.

    Raises
    ------
    InputError
        If raters are kept apart, or the sessions do not tell which visit is the first.
    """
    if rated.rater_ids is not None:
        raise InputError(
            f"target {target.name}: a change can not be counted with raters as repeated measures"
        )
    unrated = rated.excluded[list(KEY_COLUMNS)]
    unrated = unrated[unrated["participant_id"].isin(selected["participant_id"])]
    every = pd.concat([rated.keys, unrated], ignore_index=True)
    visits = first_visits(every)
    first = visits.rows
    n = len(rated.values)
    values = np.concatenate([rated.values, np.full(len(every) - n, np.nan)])
    floor = target.floor if target.floor is not None else np.nan
    change = percent_change(values[first], values, floor=floor)[:n]
    late, is_first = visits.late[:n], first[:n] == np.arange(n)
    inside = _inside(rated.keys, selected)
    reasons = np.select(
        [is_first & ~late, ~inside, late, np.isnan(values[first])[:n], np.isnan(change)],
        [
            f"{NOT_SELECTED}first visit, from which the change is counted",
            f"{NOT_SELECTED}outside {spelled(where)}",
            f"no change: no visit {visits.earliest}, from which the others' changes are counted",
            "no change: the first visit has no rating",
            "no change: the first visit has no symptoms to lose",
        ],
        default="",
    )
    kept = reasons == ""
    lost = rated.keys[~kept].assign(reason=reasons[~kept])
    of_raters = "no human ceiling: a change is not counted for each rater"
    n_missed = rated.keys["participant_id"][late & inside].nunique()
    prorated = rated.prorated
    if prorated is not None:
        both = np.concatenate([prorated, np.zeros(len(every) - n, dtype=bool)])
        prorated = (both | both[first])[:n][kept]
    return replace(
        rated,
        keys=rated.keys[kept].reset_index(drop=True),
        values=change[kept],
        excluded=pd.concat([rated.excluded, lost], ignore_index=True),
        covariates=rated.covariates[kept].reset_index(drop=True),
        prorated=prorated,
        per_rater=None,
        warnings=(
            *rated.warnings,
            *_late_warning(n_missed, visits.earliest),
            *([of_raters] if rated.several_raters else []),
        ),
    )


def _late_warning(n_missed: int, earliest: str) -> tuple[str, ...]:
    if not n_missed:
        return ()
    without = "1 participant has" if n_missed == 1 else f"{n_missed} participants have"
    return (
        f"changes are counted from {earliest}, the earliest session: {without} no such visit and "
        "no change",
    )


def _inside(keys: pd.DataFrame, selected: pd.DataFrame) -> np.ndarray:
    by = list(KEY_COLUMNS)
    return np.asarray(
        pd.MultiIndex.from_frame(keys[by]).isin(pd.MultiIndex.from_frame(selected[by]))
    )
