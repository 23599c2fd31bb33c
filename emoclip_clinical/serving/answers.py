"""Answers that are tables, as JSON, as an Arrow stream or as an npy matrix."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from emoclip_clinical.serving.problems import Problem

JSON = "application/json"
ARROW = "application/vnd.apache.arrow.stream"
NPY = "application/x-npy"

EMBEDDING = "embedding"

_LARGE_BYTES = 32_768


@dataclass(frozen=True)
class Answer:
    """What a route found.

    Attributes
    ----------
    table : pyarrow.Table
        Its rows.
    about : mapping
        JSON-like facts about all rows.
    """

    table: pa.Table
    about: Mapping[str, object]

    @property
    def forms(self) -> tuple[str, ...]:
        """Media types that it can take."""
        return (JSON, ARROW, NPY) if EMBEDDING in self.table.column_names else (JSON, ARROW)


def chosen_form(accept: str | None, *, forms: Sequence[str]) -> str:
    """Choose what the client likes best of what there is (RFC 9110, section 12.5.1).

    Parameters
    ----------
    accept : str or None
        The header.
    forms : sequence of str
        Media types, the first being the default.

    Raises
    ------
    Problem
        406, listing the media types that there are.
    """
    if accept is None or not accept.strip():
        return forms[0]
    ranges = dict(_media_range(part) for part in accept.split(",") if part.strip())
    likings = [_liking(form, ranges) for form in forms]
    if max(likings) <= 0:
        raise Problem(406, f"this answer can be had as {', '.join(forms)}")
    return forms[likings.index(max(likings))]


def _media_range(text: str) -> tuple[str, float]:
    name, *parameters = (part.strip().lower() for part in text.split(";"))
    liking = 1.0
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            try:
                liking = float(value)
            except ValueError:
                liking = math.nan
    return name, liking if 0 <= liking <= 1 else 0.0


def _liking(form: str, ranges: Mapping[str, float]) -> float:
    # What is said of a type itself goes before what is said of its kind.
    for name in (form, f"{form.partition('/')[0]}/*", "*/*"):
        if name in ranges:
            return ranges[name]
    return 0.0


async def respond(request: Request, answer: Answer) -> Response:
    """Return an answer in the form that the request's Accept asks for.

    Parameters
    ----------
    request : Request
        For its header.
    answer : Answer
        The table; large ones are written in another thread.

    Raises
    ------
    Problem
        406; see `chosen_form`. Ask `check_accept` before long work.
    """
    form = chosen_form(request.headers.get("accept"), forms=answer.forms)
    if answer.table.nbytes > _LARGE_BYTES:
        body = await run_in_threadpool(written, answer, form)
    else:
        body = written(answer, form)
    return Response(body, media_type=form, headers={"Vary": "Accept"})


def check_accept(request: Request, *, forms: Sequence[str]) -> None:
    """Refuse what can not be answered before anything is computed; see `chosen_form`."""
    chosen_form(request.headers.get("accept"), forms=forms)


def written(answer: Answer, form: str) -> bytes:
    """Return an answer's body as `JSON`, `ARROW` or `NPY`."""
    if form == ARROW:
        return _arrow(answer)
    return _npy(answer) if form == NPY else _json(answer)


def _arrow(answer: Answer) -> bytes:
    table = answer.table.replace_schema_metadata({"about": json.dumps(answer.about)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _npy(answer: Answer) -> bytes:
    column = answer.table[EMBEDDING].drop_null().combine_chunks()
    width = answer.table.schema.field(EMBEDDING).type.list_size
    matrix = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
    file = io.BytesIO()
    np.save(file, matrix.astype(np.float32, copy=False), allow_pickle=False)
    return file.getvalue()


def _json(answer: Answer) -> bytes:
    if "rows" in answer.about:
        raise AssertionError("'rows' is the table's own key")
    names = [json.dumps(name) for name in answer.table.column_names]
    columns = [_texts(column.combine_chunks()) for column in answer.table.columns]
    rows = (
        "{" + ",".join(f"{name}:{text}" for name, text in zip(names, row, strict=True)) + "}"
        for row in zip(*columns, strict=True)
    )
    about = json.dumps(dict(answer.about), allow_nan=False, separators=(",", ":"))
    opened = about[:-1] + ("," if answer.about else "")
    return f'{opened}"rows":[{",".join(rows)}]}}'.encode()


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
