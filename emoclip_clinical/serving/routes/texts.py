"""Texts to vectors."""

from __future__ import annotations

import pyarrow as pa
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from emoclip_clinical.features.layout import vector_column
from emoclip_clinical.serving.answers import (
    ARROW,
    EMBEDDING,
    JSON,
    NPY,
    Answer,
    check_accept,
    respond,
)
from emoclip_clinical.serving.bodies import media_type
from emoclip_clinical.serving.door import Door, door_of
from emoclip_clinical.serving.json_bodies import read_json
from emoclip_clinical.serving.problems import Problem, shortened
from emoclip_clinical.serving.schemas import (
    BINARY,
    EmbeddingsAnswer,
    TextsRequest,
    problems,
    reference,
    request_body,
    table_answer,
)
from emoclip_clinical.serving.uploads import receive
from emoclip_clinical.serving.waiting import unless_gone

router = APIRouter()


@router.post(
    "/v1/embeddings/text",
    summary="Embed texts",
    openapi_extra=request_body({JSON: reference(TextsRequest), ARROW: BINARY}),
    responses={
        200: table_answer("A row for each text, L2-normalised", schema=EmbeddingsAnswer, npy=True),
        **problems(400, 406, 408, 413, 415, 422, 429, 504),
    },
    response_class=Response,
)
async def embed_texts(request: Request) -> Response:
    """Embed texts, sent as JSON or as an Arrow stream with a column `text`."""
    door = door_of(request)
    check_accept(request, forms=(JSON, ARROW, NPY))
    texts = await _texts(request, door)
    _check_number(len(texts), door)
    vectors = await unless_gone(request, door.model.encode_texts(texts))
    table = pa.table({EMBEDDING: vector_column(vectors)})
    return await respond(request, Answer(table, {"model": door.model.about}))


async def _texts(request: Request, door: Door) -> list[str]:
    kind = media_type(request)
    if kind == JSON:
        return (await read_json(request, TextsRequest, config=door.config)).texts
    if kind != ARROW:
        raise Problem(415, f"the body must be {JSON} or {ARROW}")
    upload = await receive(request, config=door.config, kinds=frozenset({"arrow"}))
    try:
        # Millions of rows go into a small stream.
        work = door.reader.read_table(upload.file, most_rows=door.config.max_texts)
        table = await unless_gone(request, work)
    finally:
        upload.close()
    return _column(table)


def _check_number(n_texts: int, door: Door) -> None:
    most = door.config.max_texts
    if n_texts > most:
        raise Problem(413, f"a request may hold at most {most} texts, got {n_texts}")


def _column(table: pa.Table) -> list[str]:
    if "text" not in table.column_names or not pa.types.is_string(table["text"].type):
        raise Problem(422, "the stream must have a column text of type string")
    texts: list[str | None] = table["text"].to_pylist()
    if missing := [f"text {i} is null" for i, text in enumerate(texts) if text is None]:
        raise Problem(422, shortened(missing))
    return [text for text in texts if text is not None]
