"""Covariates as numbers: what a model of age, sex or site is given."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from emoclip_clinical.records import InputError

MAXIMUM_LEVELS = 12
"""A text column with more different values than this is not a category."""


@dataclass(frozen=True)
class EncodedCovariates:
    """Covariates as columns of numbers.

    Attributes
    ----------
    names : tuple of str
        The covariates that were asked for.
    columns : tuple of str
        Names of the columns: a number keeps its name, a category becomes ``<name>=<level>`` for
        each level but the first.
    values : ndarray of shape (n_rows, n_columns)
        NaN in the rows that are not `complete`.
    complete : ndarray of bool, shape (n_rows,)
        Rows in which every covariate has a value.
    """

    names: tuple[str, ...]
    columns: tuple[str, ...]
    values: np.ndarray
    complete: np.ndarray


def encode_covariates(
    table: pd.DataFrame, *, names: Sequence[str], forbidden: Sequence[str] = ()
) -> EncodedCovariates:
    """Turn covariates into numbers: numbers stay, categories become indicators.

    Which level is which is fixed by their alphabetical order, so nothing is learnt from the rows.

    Parameters
    ----------
    table : DataFrame of shape (n_rows, n_covariates)
    names : sequence of str
        Columns to use.
    forbidden : sequence of str
        Columns that may not be used: the target and its items.

    Raises
    ------
    InputError
        With every fault: unknown columns, the target itself, columns without variation, text that
        is no category.
    """
    faults: list[str] = []
    parts: list[pd.DataFrame] = []
    complete = np.ones(len(table), dtype=bool)
    for name in names:
        problem = _problem(table, name, forbidden)
        if problem:
            faults.append(f"covariate {name!r}: {problem}")
            continue
        column = table[name]
        complete &= column.notna().to_numpy()
        parts.append(_numbers(column, name))
    if faults:
        raise InputError(faults)
    if not complete.any():
        raise InputError(f"no visit has a value in every covariate ({', '.join(names)})")
    encoded = pd.concat(parts, axis=1) if parts else pd.DataFrame(index=table.index)
    return EncodedCovariates(
        names=tuple(names),
        columns=tuple(str(c) for c in encoded.columns),
        values=encoded.to_numpy(dtype=np.float64),
        complete=complete,
    )


def _problem(table: pd.DataFrame, name: str, forbidden: Sequence[str]) -> str:
    if name.casefold() in {other.casefold() for other in forbidden}:
        return "it is the target or one of its items"
    if name not in table:
        near = difflib.get_close_matches(name, [str(c) for c in table.columns], n=4)
        return "there is no such column" + (f"; near names: {', '.join(near)}" if near else "")
    column = table[name].dropna()
    levels = column.nunique()
    if levels < 2:
        return f"a covariate must vary, got {levels} different value(s)"
    if not _is_number(table[name]) and levels > MAXIMUM_LEVELS:
        text = next((str(v) for v in column if not _reads_as_number(str(v))), str(column.iloc[0]))
        return (
            f"numbers or at most {MAXIMUM_LEVELS} categories are wanted, got {levels} different "
            f"texts, for example {text!r}"
        )
    return ""


def _is_number(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def _reads_as_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _numbers(column: pd.Series, name: str) -> pd.DataFrame:
    if _is_number(column):
        return pd.DataFrame({name: column.astype(np.float64)})
    levels = sorted({str(v) for v in column.dropna()})
    missing = column.isna().to_numpy()
    made = {}
    for level in levels[1:]:
        is_level = np.array([str(v) == level for v in column.tolist()], dtype=np.float64)
        is_level[missing] = np.nan
        made[f"{name}={level}"] = is_level
    return pd.DataFrame(made, index=column.index)
