"""Reading a Parquet table into the columns of a `Table`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from emoclip_clinical.records import InputError
from emoclip_clinical.tables.table import MISSING, Table, limit_faults


@contextmanager
def damage_told(path: Path) -> Iterator[None]:
    """Turn what a damaged Parquet file raises into an `InputError` that names it."""
    try:
        yield
    except InputError:
        raise
    except (OSError, ValueError) as error:  # pyarrow's own errors derive from these two
        raise InputError(f"{path.name}: not a readable Parquet file") from error


def read_parquet(path: Path, *, text: Sequence[str] | None) -> Table:
    """Read a Parquet table.

    Raises
    ------
    InputError
        For a file that is not Parquet, columns that stand twice, and infinite values.
    """
    with damage_told(path):
        raw = pd.read_parquet(path)
    return typed_table(raw, text=text, name=path.name)


def typed_table(
    raw: pd.DataFrame, *, text: Sequence[str] | None, name: str, first_row: int = 2
) -> Table:
    """Give the columns of a data frame the types that those of a `Table` have.

    Parameters
    ----------
    raw : DataFrame
        As pandas reads Parquet.
    text : sequence of str or None
        Columns that become text even where they hold numbers; None: all.
    name : str
        What messages call it.
    first_row : int
        The number that messages give its first row.

    Raises
    ------
    InputError
        For columns that stand twice, and infinite values.
    """
    if raw.columns.duplicated().any():
        twice = sorted({str(c) for c in raw.columns[raw.columns.duplicated()]})
        raise InputError([f"{name}: column {c!r} stands twice" for c in twice])
    columns = {str(c): _typed(raw[c], as_text=text is None or str(c) in text) for c in raw.columns}
    frame = pd.DataFrame(columns, index=pd.RangeIndex(len(raw)))
    rows = np.arange(len(frame)) + first_row
    infinite = [
        fault
        for column in frame.columns
        if frame[column].dtype == np.float64
        for fault in infinite_faults(frame[column].to_numpy(), rows=rows, column=column, name=name)
    ]
    if infinite:
        raise InputError(limit_faults(infinite))
    return Table(frame=frame, rows=rows, name=name)


def infinite_faults(
    cells: np.ndarray, *, rows: Sequence[int] | np.ndarray, column: str, name: str
) -> list[str]:
    """Name the first row of a column that holds an infinite value; nothing where none does.

    Parameters
    ----------
    cells : ndarray of shape (n_rows,) or (n_rows, n_values)
        Numbers.
    rows : sequence of int
        The numbers that messages give them.
    column, name : str
        What messages call the column and its table.
    """
    infinite = np.isinf(cells)
    if infinite.ndim > 1:
        infinite = infinite.any(axis=1)
    return [
        f"{name}: column {column!r} holds an infinite value (row {rows[i]})"
        for i in np.flatnonzero(infinite)[:1]
    ]


def _typed(column: pd.Series, *, as_text: bool) -> pd.Series:
    if not as_text and (
        pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_complex_dtype(column)
    ):
        return pd.Series(column.to_numpy(dtype=np.float64, na_value=np.nan))
    cells = ["" if _is_missing(v) else _spelled(v) for v in column.tolist()]
    return pd.Series([None if c.lower() in MISSING else c for c in cells], dtype=object)


def _is_missing(value: object) -> bool:
    not_a_number = isinstance(value, float) and value != value
    return value is None or value is pd.NA or value is pd.NaT or not_a_number


def _spelled(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()
