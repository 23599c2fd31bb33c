"""Tables as JSON, written some rows at a time: as text, numbers take ten times their memory."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping

import pyarrow as pa
import pyarrow.compute as pc

_NUMBERS_AT_ONCE = 131_072


def json_pieces(table: pa.Table, about: Mapping[str, object]) -> Iterator[bytes]:
    """Yield the text of a JSON object: what is true of all rows, and the list ``rows``.

    Parameters
    ----------
    table : pyarrow.Table
        The rows; what is not defined or not finite becomes null.
    about : mapping
        JSON-like, without a key ``rows``.
    """
    if "rows" in about:
        raise AssertionError("'rows' is the table's own key")
    opened = json.dumps(dict(about), allow_nan=False, separators=(",", ":"))[:-1]
    yield f'{opened}{"," if about else ""}"rows":['.encode()
    n_rows = max(1, _NUMBERS_AT_ONCE // max(1, sum(map(_width, table.schema.types))))
    for start in range(0, table.num_rows, n_rows):
        yield (("," if start else "") + _rows(table.slice(start, n_rows))).encode()
    yield b"]}"


def _width(kind: pa.DataType) -> int:
    return kind.list_size if pa.types.is_fixed_size_list(kind) else 1


def _rows(table: pa.Table) -> str:
    names = [json.dumps(name) for name in table.column_names]
    columns = [_texts(column.combine_chunks()) for column in table.columns]
    return ",".join(
        "{" + ",".join(f"{name}:{text}" for name, text in zip(names, row, strict=True)) + "}"
        for row in zip(*columns, strict=True)
    )


def _texts(column: pa.Array) -> list[str]:
    """Return each value's JSON; null for what is not defined or not finite."""
    kind = column.type
    if pa.types.is_floating(kind):
        # Arrow writes the shortest digits that give the same number, much faster than json.
        finite = pc.if_else(pc.is_finite(column), column, None)
        texts: list[str] = finite.cast(pa.string()).fill_null("null").to_pylist()
        return texts
    if pa.types.is_fixed_size_list(kind) and pa.types.is_floating(kind.value_type):
        return _vector_texts(column)
    return [json.dumps(_defined(value), allow_nan=False) for value in column.to_pylist()]


def _vector_texts(column: pa.FixedSizeListArray) -> list[str]:
    width = column.type.list_size
    numbers = iter(_texts(column.drop_null().flatten()))
    return [
        f"[{','.join(next(numbers) for _ in range(width))}]" if there else "null"
        for there in column.is_valid().to_pylist()
    ]


def _defined(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _defined(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_defined(entry) for entry in value]
    return value
