"""How far long work is, its result, and its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from emoclip_clinical.serving.access import owner_of
from emoclip_clinical.serving.answers import respond
from emoclip_clinical.serving.door import door_of
from emoclip_clinical.serving.job_answers import JobDescription, description
from emoclip_clinical.serving.jobs import Job
from emoclip_clinical.serving.piecewise import hung_up
from emoclip_clinical.serving.schemas import problems, table_answer

router = APIRouter()


@router.get("/v1/jobs/{job}", summary="How far a job is", responses=problems(404))
async def job_state(request: Request, job: str) -> JobDescription:
    """Tell a job's state and how many seconds of its video are read."""
    jobs = door_of(request).jobs
    found = _job(request, job)
    told = description(jobs, found)
    if found.is_over and found.state != "done":
        # It has no result: with this everything is told.
        jobs.note_read(found)
    return told


@router.get(
    "/v1/jobs/{job}/result",
    summary="The result of a job",
    responses={
        200: table_answer("What the request would have been answered", npy=True),
        **problems(404, 406, 409, 413, 422, 504),
    },
    response_class=Response,
)
async def job_result(request: Request, job: str) -> Response:
    """Answer what the request asked for; a minute after that the result is deleted.

    Where the job failed, this fails as the request would have.
    """
    jobs = door_of(request).jobs
    found = _job(request, job)
    if found.is_over and found.state != "done":
        jobs.note_read(found)
    answer = await respond(request, found.result())
    return _Watched(answer, sent=lambda: jobs.note_read(found))


@router.delete(
    "/v1/jobs/{job}",
    summary="Cancel a job, or delete its result",
    status_code=204,
    responses=problems(404),
    response_class=Response,
)
async def delete_job(request: Request, job: str) -> Response:
    """End a job's work at once and delete what there is of it."""
    jobs = door_of(request).jobs
    await jobs.delete(_job(request, job))
    return Response(status_code=204)


def _job(request: Request, job: str) -> Job:
    return door_of(request).jobs.find(job, owner=owner_of(request))


class _Watched(Response):
    """Sends another response, and notices whether the client was there to its end."""

    def __init__(self, response: Response, *, sent: Callable[[], None]) -> None:
        super().__init__()
        self._response = response
        self._sent = sent

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send."""
        gone = asyncio.ensure_future(hung_up(receive))

        async def send_apart(message: Message) -> None:
            # The end goes by itself: uvicorn takes it when most of the body has left its buffer.
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                await send({**message, "more_body": True})
                message = {"type": "http.response.body"}
            await send(message)

        try:
            await self._response(scope, receive, send_apart)
            if not gone.done():
                self._sent()
        finally:
            gone.cancel()
