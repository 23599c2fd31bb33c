"""Bodies of requests: so many at once, each within a size, and none too slow."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress

from starlette.requests import Request

from emoclip_clinical.serving.access import owner_of
from emoclip_clinical.serving.answers import ARROW, JSON, NPY
from emoclip_clinical.serving.config import ServingConfig
from emoclip_clinical.serving.places import Places
from emoclip_clinical.serving.problems import Problem

_READ_ON_BYTES = 4 * 2**20
_READ_ON_SECONDS = 1.0
_SMALL = frozenset({JSON, NPY, ARROW})


def media_type(request: Request) -> str:
    """Return the type of a request's body, in lower case and without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


@asynccontextmanager
async def body_of(request: Request, *, config: ServingConfig) -> AsyncIterator[Body]:
    """Let a body come in.

    Parameters
    ----------
    request : Request
        Its body has not been read.
    config : ServingConfig
        How slow it may be, and how many there may be at once.

    Yields
    ------
    Body
        To be given a limit before it is read. Whoever still sends when a `Problem` is raised is
        told of it: the rest is read for a moment, and the connection closed. Who waits to be told
        to send it (``Expect: 100-continue``) is not.

    Raises
    ------
    Problem
        415 for a packed body, whose size says nothing; 429 where too many are sent at once.
    """
    body = Body(request, config)
    try:
        if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
            raise Problem(415, "the body must not have a Content-Encoding")
        with _places(request, config).taken(owner_of(request)):
            yield body
    except Problem as problem:
        # One that still sends would otherwise see a broken connection, and not the answer.
        if not body.ended:
            if body.begun or not _waits_for_leave(request):
                await _read_on(request)
            problem.headers["Connection"] = "close"
        raise


class Body:
    """A body's chunks within limits; made by `body_of`.

    Attributes
    ----------
    begun, ended : bool
        Whether it was asked for; whether nothing more of it comes.
    """

    def __init__(self, request: Request, config: ServingConfig) -> None:
        self._request = request
        self._stall_seconds = config.upload_stall_seconds
        self._slowest_bytes_per_second = config.min_upload_bytes_per_second
        self._most_bytes = 0
        self.begun = self.ended = False

    def limit(self, most_bytes: int) -> None:
        """Let so many bytes come.

        Raises
        ------
        Problem
            413 where the body says that it has more.
        """
        self._most_bytes = most_bytes
        declared = self._request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > most_bytes:
            raise self._too_large()

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield what comes.

        Raises
        ------
        Problem
            400 where it ends too early, 408 where it stalls or crawls, 413 where it is too large.
        """
        began, n_bytes = time.monotonic(), 0
        while not self.ended:
            chunk = await self._next()
            n_bytes += len(chunk)
            if n_bytes > self._most_bytes:
                raise self._too_large()
            slowest = self._slowest_bytes_per_second
            if time.monotonic() - began > self._stall_seconds + n_bytes / slowest:
                raise Problem(408, f"the body came more slowly than {slowest} bytes a second")
            if chunk:
                yield chunk

    async def _next(self) -> bytes:
        # To ask for it is to tell who waits for leave that it may come.
        self.begun = True
        try:
            async with asyncio.timeout(self._stall_seconds):
                message = await self._request.receive()
        except TimeoutError:
            raise Problem(408, f"nothing of the body came for {self._stall_seconds:g} s") from None
        # Known with its last chunk: whoever refuses that chunk has nothing left to wait for.
        self.ended = not message.get("more_body", False)
        if message["type"] == "http.disconnect":
            raise Problem(400, "the body ended too early")
        chunk: bytes = message.get("body", b"")
        return chunk

    def _too_large(self) -> Problem:
        return Problem(413, f"the body may have at most {self._most_bytes} bytes")


def _places(request: Request, config: ServingConfig) -> Places:
    """Return the places for bodies of a request's kind; what is small waits for no video."""
    state = request.app.state
    is_small = media_type(request) in _SMALL
    name = "small_uploads" if is_small else "uploads"
    if not hasattr(state, name):
        setattr(state, name, Places(config.max_small_uploads if is_small else config.max_uploads))
    places: Places = getattr(state, name)
    return places


def _waits_for_leave(request: Request) -> bool:
    return request.headers.get("expect", "").strip().lower() == "100-continue"


async def _read_on(request: Request) -> None:
    """Read a little of what a refused client still sends."""
    n_bytes = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(_READ_ON_SECONDS):
            while n_bytes < _READ_ON_BYTES:
                message = await request.receive()
                n_bytes += len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return
