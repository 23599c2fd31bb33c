"""Whether the server lives, whether it takes requests, and its figures."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from emoclip_clinical.serving.door import door_of
from emoclip_clinical.serving.metrics import CONTENT_TYPE
from emoclip_clinical.serving.openapi_page import PAGE_POLICY, openapi_page
from emoclip_clinical.serving.problems import Problem
from emoclip_clinical.serving.schemas import Standing, problems

router = APIRouter()


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz", summary="Whether the server lives", responses=problems())
async def healthz(request: Request) -> Standing:
    """Answer at once while the server lives, also while it ends; HEAD is answered, too."""
    if not door_of(request).model.is_alive:
        raise Problem(503, "a thread that encodes has ended", retry_after_seconds=60)
    return Standing(status="alive")


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", summary="Whether the server takes requests", responses=problems())
async def readyz(request: Request) -> Standing:
    """Answer 503 from the moment at which the server begins to end; HEAD is answered, too."""
    door = door_of(request)
    if door.standing.is_draining or not door.model.is_alive:
        raise Problem(503, "the server is ending", retry_after_seconds=60)
    return Standing(status="ready")


@router.get(
    "/metrics",
    summary="Figures for Prometheus",
    responses={
        200: {"description": "Figures", "content": {"text/plain": {"schema": {"type": "string"}}}},
        **problems(),
    },
    response_class=Response,
)
async def metrics(request: Request) -> Response:
    """Return counts and times of requests, batches and jobs, in Prometheus' text format."""
    return Response(door_of(request).metrics.text(), media_type=CONTENT_TYPE)


@router.get("/docs", include_in_schema=False)
async def docs(request: Request) -> Response:
    """Return openapi.json as a page to read, without a script."""
    page = openapi_page(request.app.openapi())
    return HTMLResponse(page, headers={"Content-Security-Policy": PAGE_POLICY})
