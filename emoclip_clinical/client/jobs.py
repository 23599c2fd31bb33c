"""Waiting for a job: a video whose answer takes longer than a request should be open."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import httpx2

from emoclip_clinical.client.connection import Connection
from emoclip_clinical.client.errors import ServerError
from emoclip_clinical.records import Progress

_ENDED = ("done", "failed", "cancelled")
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.2, 5.0
_CANCEL_SECONDS = 2.0


def finished(
    connection: Connection, response: httpx2.Response, *, accept: str, progress: Progress
) -> httpx2.Response:
    """Return the answer itself, waiting for the job where the server has made one.

    Parameters
    ----------
    connection : Connection
    response : httpx2.Response
        The first answer: the result, or 202 and a job.
    accept : str
        Media type of the result.
    progress : callable
        Told of the seconds of the video that were read, as the task ``video``.

    Returns
    -------
    httpx2.Response
        The result; the server has been asked to delete it.

    Raises
    ------
    ServerError
        If the job fails, is cancelled by another, or is not known any more.
    """
    if response.status_code != HTTPStatus.ACCEPTED:
        return response
    # Not the header Location: where the job lies is known, and is no other server.
    path = f"/v1/jobs/{quote(str(response.json()['job']), safe='')}"
    try:
        state = _wait(connection, path, progress=progress)
        # Of a job that failed, this is the refusal that it ended with, whenever it is asked for.
        patience = 0.0 if state == "failed" else None
        result = connection.ask("GET", f"{path}/result", accept=accept, patience_seconds=patience)
    except BaseException:
        # Also for KeyboardInterrupt: nobody will come for it.
        _forget(connection, path)
        raise
    _forget(connection, path)
    return result


def _wait(connection: Connection, path: str, *, progress: Progress) -> str:
    """Return how the job ended."""
    pause = _FIRST_PAUSE_SECONDS
    while True:
        try:
            job: Mapping[str, Any] = connection.ask("GET", path).json()
        except ServerError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            raise ServerError(
                error.status, ["the job is gone: was the server started anew?"]
            ) from error
        if job.get("seconds_total"):
            progress("video", int(job.get("seconds_done") or 0), int(job["seconds_total"]))
        if job["state"] in _ENDED:
            return str(job["state"])
        time.sleep(pause)
        pause = min(1.5 * pause, _LONGEST_PAUSE_SECONDS)


def _forget(connection: Connection, path: str) -> None:
    """Cancel the job or delete its result; the server does so itself after a while."""
    with contextlib.suppress(ServerError, OSError):
        connection.ask("DELETE", path, patience_seconds=_CANCEL_SECONDS)
