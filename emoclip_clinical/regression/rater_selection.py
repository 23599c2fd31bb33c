"""What a selection (``where``) means where several raters' rows make one visit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from emoclip_clinical.records import KEY_COLUMNS
from emoclip_clinical.regression.keyed import RATER
from emoclip_clinical.regression.selection import SESSION, Where, selected_rows, spelled


@dataclass(frozen=True)
class Selection:
    """Which rows a selection takes.

    Attributes
    ----------
    rows : ndarray of bool, shape (n_rows,)
        Those that have every wanted value.
    of_raters : ndarray of bool, shape (n_rows,)
        Those that have the wanted values of the columns that tell raters apart: ``rater_id``, and
        columns in which the raters of a visit differ.
    warnings : tuple of str
    """

    rows: np.ndarray
    of_raters: np.ndarray
    warnings: tuple[str, ...]


def filled_from_raters(
    columns: pd.DataFrame, keys: pd.DataFrame, names: Sequence[str]
) -> pd.DataFrame:
    """Fill the empty cells of columns from the visit's other rows, where these agree.

    Parameters
    ----------
    columns : DataFrame of shape (n_rows, n_columns)
    keys : DataFrame of shape (n_rows, 2 or 3)
        ``participant_id``, ``session_id``, and ``rater_id`` where raters are named.
    names : sequence of str
        The columns to fill.
    """
    if RATER not in keys or not names:
        return columns
    visits = _visits(keys)
    filled = {}
    for name in names:
        told = columns[name].groupby(visits)
        empty = columns[name].isna() & (told.transform("nunique") == 1)
        filled[name] = columns[name].mask(empty, told.transform("first"))
    return columns.assign(**filled)


def select(
    columns: pd.DataFrame,
    keys: pd.DataFrame,
    where: Where,
    *,
    ambiguous: Mapping[str, tuple[str, ...]],
) -> Selection:
    """Return which rows a selection takes, and warn where it takes some raters of a visit only.

    Parameters
    ----------
    columns : DataFrame of shape (n_rows, n_columns)
        Columns to select by.
    keys : DataFrame of shape (n_rows, 2 or 3)
        ``participant_id``, ``session_id``, and ``rater_id`` where raters are named.
    where, ambiguous
        See `selected_rows`.

    Raises
    ------
    InputError
        See `selected_rows`.
    """
    rows = selected_rows(columns, where, ambiguous=ambiguous)
    if RATER not in keys or not where:
        return Selection(rows, np.ones(len(rows), dtype=bool), ())
    of_subjects = keys["participant_id"].isin(keys["participant_id"][rows]).to_numpy()
    visits = _visits(keys)
    differing = [
        name
        for name in where
        if name not in (SESSION, RATER)
        and columns[name][of_subjects]
        .groupby(visits[of_subjects])
        .nunique(dropna=False)
        .gt(1)
        .any()
    ]
    by_name = {name: where[name] for name in where if name == RATER}
    named = selected_rows(columns, by_name, ambiguous=ambiguous)
    by_column = {name: where[name] for name in differing}
    fitting = selected_rows(columns, by_column, ambiguous=ambiguous)
    left = named & ~rows & np.isin(visits, visits[rows])
    found = _left_out(by_column, int(left.sum()), len(np.unique(visits[left])))
    return Selection(rows, named & fitting, found)


def _visits(keys: pd.DataFrame) -> np.ndarray:
    return keys.groupby(list(KEY_COLUMNS), sort=False).ngroup().to_numpy()


def _left_out(where: Where, n_rows: int, n_visits: int) -> tuple[str, ...]:
    if not n_rows:
        return ()
    return (
        f"selection {spelled(where)} leaves out {n_rows} rater row{'s' * (n_rows > 1)} of "
        f"{n_visits} visit{'s' * (n_visits > 1)}, whose raters differ in {', '.join(where)}; it "
        "is taken as a condition on raters, of first visits too",
    )
