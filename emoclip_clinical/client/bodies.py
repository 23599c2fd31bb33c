"""What a request carries: made anew for each try, sent in pieces, without any file's name."""

from __future__ import annotations

import io
import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from emoclip_clinical.records import InputError, Progress, PromptSet, no_progress

ARROW = "application/vnd.apache.arrow.stream"
JSON = "application/json"
NPY = "application/x-npy"
VIDEO = "application/octet-stream"

_PIECE_BYTES = 2**20


@dataclass(frozen=True)
class Body:
    """The body of a request.

    Attributes
    ----------
    media_type : str
        Its Content-Type.
    length : int
        Bytes.
    pieces : callable
        Begins it again; each try of a request calls it once.
    """

    media_type: str
    length: int
    pieces: Callable[[], Iterator[bytes]]


def json_body(content: object) -> Body:
    """Return a JSON body."""
    return _whole(json.dumps(content).encode(), media_type=JSON)


def _whole(data: bytes, *, media_type: str) -> Body:
    return Body(media_type, len(data), lambda: iter([data]))


def npy_body(array: np.ndarray) -> Body:
    """Return an array in npy format.

    Parameters
    ----------
    array : ndarray
        Its values are not copied as a whole.
    """
    values = np.ascontiguousarray(array)
    head = io.BytesIO()
    description = {"descr": values.dtype.str, "fortran_order": False, "shape": values.shape}
    np.lib.format.write_array_header_1_0(head, description)

    def pieces() -> Iterator[bytes]:
        yield head.getvalue()
        flat = values.reshape(-1).view(np.uint8)
        for start in range(0, flat.size, _PIECE_BYTES):
            yield flat[start : start + _PIECE_BYTES].tobytes()

    return Body(NPY, len(head.getvalue()) + values.nbytes, pieces)


def arrow_body(frame: pd.DataFrame, *, source: Mapping[str, object] | None) -> Body:
    """Return a table as an Arrow stream.

    Parameters
    ----------
    frame : DataFrame
        NaN is sent as null. Columns of a type that Arrow does not have are not sent.
    source : mapping, optional
        What made the table, kept as JSON in the schema's metadata under ``source``; numpy's
        numbers and arrays count as numbers and lists.

    Raises
    ------
    InputError
        If a column stands twice or has values of several kinds, or `source` holds what JSON has
        no word for.
    """
    if not isinstance(frame, pd.DataFrame):
        raise InputError(f"features must be a DataFrame, got {type(frame).__name__}")
    names = frame.columns.map(str)
    if twice := sorted(set(names[names.duplicated()])):
        raise InputError([f"features: column {name!r} stands twice" for name in twice])
    columns = {str(name): _arrow_column(column) for name, column in frame.items()}
    sent = {name: column for name, column in columns.items() if column is not None}
    metadata = None if source is None else {"source": _source_text(source)}
    table = pa.table(sent, metadata=metadata)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return _whole(sink.getvalue().to_pybytes(), media_type=ARROW)


def _arrow_column(column: pd.Series) -> pa.Array | pa.ChunkedArray | None:
    """Return a column for Arrow, None where Arrow has no such type."""
    kind = column.dtype
    if isinstance(kind, np.dtype) and not kind.isnative:
        column = column.astype(kind.newbyteorder("="))
    try:
        return pa.array(column, from_pandas=True)
    except (pa.ArrowException, ValueError, TypeError) as error:
        if kind != np.dtype(object):
            return None
        raise InputError(
            f"features: column {str(column.name)!r} has values of several kinds: {error}"
        ) from None


def _source_text(source: Mapping[str, object]) -> str:
    try:
        return json.dumps(source, default=_plain)
    except (TypeError, ValueError) as error:
        raise InputError(f"source must be the content of features.json: {error}") from None


def _plain(value: object) -> object:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is no value of JSON")


def video_body(path: str | Path, *, progress: Progress = no_progress) -> Body:
    """Return a video file, which is read while it is sent.

    Parameters
    ----------
    path : path
        The file; its name stays here.
    progress : callable
        Told of the bytes that were sent, as the task ``upload``.

    Raises
    ------
    InputError
        If there is no such file, or it is empty.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path.name}: no such video file")
    length = path.stat().st_size
    if length == 0:
        raise InputError(f"{path.name}: the file is empty")

    def pieces() -> Iterator[bytes]:
        left = length
        with path.open("rb") as file:
            while left and (piece := file.read(min(_PIECE_BYTES, left))):
                left -= len(piece)
                yield piece
                progress("upload", length - left, length)
        if left:
            raise InputError(f"{path.name}: the file became shorter while it was sent")

    return Body(VIDEO, length, pieces)


def prompts_body(prompts: PromptSet) -> Body:
    """Return a prompt set with the keys of a prompt file that scoring needs."""
    return json_body(
        {
            "name": prompts.name,
            "classes": {name: list(texts) for name, texts in prompts.classes.items()},
            "compounds": {name: list(parts) for name, parts in prompts.compounds.items()},
        }
    )


def form_body(parts: Mapping[str, Body]) -> Body:
    """Return several bodies as one ``multipart/form-data`` (RFC 7578).

    Parameters
    ----------
    parts : mapping of str to Body
        By the name of the part, which is sent as its file name, too.
    """
    # Too long to be met by chance within a part.
    boundary = secrets.token_hex(24)
    heads = {
        name: (
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{name}"\r\n'
            f"Content-Type: {part.media_type}\r\n\r\n"
        ).encode()
        for name, part in parts.items()
    }
    end = f"--{boundary}--\r\n".encode()

    def pieces() -> Iterator[bytes]:
        for name, part in parts.items():
            yield heads[name]
            yield from part.pieces()
            yield b"\r\n"
        yield end

    length = sum(len(heads[name]) + part.length + 2 for name, part in parts.items()) + len(end)
    return Body(f"multipart/form-data; boundary={boundary}", length, pieces)
