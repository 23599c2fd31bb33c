"""Tables as JSON and raw columns, which no reader of files is needed for.

What a process sends back after it has opened a hostile file may itself be hostile. Here a table is
a list of columns whose lengths are checked before anything is made of them; text stands in JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from emoclip_clinical.records import KEY_COLUMNS, InputError
from emoclip_clinical.serving.isolation.messages import Message, ProtocolError
from emoclip_clinical.serving.isolation.orders import MOST_TABLE_BYTES

_NUMBERS: Mapping[str, tuple[pa.DataType, np.dtype[Any]]] = {
    "int32": (pa.int32(), np.dtype("<i4")),
    "int64": (pa.int64(), np.dtype("<i8")),
    "float32": (pa.float32(), np.dtype("<f4")),
    "float64": (pa.float64(), np.dtype("<f8")),
}
_WORDS = {"string": pa.string(), "bool": pa.bool_()}
_VECTORS = "vectors"
_FLOATS = frozenset({"float32", "float64"})
_NAMES = {kind: name for name, (kind, _) in _NUMBERS.items()} | {
    kind: name for name, kind in _WORDS.items()
}
_TOLD_APART_BY = frozenset({*KEY_COLUMNS, "interview", "n_ok", "status", "embedding"})
"""Columns without which rows would be read as those of somebody or something else."""
_OTHER_TYPE = (
    "must hold numbers, text, truth values or lists of floating numbers; it holds another type of "
    "Arrow"
)
MOST_COLUMNS = 20_000
_MOST_WIDTH = 65_536

Columns = list[dict[str, Any]]


def pack_table(table: pa.Table) -> tuple[Columns, list[bytes]]:
    """Turn a table into JSON and bytes.

    Parameters
    ----------
    table : pyarrow.Table
        Columns of int32, int64, float32, float64, string or bool, or fixed-size lists of float32
        or float64; with nulls where there are any, but none within a list.

    Returns
    -------
    columns : list of dict
        For `unpack_table`.
    parts : list of bytes
        The payload.
    """
    columns: Columns = []
    parts: list[bytes] = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        kind = _NAMES.get(column.type, _VECTORS)
        if kind in _NUMBERS:
            valid = column.is_valid().to_numpy(zero_copy_only=False)
            values = pc.fill_null(column, pa.scalar(0, type=column.type))
            numbers = np.asarray(values.to_numpy(), dtype=_NUMBERS[kind][1])
            columns.append({"name": name, "type": kind})
            parts += [numbers.tobytes(), valid.astype(np.bool_).tobytes()]
        elif kind in _WORDS:
            columns.append({"name": name, "type": kind, "values": column.to_pylist()})
        else:
            width, number = column.type.list_size, _NAMES[column.type.value_type]
            columns.append({"name": name, "type": kind, "width": width, "number": number})
            valid = column.is_valid().to_numpy(zero_copy_only=False)
            flat = column.combine_chunks().drop_null().flatten().to_numpy()
            parts += [
                valid.astype(np.bool_).tobytes(),
                np.asarray(flat, dtype=_NUMBERS[number][1]).tobytes(),
            ]
    return columns, parts


def unpack_table(message: Message, name: str, *, start: int = 0) -> tuple[pa.Table, int]:
    """Make a table of what `pack_table` made of one.

    Parameters
    ----------
    message : Message
        Its field `name` is ``{"n_rows": …, "columns": …}``.
    name : str
        Which field.
    start : int
        Where in the payload its numbers begin.

    Returns
    -------
    table : pyarrow.Table
    end : int
        Where in the payload its numbers end.

    Raises
    ------
    ProtocolError
        If it is anything else.
    """
    described = message.fields.get(name)
    if not isinstance(described, dict):
        raise ProtocolError(f"{name} is no table")
    n_rows, columns = described.get("n_rows"), described.get("columns")
    if type(n_rows) is not int or n_rows < 0 or not isinstance(columns, list):
        raise ProtocolError(f"{name} is no table")
    if len(columns) > MOST_COLUMNS or not all(isinstance(c, dict) for c in columns):
        raise ProtocolError(f"{name} is no table")
    cutter = _Cutter(message.payload, start)
    made: dict[str, pa.Array] = {}
    for column in columns:
        title = column.get("name")
        if not isinstance(title, str) or title in made:
            raise ProtocolError(f"{name} names a column in no way, or two alike")
        made[title] = _column(column, n_rows, cutter)
    return pa.table(made), cutter.at


def described(table: pa.Table, columns: Columns) -> Mapping[str, Any]:
    """Return the field that `unpack_table` reads."""
    return {"n_rows": table.num_rows, "columns": columns}


class _Cutter:
    def __init__(self, payload: memoryview, start: int) -> None:
        self._payload = payload
        self.at = start

    def take(self, count: int, kind: np.dtype[Any]) -> np.ndarray:
        end = self.at + count * kind.itemsize
        if end > len(self._payload):
            raise ProtocolError("a table's numbers end too early")
        piece = np.frombuffer(self._payload[self.at : end], dtype=kind)
        self.at = end
        return piece


def _column(column: Mapping[str, Any], n_rows: int, cutter: _Cutter) -> pa.Array:
    kind = str(column.get("type"))
    if kind in _NUMBERS:
        arrow, number = _NUMBERS[kind]
        values = cutter.take(n_rows, number)
        valid = cutter.take(n_rows, np.dtype(np.uint8)) != 0
        return pa.array(values, type=arrow, mask=~valid)
    if kind in _WORDS:
        words = column.get("values")
        if not isinstance(words, list) or len(words) != n_rows:
            raise ProtocolError("a column has another length than its table")
        try:
            return pa.array(words, type=_WORDS[kind])
        except (pa.ArrowException, UnicodeEncodeError):
            raise ProtocolError("a column holds something else than it says") from None
    if kind != _VECTORS:
        raise ProtocolError("a column has a type that there is not")
    return _vectors(column, n_rows, cutter)


def _vectors(column: Mapping[str, Any], n_rows: int, cutter: _Cutter) -> pa.Array:
    width, name = column.get("width"), column.get("number")
    if type(width) is not int or not 1 <= width <= _MOST_WIDTH or name not in _FLOATS:
        raise ProtocolError("a column has a type that there is not")
    number = _NUMBERS[str(name)][1]
    valid = cutter.take(n_rows, np.dtype(np.uint8)) != 0
    there = cutter.take(int(valid.sum()) * width, number)
    if valid.all():
        return pa.FixedSizeListArray.from_arrays(pa.array(there), width)
    if n_rows * width * number.itemsize > MOST_TABLE_BYTES:
        raise ProtocolError("a column of vectors is larger than a table")
    return _spread(there.reshape(-1, width), valid)


class _OtherTypeError(Exception):
    """A column that no plain type can hold; says what was wanted."""


def plain_table(table: pa.Table) -> pa.Table:
    """Give a table from outside types that `pack_table` knows.

    Parameters
    ----------
    table : pyarrow.Table
        Numbers, text and truth values of any width, dictionaries of them included; lists of
        floating numbers, all of one length, in which null stands for NaN. Other columns are left
        aside.

    Returns
    -------
    pyarrow.Table

    Raises
    ------
    InputError
        For too many columns and two of one name, and listing every column of another type that
        is not left aside: those by which rows are told apart.
    """
    names = table.column_names
    if len(names) > MOST_COLUMNS:
        raise InputError(f"a table may have at most {MOST_COLUMNS} columns, got {len(names)}")
    if len(set(names)) < len(names):
        raise InputError("two columns have the same name")
    faults: list[str] = []
    made: dict[str, pa.Array] = {}
    for name, column in zip(names, table.columns, strict=True):
        try:
            made[name] = _plain_column(column)
        except _OtherTypeError as error:
            if name in _TOLD_APART_BY:
                faults.append(f"column {name!r} {error}")
    if names and not (made or faults):
        faults.append(
            "no column can be read as numbers, text, truth values or lists of floating numbers"
        )
    if faults:
        raise InputError(faults)
    return pa.table(made)


def _plain_column(column: pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    if _is_vectors(column.type):
        width = _common_width(column)
        if width is None:
            raise _OtherTypeError("must hold lists of one length")
        if len(column) * width * column.type.value_type.bit_width // 8 > MOST_TABLE_BYTES:
            raise _OtherTypeError(f"takes more than {MOST_TABLE_BYTES // 2**20} MiB")
        return _plain_vectors(column, width)
    wanted = _plain_type(column.type)
    if wanted is None:
        raise _OtherTypeError(_OTHER_TYPE)
    try:
        return column.cast(wanted)
    except pa.ArrowException:
        raise _OtherTypeError(f"holds values that can not be read as {wanted}") from None


def _is_vectors(kind: pa.DataType) -> bool:
    tests = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(test(kind) for test in tests) and pa.types.is_floating(kind.value_type)


def _common_width(column: pa.ChunkedArray) -> int | None:
    """Return the length of a column's lists; None where they have several, or none is there."""
    widths = pc.unique(pc.list_value_length(column.drop_null())).to_pylist()
    return widths[0] if len(widths) == 1 and 1 <= widths[0] <= _MOST_WIDTH else None


def _plain_vectors(column: pa.ChunkedArray, width: int) -> pa.Array:
    number = _plain_type(column.type.value_type)
    flat = pc.list_flatten(column.drop_null().combine_chunks()).cast(number)
    there = pc.fill_null(flat, float("nan")).to_numpy(zero_copy_only=False)
    valid = column.is_valid().to_numpy()
    return _spread(there.reshape(-1, width), valid)


def _spread(there: np.ndarray, valid: np.ndarray) -> pa.Array:
    """Return vectors as a column, in whose other rows there are none."""
    whole = np.zeros((len(valid), there.shape[1]), dtype=there.dtype)
    whole[valid] = there
    return pa.FixedSizeListArray.from_arrays(
        pa.array(whole.reshape(-1)), there.shape[1], mask=pa.array(~valid)
    )


def _plain_type(kind: pa.DataType) -> pa.DataType | None:
    if pa.types.is_dictionary(kind):
        return _plain_type(kind.value_type)
    tests: Sequence[tuple[Any, pa.DataType]] = (
        (pa.types.is_boolean, pa.bool_()),
        (pa.types.is_float32, pa.float32()),
        (pa.types.is_floating, pa.float64()),
        (pa.types.is_integer, pa.int64()),
        (pa.types.is_string, pa.string()),
        (pa.types.is_large_string, pa.string()),
        (pa.types.is_string_view, pa.string()),
        (pa.types.is_null, pa.float64()),
    )
    return next((plain for test, plain in tests if test(kind)), None)
