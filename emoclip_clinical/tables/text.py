"""Reading comma, semicolon and tab separated text, and any grid of cells that is like it."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from emoclip_clinical.records import InputError
from emoclip_clinical.tables.table import (
    FAULTS_SHOWN,
    FEW_SHOWN,
    MISSING,
    Table,
    is_number,
    limit_faults,
)

DELIMITERS = (",", ";", "\t")
MOST_ROWS = 0.5
"""Share of rows of one width above which they, and not the first row, tell the delimiter."""

_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")
_SURROGATE = re.compile(r"[\udc80-\udcff]")


def read_text(
    path: Path, *, text: Sequence[str] | None, encoding: str | None
) -> tuple[Table, list[str]]:
    """Read what can be read of a text table, and say what can not.

    Raises
    ------
    InputError
        For a file of which no table can be made.
    """
    return parse_grid(_parsed(_decoded(path, encoding=encoding), name=path.name), path.name, text)


def parse_grid(
    records: list[list[str]], name: str, text: Sequence[str] | None
) -> tuple[Table, list[str]]:
    """Make a table of rows of cells, and say which of them can not be used.

    Parameters
    ----------
    records : list of list of str
        Every row of the file, stripped, empty ones too.
    name : str
        The file's name.
    text : sequence of str or None
        Columns that stay text; None: all, with ``n/a`` and its kin in them.
    """
    header, first = _header(records, name=name)
    faults = _encoding_faults(records, header, name=name)
    if faults:
        raise InputError(faults)
    faults, named = _header_faults(header, records[first:], name=name)
    cells, rows, ragged = _body(records, first, width=len(header), name=name)
    title = _title_faults(header, records, first, n_ragged=len(ragged), name=name)
    # Rows do not fit what is no header, and all would be listed otherwise.
    shown = FEW_SHOWN if title else FAULTS_SHOWN
    faults = [*title, *faults, *limit_faults(ragged, shown=shown)]
    if not cells and not faults:
        faults.append(f"{name}: the table has no rows below its header")
    columns: dict[str, pd.Series] = {}
    commas: list[str] = []
    for index, column in named:
        values = [record[index] for record in cells]
        if text is None:
            columns[column] = pd.Series([v or None for v in values], dtype=object)
        else:
            columns[column] = _column(values, as_text=column in text)
        commas += _comma_faults(columns[column], name=column, rows=rows, file=name)
    faults += limit_faults(commas, shown=FEW_SHOWN)
    frame = pd.DataFrame(columns, index=pd.RangeIndex(len(cells)))
    return Table(frame=frame, rows=np.array(rows, dtype=np.int64), name=name), faults


def _title_faults(
    header: list[str], records: list[list[str]], first: int, *, n_ragged: int, name: str
) -> list[str]:
    """Say that what stands for a header is a title, where most rows have many more cells."""
    widths = Counter(_filled_width(record) for record in records[first:] if any(record))
    if not widths or 2 * n_ragged <= widths.total():
        return []
    width = widths.most_common(1)[0][0]
    if 2 * len(header) > width:
        return []
    cells = "1 cell" if len(header) == 1 else f"{len(header)} cells"
    return [
        f"{name}: row {first} looks like a title ({cells}, the rows below have {width}): delete "
        "it, the first row must hold the names of the columns"
    ]


def _filled_width(record: list[str]) -> int:
    return max((k for k, cell in enumerate(record, start=1) if cell), default=0)


def _body(
    records: list[list[str]], first: int, *, width: int, name: str
) -> tuple[list[list[str]], list[int], list[str]]:
    """Return the rows that fit the header, their numbers, and the faults of the others."""
    cells: list[list[str]] = []
    rows: list[int] = []
    ragged: list[str] = []
    for number, record in enumerate(records[first:], start=first + 1):
        if not any(record):
            continue
        if len(record) < width or any(record[width:]):
            ragged.append(f"row {number} of {name} has {len(record)} cells, the header has {width}")
            continue
        rows.append(number)
        cells.append(record)
    return cells, rows, ragged


def _decoded(path: Path, *, encoding: str | None) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path.name}: can not be read ({error.strerror})") from None
    if not content.strip():
        raise InputError(f"{path.name}: the file is empty")
    if encoding is None and (b"\0" in content):
        raise InputError(
            f"{path.name}: not a UTF-8 text table (it holds zero bytes); if it is text, "
            "save it as UTF-8 or, of ratings, name its encoding, for example data.encoding: utf-16"
        )
    if encoding is None:
        # Bytes that are not UTF-8 become surrogates, so that parsing can say in which cells.
        return content.removeprefix(codecs.BOM_UTF8).decode("utf-8", errors="surrogateescape")
    try:
        return content.decode(encoding).removeprefix("\ufeff")
    except LookupError:
        raise InputError(f"data.encoding: {encoding!r} is unknown") from None
    except UnicodeDecodeError as error:
        row = content[: error.start].count(b"\n") + 1
        raise InputError(
            f"{path.name}: byte 0x{content[error.start]:02x} in row {row} is not {encoding}"
        ) from None


def _parsed(content: str, *, name: str) -> list[list[str]]:
    delimiter = _delimiter(content)
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, strict=True)
    records: list[list[str]] = []
    try:
        for record in reader:
            records.append([cell.strip() for cell in record])
    except csv.Error as error:
        raise InputError(
            f"{name}: row {len(records) + 1} can not be read (a quotation mark that is not closed "
            f"or not doubled?): {error}"
        ) from None
    return records


def _delimiter(content: str) -> str:
    """Choose the delimiter under which most rows have as many cells as the header."""
    sample = [line for line in content.splitlines()[:60] if line.strip()] or [""]
    widths = {delimiter: _widths(sample, delimiter) for delimiter in DELIMITERS}

    def score(delimiter: str) -> tuple[bool, float, int]:
        found = widths[delimiter]
        return (found[0] > 1, found.count(found[0]) / len(found), found[0])

    def score_below(delimiter: str) -> tuple[float, int]:
        width, count = Counter(widths[delimiter]).most_common(1)[0]
        return (count / len(sample) if width > 1 else 0.0, width)

    best = max(DELIMITERS, key=score)
    if score(best)[0] or max(map(score_below, DELIMITERS))[0] <= MOST_ROWS:
        return best
    # The first row is a title: its one cell says nothing of the delimiter.
    return max(DELIMITERS, key=score_below)


def _widths(lines: list[str], delimiter: str) -> list[int]:
    try:
        return [len(record) for record in csv.reader(lines, delimiter=delimiter)] or [0]
    except csv.Error:
        return [0]


def _header(records: list[list[str]], *, name: str) -> tuple[list[str], int]:
    for index, record in enumerate(records):
        if any(record):
            return record[: _filled_width(record)], index + 1
    raise InputError(f"{name}: the file has no header row")


def _encoding_faults(records: list[list[str]], header: list[str], *, name: str) -> list[str]:
    faults = []
    for number, record in enumerate(records, start=1):
        for index, cell in enumerate(record):
            found = _SURROGATE.search(cell)
            if found is None:
                continue
            known = index < len(header) and not _SURROGATE.search(header[index])
            column = repr(header[index]) if known else str(index + 1)
            faults.append(
                f"{name}: byte 0x{ord(found.group()) - 0xDC00:02x} in row {number}, column "
                f"{column} is not UTF-8; save the file as UTF-8 or, of ratings, name its encoding, "
                "for example data.encoding: cp1252"
            )
    return limit_faults(faults, shown=FEW_SHOWN)


def _header_faults(
    header: list[str], body: list[list[str]], *, name: str
) -> tuple[list[str], list[tuple[int, str]]]:
    faults = []
    named: list[tuple[int, str]] = []
    for index, column in enumerate(header):
        if not column:
            if any(len(record) > index and record[index] for record in body):
                faults.append(f"{name}: column {index + 1} has values but no name in the header")
            continue
        if column in {other for _, other in named}:
            faults.append(f"{name}: column {column!r} stands twice")
            continue
        named.append((index, column))
    return faults, named


def _column(values: list[str], *, as_text: bool) -> pd.Series:
    known = np.array([v.lower() not in MISSING for v in values], dtype=bool)
    if not as_text and known.any():
        present = [v for v, k in zip(values, known, strict=True) if k]
        if all(map(is_number, present)):
            numbers = np.full(len(values), np.nan)
            # Python's own float is correctly rounded; pandas' fast parser need not be.
            numbers[known] = [float(v) for v in present]
            if np.isfinite(numbers[known]).all():
                return pd.Series(numbers)
    return pd.Series([v if k else None for v, k in zip(values, known, strict=True)], dtype=object)


def _comma_faults(column: pd.Series, *, name: str, rows: list[int], file: str) -> list[str]:
    if column.dtype == np.float64:
        return []
    present = [(i, v) for i, v in enumerate(column.tolist()) if v is not None]
    commas = [i for i, v in present if _DECIMAL_COMMA.fullmatch(v)]
    numbers = sum(is_number(v) for _, v in present)
    if not commas or numbers + len(commas) < len(present):
        return []
    # The value is not quoted: a table may be read by someone who is not to see a rating yet.
    return [
        f"column {name!r} is written with decimal commas (row {rows[commas[0]]} of {file}); write "
        "numbers with a decimal point"
    ]
