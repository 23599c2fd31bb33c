"""Features, or a video, to the estimate of a rating."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from emoclip_clinical.serving.answers import ARROW, JSON, Answer, check_accept, respond
from emoclip_clinical.serving.bodies import media_type
from emoclip_clinical.serving.desk import Wanted
from emoclip_clinical.serving.door import Door, door_of
from emoclip_clinical.serving.estimate_schemas import EstimatesAnswer, FeaturesRequest
from emoclip_clinical.serving.estimates import ServedEstimator, ServedEstimators
from emoclip_clinical.serving.forms import FORM
from emoclip_clinical.serving.job_answers import answered
from emoclip_clinical.serving.jobs import SecondsDone
from emoclip_clinical.serving.json_bodies import receive_json
from emoclip_clinical.serving.problems import Problem
from emoclip_clinical.serving.query_keys import each_key_once
from emoclip_clinical.serving.routes.videos import JOB
from emoclip_clinical.serving.schemas import (
    BINARY,
    problems,
    reference,
    request_body,
    table_answer,
)
from emoclip_clinical.serving.sent_rows import arrow_rows, json_rows
from emoclip_clinical.serving.uploads import OCTETS, Kind, Upload, receive
from emoclip_clinical.serving.video_answers import about_video
from emoclip_clinical.serving.video_requests import WaitQuery
from emoclip_clinical.serving.waiting import unless_gone

router = APIRouter(dependencies=[Depends(each_key_once)])

_KINDS: frozenset[Kind] = frozenset({"video", "arrow"})
_FEATURES = frozenset({JSON, ARROW})
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
    An estimator of mean embeddings takes the rows of `embeddings.parquet` as an Arrow stream,
    with lists of floating numbers in a column `embedding`.
    """
    door = door_of(request)
    check_accept(request, forms=(JSON, ARROW))
    wait_seconds = query.wait_seconds(door.config)
    if door.estimators is None:
        raise Problem(404, "this server has no estimator")
    one = door.estimators.choose(query.target)
    if media_type(request) == JSON:
        content = await receive_json(request, config=door.config)
        answer = await unless_gone(request, _of_json(door, door.estimators, one, content))
        return await respond(request, answer)
    if media_type(request) not in _FEATURES:
        # Before a large body is received for nothing.
        one.require_videos()
        door.reader.check(door.extraction)
    upload = await receive(request, config=door.config, kinds=_KINDS)
    if upload.kind == "arrow":
        try:
            answer = await unless_gone(request, _of_table(door, door.estimators, one, upload))
        finally:
            upload.close()
        return await respond(request, answer)
    work = partial(_of_video, door, door.estimators, one, upload)
    return await answered(request, door.jobs, work, wait_seconds=wait_seconds, release=upload.close)


async def _of_json(
    door: Door, estimators: ServedEstimators, one: ServedEstimator, content: bytes
) -> Answer:
    def work(wanted: Wanted) -> Answer:
        sent = json_rows(content, config=door.config, wanted=wanted)
        wanted()
        return estimators.estimate_rows(one, sent.rows, source=sent.source, wanted=wanted)

    async with door.desk.turn():
        return await door.desk.do(work)


async def _of_table(
    door: Door, estimators: ServedEstimators, one: ServedEstimator, upload: Upload
) -> Answer:
    async with door.desk.turn():
        table = await door.reader.read_table(upload.file, most_rows=door.config.max_rows)

        def work(wanted: Wanted) -> Answer:
            sent = arrow_rows(table, config=door.config)
            wanted()
            return estimators.estimate_rows(one, sent.rows, source=sent.source, wanted=wanted)

        return await door.desk.do(work)


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
