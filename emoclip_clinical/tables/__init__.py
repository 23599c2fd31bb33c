"""Reading a table that a user made: text, Excel or Parquet, checked whole, every fault at once.

Rows are counted as a spreadsheet shows them: the header is row 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from emoclip_clinical.records import InputError
from emoclip_clinical.tables.key_names import called_otherwise
from emoclip_clinical.tables.table import (
    FAULTS_SHOWN,
    FEW_SHOWN,
    MISSING,
    Table,
    is_file,
    is_number,
    limit_faults,
)

__all__ = [
    "FAULTS_SHOWN",
    "FEW_SHOWN",
    "MISSING",
    "Table",
    "called_otherwise",
    "is_file",
    "is_number",
    "limit_faults",
    "read_table",
    "scan_table",
]

OTHER_SPREADSHEETS = frozenset({".xls", ".xlsb", ".ods", ".numbers"})


def read_table(
    path: str | Path,
    *,
    required: Sequence[str] = ("participant_id",),
    text: Sequence[str] = ("participant_id", "session_id", "rater_id"),
    encoding: str | None = None,
) -> Table:
    """Read a CSV, TSV, semicolon-separated, Excel or Parquet table.

    A byte order mark, ``n/a`` and its kin, and empty lines are accepted. Cells are stripped.

    Parameters
    ----------
    path : path
        Parquet when the name ends in ``.parquet`` or ``.pq``, Excel when it ends in ``.xlsx`` or
        ``.xlsm``; text otherwise.
    required : sequence of str
        Columns that must be there and have a value in every row.
    text : sequence of str
        Columns that stay text even where they look like numbers (``014``).
    encoding : str, optional
        Encoding of a text file; UTF-8 by default.

    Returns
    -------
    Table

    Raises
    ------
    InputError
        With every fault of the file: bytes that are not UTF-8, doubled or missing columns, rows
        with too many or too few cells, required cells that are empty, decimal commas, formulas
        without a stored value, a workbook with several filled sheets.
    """
    table, faults = scan_table(path, required=required, text=text, encoding=encoding)
    if faults or table is None:
        raise InputError(faults)
    return table


def scan_table(
    path: str | Path,
    *,
    required: Sequence[str] = ("participant_id",),
    text: Sequence[str] | None = ("participant_id", "session_id", "rater_id"),
    encoding: str | None = None,
) -> tuple[Table | None, list[str]]:
    """Read what can be read of a table, and say what can not.

    Parameters are those of `read_table`; `text` may be None too: then every column stays text, and
    only empty cells are missing values.

    Returns
    -------
    Table or None
        The rows that could be read; None where none could.
    list of str
        Every fault; where there is one, the table serves only to look for more.
    """
    path = Path(path)
    try:
        table, faults = _read(path, text=text, encoding=encoding)
    except InputError as error:
        return None, list(error.faults)
    return table, [*faults, *_required_faults(table, required)]


def _read(
    path: Path, *, text: Sequence[str] | None, encoding: str | None
) -> tuple[Table, list[str]]:
    # Each reader is loaded where it is needed: a command that reads CSV waits for no other.
    suffix = path.suffix.lower()
    if path.is_dir():
        raise InputError(f"{path.name}: a table was wanted, got a folder")
    if not is_file(path):
        raise InputError(f"{path.name}: no such file")
    if suffix in OTHER_SPREADSHEETS:
        raise InputError(f"{path.name}: {suffix} is not read; save it as .xlsx or .csv")
    if suffix in {".parquet", ".pq"}:
        from emoclip_clinical.tables.parquet import read_parquet

        return read_parquet(path, text=text), []
    if suffix in {".xlsx", ".xlsm"}:
        from emoclip_clinical.tables.excel import read_excel

        return read_excel(path, text=text)
    from emoclip_clinical.tables.text import read_text

    return read_text(path, text=text, encoding=encoding)


def _instead(table: Table, column: str) -> str:
    """Say what stands where a required column is wanted."""
    columns = [str(c) for c in table.frame.columns]
    if alike := called_otherwise(column, columns):
        return f"{' or '.join(map(repr, alike))} may be it: rename it to {column!r}"
    # Numbers in place of names are values, which are nobody's to be shown.
    if any(is_number(c) for c in columns):
        return "the first row holds numbers: the names of the columns are wanted there"
    return f"the columns are: {', '.join(columns[:12]) or 'none'}"


def _required_faults(table: Table, required: Iterable[str]) -> list[str]:
    faults: list[str] = []
    for column in required:
        if column not in table.frame.columns:
            faults.append(f"{table.name}: column {column!r} is missing; {_instead(table, column)}")
            continue
        empty = np.flatnonzero(table.frame[column].isna().to_numpy())
        faults += limit_faults([f"{column} is empty ({table.place(int(i))})" for i in empty])
    return faults
