"""Answers that are tables, as JSON, as an Arrow stream or as an npy matrix."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from emoclip_clinical.serving.door import door_of
from emoclip_clinical.serving.json_tables import json_pieces
from emoclip_clinical.serving.piecewise import Piecewise
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
        The table; large ones are written in another thread, few at a time, and as JSON piece by
        piece while they are sent.

    Raises
    ------
    Problem
        406; see `chosen_form`. Ask `check_accept` before long work.
    """
    form = chosen_form(request.headers.get("accept"), forms=answer.forms)
    headers = {"Vary": "Accept"}
    if answer.table.nbytes <= _LARGE_BYTES:
        return Response(written(answer, form), media_type=form, headers=headers)
    writing = door_of(request).writing
    if form == JSON:
        pieces = json_pieces(answer.table, answer.about)
        return Piecewise(pieces, writing=writing, media_type=form, headers=headers)
    async with writing:
        body = await run_in_threadpool(written, answer, form)
    return Response(body, media_type=form, headers=headers)


def check_accept(request: Request, *, forms: Sequence[str]) -> None:
    """Refuse what can not be answered before anything is computed; see `chosen_form`."""
    chosen_form(request.headers.get("accept"), forms=forms)


def written(answer: Answer, form: str) -> bytes:
    """Return an answer's body as `JSON`, `ARROW` or `NPY`."""
    if form == ARROW:
        return _arrow(answer)
    return _npy(answer) if form == NPY else b"".join(json_pieces(answer.table, answer.about))


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
