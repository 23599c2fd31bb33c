"""Reading the one filled sheet of an Excel workbook as if it had been saved as text."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

from emoclip_clinical.records import InputError
from emoclip_clinical.tables.table import Table, limit_faults
from emoclip_clinical.tables.text import parse_grid

NOT_AVAILABLE = "#N/A"
"""Excel's own missing value."""
LARGEST_UNPACKED_BYTES = 500_000_000
"""A workbook is a zip archive; one that unpacks to more than this is no table of ratings."""


def read_excel(path: Path, *, text: Sequence[str] | None) -> tuple[Table, list[str]]:
    """Read the only filled sheet of a workbook, and say what can not be read.

    Formulas count with the value that Excel stored beside them. A number that is shown with
    leading zeros (number format ``000``) keeps them.

    Parameters
    ----------
    path : Path
        An ``.xlsx`` or ``.xlsm`` file.
    text : sequence of str or None
        Columns that stay text; None: all, with ``n/a`` and its kin in them.

    Raises
    ------
    InputError
        For a file that is no workbook, and for none or several filled sheets.
    """
    values = _filled_sheets(path, stored_values=True)
    formulas = _filled_sheets(path, stored_values=False)
    if len(formulas) != 1:
        named = ", ".join(repr(sheet.title) for sheet in formulas) or "none"
        raise InputError(
            f"{path.name}: one sheet with data is wanted, got {named}; keep one, or save it as CSV"
        )
    title = formulas[0].title
    sheet = next((s for s in values if s.title == title), None)
    faults: list[str] = []
    records: list[list[str]] = []
    for row in formulas[0].iter_rows():
        record = []
        for cell in row:
            stored = None if sheet is None else sheet.cell(cell.row, cell.column).value
            shown, fault = _cell_text(cell, stored)
            record.append(shown)
            if fault:
                faults.append(f"{path.name}: cell {cell.coordinate} {fault}")
        records.append(record)
    table, found = parse_grid(records, path.name, text)
    return table, [*limit_faults(faults), *found]


def _filled_sheets(path: Path, *, stored_values: bool) -> list[Any]:
    import warnings

    from openpyxl import load_workbook
    from openpyxl.utils.exceptions import InvalidFileException

    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > LARGEST_UNPACKED_BYTES:
            raise InputError(f"{path.name}: the workbook is too large for a table of ratings")
        with warnings.catch_warnings():
            # openpyxl warns of styles and validations that it leaves out; no value is lost.
            warnings.simplefilter("ignore", UserWarning)
            book = load_workbook(path, data_only=stored_values)
    except InputError:
        raise
    except (
        zipfile.BadZipFile, InvalidFileException, KeyError, ValueError, TypeError, OSError,
        SyntaxError, AttributeError, IndexError,
    ) as error:  # fmt: skip
        # Whatever a damaged archive makes of openpyxl (SyntaxError is the XML parser's own).
        raise InputError(f"{path.name}: not a readable Excel workbook") from error
    return [
        sheet
        for sheet in book.worksheets
        if any(cell.value is not None for row in sheet.iter_rows() for cell in row)
    ]


def _cell_text(cell: Any, stored: object) -> tuple[str, str]:
    """Return a cell as text, and what is wrong with it."""
    value = cell.value
    if cell.data_type == "f":
        if stored is None:
            return "", "holds a formula without a stored value; open, recalculate and save it"
        value = stored
    if value is None or value == NOT_AVAILABLE:
        return "", ""
    if isinstance(value, str) and re.fullmatch(r"#[A-Z/0]+[!?]", value.strip()):
        return "", f"holds the error {value.strip()}"
    if isinstance(value, bool):
        return ("TRUE" if value else "FALSE"), ""
    if isinstance(value, datetime):
        midnight = value.time() == time(0)
        return (value.date().isoformat() if midnight else value.isoformat(sep=" ")), ""
    if isinstance(value, date | time):
        return value.isoformat(), ""
    if isinstance(value, int | float) and float(value).is_integer():
        digits = str(int(value))
        zeros = re.fullmatch(r"0+", str(cell.number_format))
        return (digits.zfill(len(zeros.group())) if zeros and value >= 0 else digits), ""
    return str(value).strip(), ""
