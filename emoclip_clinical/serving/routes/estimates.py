"""Features, or a video, to the estimate of a rating."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any

import pandas as pd
from fastapi import APIRouter, Query
from pydantic import Field, TypeAdapter, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from emoclip_clinical.serving.access import owner_of
from emoclip_clinical.serving.answers import ARROW, JSON, Answer, check_accept, respond
from emoclip_clinical.serving.bodies import media_type
from emoclip_clinical.serving.config import ServingConfig
from emoclip_clinical.serving.door import Door, door_of
from emoclip_clinical.serving.estimate_schemas import EstimatesAnswer, FeaturesRequest, FeaturesRow
from emoclip_clinical.serving.estimates import ServedEstimator, ServedEstimators
from emoclip_clinical.serving.forms import FORM
from emoclip_clinical.serving.job_answers import answered
from emoclip_clinical.serving.jobs import SecondsDone
from emoclip_clinical.serving.json_bodies import read_json
from emoclip_clinical.serving.problems import Problem
from emoclip_clinical.serving.routes.videos import JOB
from emoclip_clinical.serving.schemas import (
    BINARY,
    problems,
    reference,
    request_body,
    table_answer,
)
from emoclip_clinical.serving.uploads import OCTETS, Kind, Upload, receive
from emoclip_clinical.serving.video_answers import about_video
from emoclip_clinical.serving.video_requests import WaitQuery
from emoclip_clinical.serving.waiting import unless_gone

router = APIRouter()

_KINDS: frozenset[Kind] = frozenset({"video", "arrow"})
_FEATURES = frozenset({JSON, ARROW})
_SOURCE = b"source"
_SOURCES: TypeAdapter[dict[str, Any] | None] = TypeAdapter(dict[str, Any] | None)
_VIDEO_FORM = {
    "type": "object",
    "properties": {"video": BINARY},
    "required": ["video"],
    "additionalProperties": False,
}


class EstimateQuery(WaitQuery):
    """What a request may say; how videos are read was settled when the estimator was fitted."""

    target: str | None = Field(
        default=None, description="Which estimator is wanted, where there are several."
    )


@router.post(
    "/v1/estimates",
    summary="Estimate ratings, for research only",
    openapi_extra=request_body(
        {
            JSON: reference(FeaturesRequest),
            ARROW: BINARY,
            "video/*": BINARY,
            OCTETS: BINARY,
            FORM: _VIDEO_FORM,
        }
    ),
    responses={
        200: table_answer("A row for each visit, as `predict` writes it", schema=EstimatesAnswer),
        **JOB,
        **problems(400, 404, 406, 408, 413, 415, 422, 429, 504, 507),
    },
    response_class=Response,
)
async def estimate(request: Request, query: Annotated[EstimateQuery, Query()]) -> Response:
    """Estimate a rating, with an interval and a flag where the features lie out of range.

    From features, sent as JSON or as an Arrow stream with the content of `features.json` under
    `source` in its schema's metadata; or from a video, which is read as the server reads videos.
    """
    door = door_of(request)
    check_accept(request, forms=(JSON, ARROW))
    wait_seconds = query.wait_seconds(door.config)
    if door.estimators is None:
        raise Problem(404, "this server has no estimator")
    one = door.estimators.choose(query.target)
    if media_type(request) == JSON:
        sent = await read_json(request, FeaturesRequest, config=door.config)
        rows = await run_in_threadpool(_frame, sent.features, config=door.config)
        return await _of_rows(request, door.estimators, one, rows, sent.source or {})
    if media_type(request) not in _FEATURES:
        # Before a large body is received for nothing.
        one.require_videos()
        door.reader.check(door.extraction)
    reserve = partial(door.jobs.reserve, owner_of(request))
    upload = await receive(request, config=door.config, kinds=_KINDS, reserve=reserve)
    if upload.kind == "arrow":
        return await _of_table(request, door, door.estimators, one, upload)
    work = partial(_of_video, door, door.estimators, one, upload)
    return await answered(
        request,
        door.jobs,
        work,
        wait_seconds=wait_seconds,
        release=upload.close,
        place=upload.place,
    )


async def _of_rows(
    request: Request,
    estimators: ServedEstimators,
    one: ServedEstimator,
    rows: pd.DataFrame,
    source: Mapping[str, Any],
) -> Response:
    answer = await run_in_threadpool(estimators.estimate_rows, one, rows, source=source)
    return await respond(request, answer)


def _frame(features: Sequence[FeaturesRow], *, config: ServingConfig) -> pd.DataFrame:
    """Return rows as a table; each may have columns that no other has."""
    rows = [row.model_dump() for row in features]
    n_columns = len(set().union(*rows))
    # A row that has every column takes more bytes of the body than this.
    most = config.max_json_bytes // 4
    if len(rows) * n_columns > most:
        raise Problem(
            413,
            f"features: {len(rows)} rows with {n_columns} different columns between them are "
            f"too many; at most {most} cells fit",
        )
    return pd.DataFrame(rows)


async def _of_table(
    request: Request,
    door: Door,
    estimators: ServedEstimators,
    one: ServedEstimator,
    upload: Upload,
) -> Response:
    try:
        table = await unless_gone(request, door.reader.read_table(upload.file))
    finally:
        upload.close()
    if table.num_rows == 0:
        raise Problem(422, "features: at least one row was wanted")
    source = _source((table.schema.metadata or {}).get(_SOURCE, b"null"))
    return await _of_rows(request, estimators, one, table.to_pandas(), source)


def _source(text: bytes) -> Mapping[str, Any]:
    try:
        return _SOURCES.validate_json(text) or {}
    except ValidationError:
        raise Problem(
            422, "source in the schema's metadata must be the content of features.json, as JSON"
        ) from None


async def _of_video(
    door: Door,
    estimators: ServedEstimators,
    one: ServedEstimator,
    upload: Upload,
    progress: SecondsDone,
) -> Answer:
    reading = await door.reader.read(
        upload.file,
        extraction=door.extraction,
        prompts=await door.prompts.own_vectors(),
        progress=progress,
    )
    answer = await run_in_threadpool(estimators.estimate_reading, one, reading)
    grid = door.reader.check(door.extraction)
    about = about_video(reading, extraction=door.extraction, grid=grid)
    return Answer(answer.table, {**answer.about, **about})
