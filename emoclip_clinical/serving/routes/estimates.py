"""Features, or a video, to the estimate of a rating."""

from __future__ import annotations

from typing import Annotated

import pandas as pd
from fastapi import APIRouter, Query
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from emoclip_clinical.serving.answers import ARROW, JSON, check_accept, respond
from emoclip_clinical.serving.door import door_of
from emoclip_clinical.serving.estimate_schemas import EstimatesAnswer, FeaturesRequest
from emoclip_clinical.serving.json_bodies import media_type, read_json
from emoclip_clinical.serving.problems import Problem
from emoclip_clinical.serving.schemas import (
    BINARY,
    problems,
    reference,
    request_body,
    table_answer,
)

router = APIRouter()

Target = Annotated[
    str | None, Query(description="Which estimator is wanted, where there are several.")
]


@router.post(
    "/v1/estimates",
    summary="Estimate ratings, for research only",
    openapi_extra=request_body({JSON: reference(FeaturesRequest), ARROW: BINARY}),
    responses={
        200: table_answer("A row for each visit, as `predict` writes it", schema=EstimatesAnswer),
        **problems(400, 404, 406, 408, 413, 415, 422, 429, 504),
    },
    response_class=Response,
)
async def estimate(request: Request, target: Target = None) -> Response:
    """Estimate a rating, with an interval and a flag where the features lie out of range.

    From features, sent as JSON or as an Arrow stream with `features.json` under `source` in its
    schema's metadata.
    """
    door = door_of(request)
    check_accept(request, forms=(JSON, ARROW))
    if door.estimators is None:
        raise Problem(404, "this server has no estimator")
    one = door.estimators.choose(target)
    if media_type(request) != JSON:
        raise Problem(415, f"the body must be {JSON}")
    sent = await read_json(request, FeaturesRequest, config=door.config)
    rows = pd.DataFrame([row.model_dump() for row in sent.features])
    answer = await run_in_threadpool(
        door.estimators.estimate_rows, one, rows, source=sent.source or {}
    )
    return await respond(request, answer)
