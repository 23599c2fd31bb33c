"""What stands around every request: counting, one line of log, refusals at the end, bugs."""

from __future__ import annotations

import asyncio
import logging
import time
import traceback

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from emoclip_clinical.serving.access import OPEN_PATHS
from emoclip_clinical.serving.metrics import Metrics
from emoclip_clinical.serving.problems import Problem
from emoclip_clinical.serving.standing import Standing

LOG = logging.getLogger("emoclip_clinical.serving")

_METHODS = frozenset({"GET", "POST", "DELETE", "HEAD", "OPTIONS", "PUT", "PATCH"})
_NO_ANSWER = 499
_RETRY_SECONDS = 10.0


class Watched:
    """Outermost: count requests, and write a line for each that says nothing of its content.

    Parameters
    ----------
    app : ASGI application
        What answers.
    metrics : Metrics
        What hears of every answer.
    standing : Standing
        What knows how many requests are running.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics, standing: Standing) -> None:
        self._app = app
        self._metrics = metrics
        self._standing = standing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.monotonic()
        status, request_id = _NO_ANSWER, "-"

        async def heard(message: Message) -> None:
            nonlocal status, request_id
            if message["type"] == "http.response.start":
                status = message["status"]
                found = dict(message["headers"]).get(b"x-request-id", b"-")
                request_id = found.decode("latin-1")
            await send(message)

        try:
            with self._standing.running():
                await self._app(scope, receive, heard)
        finally:
            seconds = time.monotonic() - began
            # Templates and known names only: a path may hold anything.
            route = getattr(scope.get("route"), "path", "other")
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._metrics.request(method=method, route=route, status=status, seconds=seconds)
            LOG.info("%s %s %d %.0f ms %s", method, route, status, 1e3 * seconds, request_id)


class Answered:
    """Innermost: refuse work where it is too much or too late; answer bugs without their content.

    Parameters
    ----------
    app : ASGI application
        The routes.
    standing : Standing
        Whether the server is ending, or full.
    """

    def __init__(self, app: ASGIApp, *, standing: Standing) -> None:
        self._app = app
        self._standing = standing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        ending = Problem(503, "the server is ending", retry_after_seconds=_RETRY_SECONDS)
        if scope["type"] == "http" and scope["method"] == "POST" and self._standing.is_draining:
            await ending.response()(scope, receive, send)
            return
        if scope["type"] == "http" and self._standing.is_full and scope["path"] not in OPEN_PATHS:
            full = Problem(503, "too many requests at once", retry_after_seconds=_RETRY_SECONDS)
            await full.response()(scope, receive, send)
            return
        has_begun = False

        async def heard(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, heard)
        except asyncio.CancelledError:
            # It was not done in time before the server's end.
            if self._standing.is_draining and not has_begun:
                await ending.response()(scope, receive, send)
            raise
        except Exception as error:
            # The routes have answered 500. A message may hold content, lines of code do not.
            request_id = scope.get("state", {}).get("request_id", "-")
            frames = "".join(traceback.format_tb(error.__traceback__))
            LOG.error("a bug: %s in request %s\n%s", type(error).__name__, request_id, frames)
