"""Numbers that many tables write for a missing value, where they stand far from all others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from emoclip_clinical.tables import Table, limit_faults

CODES = (-9, -88, -99, -888, -999, -9999, 88, 99, 888, 999, 9999)
"""What spreadsheets and statistics programs are often told to take for missing."""
MINIMUM_OTHERS = 3
"""Fewer other values than this tell nothing of where a column's values lie."""
MINIMUM_DISTANCE = 1.0
"""A code nearer than this to a column's values may be one of them, however little they differ."""
COLUMNS_SHOWN = 10
ROWS_SHOWN = 10


def far_codes(values: np.ndarray) -> np.ndarray:
    """Return where a code stands farther from all other values than these lie apart.

    Parameters
    ----------
    values : ndarray of shape (n,)
        NaN where there is none.

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    is_code = np.isin(values, CODES)
    others = values[~is_code & ~np.isnan(values)]
    if len(others) < MINIMUM_OTHERS:
        return np.zeros(len(values), dtype=bool)
    low, high = others.min(), others.max()
    distance = np.maximum(low - values, values - high)
    return np.asarray(is_code & (distance > max(high - low, MINIMUM_DISTANCE)))


def code_warnings(table: Table, columns: Iterable[str]) -> list[str]:
    """Name the columns of a table that hold such codes, with their rows.

    Parameters
    ----------
    table : Table
    columns : iterable of str
        Those to look at; text is passed over.
    """
    warnings = []
    for column in columns:
        if not table.is_numeric(column):
            continue
        values = table.frame[column].to_numpy()
        far = far_codes(values)
        if far.any():
            rows = [str(row) for row in table.rows[far].tolist()]
            place = f"row{'s' if len(rows) > 1 else ''} {_listed(rows)} of {table.name}"
            warnings.append(code_warning(column, values, far, place=place))
    return limit_faults(warnings, shown=COLUMNS_SHOWN)


def code_warning(
    column: str, values: np.ndarray, far: np.ndarray, *, place: str, taken_as: str = "number"
) -> str:
    """Say of a column which codes it holds, where, and where its other values lie."""
    codes = ", ".join(f"{code:g}" for code in np.unique(values[far]))
    others = values[~np.isin(values, CODES)]
    return (
        f"column {column!r} holds {codes} ({place}), far from its other values "
        f"({np.nanmin(others):g} to {np.nanmax(others):g}); it is taken as a {taken_as}: leave the "
        "cell empty if it stands for a missing value"
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:ROWS_SHOWN]) + (" ..." if len(names) > ROWS_SHOWN else "")
