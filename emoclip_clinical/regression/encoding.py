"""Covariates as numbers: what a model of age, sex or site is given."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from emoclip_clinical.records import InputError
from emoclip_clinical.regression.labels import label_of

MAXIMUM_LEVELS = 12
"""A text column with more different values than this is not a category."""
FEW_NUMBERS = (3, 8)
"""Whole numbers with so many different values may be the codes of categories."""


@dataclass(frozen=True)
class EncodedCovariates:
    """Covariates as columns of numbers.

    Attributes
    ----------
    names : tuple of str
        The covariates that were asked for.
    columns : tuple of str
        Names of the columns: a number keeps its name, a category becomes ``<name>=<level>`` for
        each level.
    values : ndarray of shape (n_rows, n_columns)
        NaN in the rows that are not `complete`.
    complete : ndarray of bool, shape (n_rows,)
        Rows in which every covariate has a value.
    n_free : int
        Columns less one for each category, whose columns sum to 1: what a fit beside an intercept
        spends.
    warnings : tuple of str
        Numbers that may be codes of categories.
    """

    names: tuple[str, ...]
    columns: tuple[str, ...]
    values: np.ndarray
    complete: np.ndarray
    n_free: int
    warnings: tuple[str, ...] = ()


def encode_covariates(
    table: pd.DataFrame,
    *,
    names: Sequence[str],
    forbidden: Sequence[str] = (),
    categories: Sequence[str] = (),
) -> EncodedCovariates:
    """Turn covariates into numbers: numbers stay, categories become an indicator for each level.

    No level is the base of the others, so that results do not depend on how levels are called;
    see `removal.fit_confounds` for the level that a training set does not hold.

    Parameters
    ----------
    table : DataFrame of shape (n_rows, n_covariates)
    names : sequence of str
        Columns to use.
    forbidden : sequence of str
        Columns that may not be used: the target and its items.
    categories : sequence of str
        Columns that are categories even where they hold numbers, such as numbers of sites.

    Raises
    ------
    InputError
        With every fault: unknown columns, the target itself, columns without variation, text that
        is no category.
    """
    faults: list[str] = []
    parts: list[pd.DataFrame] = []
    warnings: list[str] = []
    coded = {name.casefold() for name in categories}
    complete = np.ones(len(table), dtype=bool)
    for name in names:
        is_number = name in table and name.casefold() not in coded and _is_number(table[name])
        problem = _problem(table, name, forbidden, is_number)
        if problem:
            faults.append(f"covariate {name!r}: {problem}")
            continue
        column = table[name]
        complete &= column.notna().to_numpy()
        parts.append(_number(column, name) if is_number else _indicators(column, name))
        if is_number and _may_be_codes(column):
            warnings.append(
                f"covariate {name!r} has {column.nunique()} different whole numbers and is taken "
                "as a number; write categories as text where their order means nothing"
            )
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
        n_free=sum(max(part.shape[1] - 1, 1) for part in parts),
        warnings=tuple(warnings),
    )


def _problem(table: pd.DataFrame, name: str, forbidden: Sequence[str], is_number: bool) -> str:
    if name.casefold() in {other.casefold() for other in forbidden}:
        return "it is the target or one of its items"
    if name not in table:
        near = difflib.get_close_matches(name, [str(c) for c in table.columns], n=4)
        return "there is no such column" + (f"; near names: {', '.join(near)}" if near else "")
    column = table[name].dropna()
    levels = column.nunique()
    if levels < 2:
        return f"a covariate must vary, got {levels} different value(s)"
    texts = [] if is_number else [label_of(v) for v in column]
    odd = sorted({text for text in texts if not _reads_as_number(text)})
    if 0 < sum(text in odd for text in texts) < len(texts) / 2:
        return (
            f"most of its values are numbers, but not {', '.join(map(repr, odd[:5]))}; leave cells "
            "empty where nothing is known"
        )
    if not is_number and levels > MAXIMUM_LEVELS:
        text = next((t for t in texts if not _reads_as_number(t)), texts[0])
        wanted = "" if _is_number(column) else "numbers or "
        return (
            f"{wanted}at most {MAXIMUM_LEVELS} categories are wanted, got {levels} different "
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


def _may_be_codes(column: pd.Series) -> bool:
    known = column.dropna()
    few, many = FEW_NUMBERS
    return few <= known.nunique() <= many and bool((known == known.round()).all())


def _number(column: pd.Series, name: str) -> pd.DataFrame:
    return pd.DataFrame({name: column.astype(np.float64)})


def _indicators(column: pd.Series, name: str) -> pd.DataFrame:
    labels = [label_of(v) for v in column.tolist()]
    missing = column.isna().to_numpy()
    made = {}
    for level in sorted({label for label, gone in zip(labels, missing, strict=True) if not gone}):
        is_level = np.array([label == level for label in labels], dtype=np.float64)
        is_level[missing] = np.nan
        made[f"{name}={level}"] = is_level
    return pd.DataFrame(made, index=column.index)
