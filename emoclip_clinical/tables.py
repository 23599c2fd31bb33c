"""Reading a table that a user made: text or Parquet, checked as a whole, every fault at once.

Rows are counted as a spreadsheet shows them: the header is row 1.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from emoclip_clinical.records import InputError

DELIMITERS = (",", ";", "\t")
MISSING = frozenset({"", "n/a", "na", "nan"})
"""Cells that stand for a missing value, in lower case."""
FAULTS_SHOWN = 100
"""Faults of one kind that are listed before the rest is only counted."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")
_SURROGATE = re.compile(r"[\udc80-\udcff]")


@dataclass(frozen=True)
class Table:
    """A table as read, with what a message needs to name a place in it.

    Attributes
    ----------
    frame : DataFrame of shape (n_rows, n_columns)
        Columns whose every value is a number are float64 with NaN where a value is missing; all
        others hold str, with None where a value is missing.
    rows : ndarray of int, shape (n_rows,)
        Row number in the file; the header is row 1.
    name : str
        File name without its folder; for messages to the user only.
    """

    frame: pd.DataFrame
    rows: np.ndarray
    name: str

    def place(self, index: int) -> str:
        """Return ``row <n> of <file>`` for a row position of `frame`."""
        return f"row {self.rows[index]} of {self.name}"

    def is_numeric(self, column: str) -> bool:
        """Say whether every value of a column is a number (a wholly missing column is not)."""
        return self.frame[column].dtype == np.float64


def read_table(
    path: str | Path,
    *,
    required: Sequence[str] = ("participant_id",),
    text: Sequence[str] = ("participant_id", "session_id", "rater_id"),
    encoding: str | None = None,
) -> Table:
    """Read a CSV, TSV, semicolon-separated or Parquet table.

    A byte order mark, ``n/a`` and its kin, and empty lines are accepted. Cells are stripped.

    Parameters
    ----------
    path : path
        Parquet when the name ends in ``.parquet`` or ``.pq``; text otherwise.
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
        with too many or too few cells, required cells that are empty, decimal commas.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path.name}: a table was wanted, got a folder")
    if not path.is_file():
        raise InputError(f"{path.name}: no such file")
    faults: list[str] = []
    if path.suffix.lower() in {".parquet", ".pq"}:
        table = _read_parquet(path, text=text)
    else:
        table, faults = _read_text(path, text=text, encoding=encoding)
    faults += _required_faults(table, required)
    if faults:
        raise InputError(faults)
    return table


def limit_faults(faults: Sequence[str]) -> list[str]:
    """Return at most `FAULTS_SHOWN` faults of one kind and a line that counts the others."""
    shown = list(faults[:FAULTS_SHOWN])
    if len(faults) > FAULTS_SHOWN:
        shown.append(f"... and {len(faults) - FAULTS_SHOWN} more faults of this kind")
    return shown


def _required_faults(table: Table, required: Iterable[str]) -> list[str]:
    faults: list[str] = []
    for column in required:
        if column not in table.frame.columns:
            have = ", ".join(map(str, table.frame.columns[:12])) or "none"
            faults.append(f"{table.name}: column {column!r} is missing; the columns are: {have}")
            continue
        empty = np.flatnonzero(table.frame[column].isna().to_numpy())
        faults += limit_faults([f"{column} is empty ({table.place(int(i))})" for i in empty])
    return faults


def _read_parquet(path: Path, *, text: Sequence[str]) -> Table:
    try:
        raw = pd.read_parquet(path)
    except (OSError, ValueError) as error:  # pyarrow's own errors derive from these two
        raise InputError(f"{path.name}: not a readable Parquet file") from error
    if raw.columns.duplicated().any():
        twice = sorted({str(c) for c in raw.columns[raw.columns.duplicated()]})
        raise InputError([f"{path.name}: column {c!r} stands twice" for c in twice])
    columns = {str(name): _typed(raw[name], as_text=str(name) in text) for name in raw.columns}
    frame = pd.DataFrame(columns, index=pd.RangeIndex(len(raw)))
    infinite = [
        f"{path.name}: column {name!r} holds an infinite value (row {i + 2})"
        for name in frame.columns
        if frame[name].dtype == np.float64
        for i in np.flatnonzero(np.isinf(frame[name].to_numpy()))[:1]
    ]
    if infinite:
        raise InputError(limit_faults(infinite))
    return Table(frame=frame, rows=np.arange(len(frame)) + 2, name=path.name)


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


def _read_text(path: Path, *, text: Sequence[str], encoding: str | None) -> tuple[Table, list[str]]:
    """Read what can be read, and say what can not."""
    content = _decoded(path, encoding=encoding)
    records = _parsed(content, name=path.name)
    header, first = _header(records, name=path.name)
    faults = _encoding_faults(records, header, name=path.name)
    if faults:
        raise InputError(faults)
    faults, named = _header_faults(header, records[first:], name=path.name)
    cells: list[list[str]] = []
    rows: list[int] = []
    ragged: list[str] = []
    for number, record in enumerate(records[first:], start=first + 1):
        if not any(record):
            continue
        extra = any(record[len(header) :])
        if len(record) < len(header) or extra:
            ragged.append(
                f"row {number} of {path.name} has {len(record)} cells, the header has {len(header)}"
            )
            continue
        rows.append(number)
        cells.append(record)
    faults += limit_faults(ragged)
    if not cells and not faults:
        faults.append(f"{path.name}: the table has no rows below its header")
    columns: dict[str, pd.Series] = {}
    for index, name in named:
        values = [record[index] for record in cells]
        columns[name] = _column(values, as_text=name in text)
        faults += _comma_faults(columns[name], name=name, rows=rows, file=path.name)
    frame = pd.DataFrame(columns, index=pd.RangeIndex(len(cells)))
    return Table(frame=frame, rows=np.array(rows, dtype=np.int64), name=path.name), faults


def _decoded(path: Path, *, encoding: str | None) -> str:
    content = path.read_bytes()
    if not content.strip():
        raise InputError(f"{path.name}: the file is empty")
    if encoding is None and (b"\0" in content):
        raise InputError(
            f"{path.name}: not a UTF-8 text table (it holds zero bytes); name its encoding, for "
            "example utf-16, if it is text"
        )
    if encoding is None:
        # Bytes that are not UTF-8 become surrogates, so that parsing can say in which cells.
        return content.removeprefix(codecs.BOM_UTF8).decode("utf-8", errors="surrogateescape")
    try:
        return content.decode(encoding).removeprefix("\ufeff")
    except LookupError:
        raise InputError(f"encoding {encoding!r} is unknown") from None
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
    sample = [line for line in content.splitlines()[:60] if line.strip()]

    def score(delimiter: str) -> tuple[bool, float, int]:
        try:
            records = list(csv.reader(sample, delimiter=delimiter))
        except csv.Error:
            return (False, 0.0, 0)
        width = len(records[0])
        same = sum(len(record) == width for record in records) / len(records)
        return (width > 1, same, width)

    return max(DELIMITERS, key=score)


def _header(records: list[list[str]], *, name: str) -> tuple[list[str], int]:
    for index, record in enumerate(records):
        if any(record):
            while record and not record[-1]:
                record = record[:-1]
            return record, index + 1
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
                f"{column} is not UTF-8; save the file as UTF-8 or name its encoding, for example "
                "encoding: cp1252"
            )
    return limit_faults(faults)


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
        if all(_NUMBER.fullmatch(v) for v in present):
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
    commas = [(i, v) for i, v in present if _DECIMAL_COMMA.fullmatch(v)]
    numbers = sum(_NUMBER.fullmatch(v) is not None for _, v in present)
    if not commas or numbers + len(commas) < len(present):
        return []
    index, value = commas[0]
    return [
        f"column {name!r} is written with decimal commas ({value!r} in row {rows[index]} of "
        f"{file}); write numbers with a decimal point"
    ]
