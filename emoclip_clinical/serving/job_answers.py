"""What is answered while a job runs, and when it is over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from emoclip_clinical.serving.access import owner_of
from emoclip_clinical.serving.answers import respond
from emoclip_clinical.serving.jobs import Job, Jobs, Place, State, Work, nothing
from emoclip_clinical.serving.problems import Problem
from emoclip_clinical.serving.waiting import unless_gone

_POLL_SECONDS = 1
_ENDING_SECONDS = 10.0


class JobDescription(BaseModel):
    """How far a job is."""

    job: str = Field(description="Its id, which nobody guesses.")
    state: State
    seconds_done: float = Field(description="Seconds of video that were read.")
    seconds_total: float | None = Field(description="Of the video; null where not known yet.")
    expires_in_seconds: float | None = Field(
        description="When its result is deleted; null before it is over."
    )
    faults: list[str] = Field(description="Why it failed.")


async def answered(
    request: Request,
    jobs: Jobs,
    work: Work,
    *,
    wait_seconds: float,
    release: Callable[[], None] = nothing,
    place: Place | None = None,
) -> Response:
    """Do work as a job, and answer with its result where it is there in time, else with the job.

    Parameters
    ----------
    request : Request
        Its body has been read.
    jobs : Jobs
        The store.
    work : callable
        Makes the answer.
    wait_seconds : float
        How long the client waits.
    release, place
        See `Jobs.start`.

    Returns
    -------
    Response
        The answer; or 202 with the job and its address.

    Raises
    ------
    Problem
        429; 503 at the server's end; or what the job ended with.
    ClientGoneError
        If the client hung up while it waited; the job is cancelled.
    """
    job = jobs.start(work, owner=owner_of(request), release=release, place=place)
    try:
        await asyncio.wait_for(_over(request, job), wait_seconds)
    except TimeoutError:
        if not job.is_over:
            return accepted(jobs, job)
    except BaseException:
        await jobs.delete(job)
        raise
    # Its id was never told: nobody can ask again.
    await jobs.delete(job)
    if job.state == "cancelled":
        raise Problem(503, "the server is ending", retry_after_seconds=_ENDING_SECONDS)
    return await respond(request, job.result())


async def _over(request: Request, job: Job) -> None:
    # Where nobody waits this never begins, and makes no coroutine that is never awaited.
    await unless_gone(request, job.wait())


def accepted(jobs: Jobs, job: Job) -> Response:
    """Return 202 with a job and its address."""
    headers = {"Location": f"/v1/jobs/{job.id}", "Retry-After": str(_POLL_SECONDS)}
    return JSONResponse(description(jobs, job).model_dump(), 202, headers=headers)


def description(jobs: Jobs, job: Job) -> JobDescription:
    """Return what is told of a job."""
    return JobDescription(
        job=job.id,
        state=job.state,
        seconds_done=round(job.seconds_done, 3),
        seconds_total=round(job.seconds_total, 3) or None,
        expires_in_seconds=jobs.expires_in(job),
        faults=list(job.faults),
    )
