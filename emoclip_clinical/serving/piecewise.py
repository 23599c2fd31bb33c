"""An answer that is written while it is sent, so that it never lies in memory as a whole."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.types import Receive, Scope, Send


class Piecewise(Response):
    """Sends pieces, each made in another thread when the client has taken the one before.

    Parameters
    ----------
    pieces : iterator of bytes
        The body.
    writing : Semaphore
        Held while a piece is made: one whose client is slow holds up nobody.
    media_type : str
        Of the body.
    headers : mapping of str to str
        More headers.
    """

    def __init__(
        self,
        pieces: Iterator[bytes],
        *,
        writing: asyncio.Semaphore,
        media_type: str,
        headers: Mapping[str, str],
    ) -> None:
        super().__init__(media_type=media_type, headers=headers)
        # How long it will be is not known.
        del self.headers["content-length"]
        self._pieces = pieces
        self._writing = writing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send, and make nothing more when the client hangs up."""
        gone = asyncio.ensure_future(hung_up(receive))
        start = {"status": self.status_code, "headers": self.raw_headers}
        try:
            await send({"type": "http.response.start", **start})
            while not gone.done():
                async with self._writing:
                    piece = await run_in_threadpool(next, self._pieces, None)
                more = piece is not None
                await send({"type": "http.response.body", "body": piece or b"", "more_body": more})
                if not more:
                    return
        finally:
            gone.cancel()


async def hung_up(receive: Receive) -> None:
    """Return when the client is gone; the request's body has been read."""
    while (await receive())["type"] != "http.disconnect":
        pass
