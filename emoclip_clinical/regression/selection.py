"""Visits that a study selects by the values of columns (``where``)."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

import numpy as np
import pandas as pd

from emoclip_clinical.records import InputError, session_label
from emoclip_clinical.regression.labels import label_of

SESSION = "session_id"
NOT_SELECTED = "not selected: "
"""Beginning of the reason of visits that a selection left out."""
Where = Mapping[str, str | int | float]
"""Wanted value of each column."""


def selected_rows(
    columns: pd.DataFrame, where: Where, *, ambiguous: Mapping[str, tuple[str, ...]]
) -> np.ndarray:
    """Return which rows have the wanted values.

    Parameters
    ----------
    columns : DataFrame of shape (n_rows, n_columns)
        ``session_id`` among them in its canonical form.
    where : mapping of str to value
        Nothing wanted selects every row. A session is meant with ``ses-`` and without.
    ambiguous : mapping of str to tuple of str
        Column names that several files share, with the names to choose from.

    Returns
    -------
    ndarray of bool, shape (n_rows,)

    Raises
    ------
    InputError
        For columns that are not there, values that no row has, and wishes that no row fulfils
        together.
    """
    selected = np.ones(len(columns), dtype=bool)
    faults = []
    for name, wanted in where.items():
        if name not in columns:
            faults.append(f"selection {name}={wanted}: {_unknown(name, columns, ambiguous)}")
            continue
        try:
            sought = session_label(str(wanted)) if name == SESSION else wanted
        except InputError as error:
            faults.append(f"selection {name}={wanted}: {error}")
            continue
        equal = _equals(columns[name], sought)
        if not equal.any():
            found = columns[name].dropna().tolist()
            values = sorted({label_of(v) for v in found})
            more = ", ..." if len(values) > 10 else ""
            faults.append(
                f"selection {name}={wanted}: no visit has this value; the column has "
                f"{', '.join(values[:10]) or 'no values'}{more}"
            )
        selected &= equal
    if faults:
        raise InputError(faults)
    if where and not selected.any():
        raise InputError(f"selection {spelled(where)}: no visit has all of these values")
    return selected


def spelled(where: Where) -> str:
    """Return ``column=value, column=value``."""
    return ", ".join(f"{name}={value}" for name, value in where.items())


def _equals(column: pd.Series, wanted: str | int | float) -> np.ndarray:
    if column.dtype == np.float64:
        try:
            return np.asarray(column.to_numpy() == float(wanted))
        except ValueError:
            return np.zeros(len(column), dtype=bool)
    return np.array([value == str(wanted) for value in column.tolist()], dtype=bool)


def _unknown(name: str, columns: pd.DataFrame, ambiguous: Mapping[str, tuple[str, ...]]) -> str:
    if name in ambiguous:
        return f"the column stands in several files: write one of {', '.join(ambiguous[name])}"
    near = difflib.get_close_matches(name, [str(c) for c in columns.columns], n=4)
    return "there is no such column" + (f"; near names: {', '.join(near)}" if near else "")
