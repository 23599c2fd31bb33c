"""Work for a client that may hang up."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import Request

T = TypeVar("T")


class ClientGoneError(Exception):
    """The client hung up; nobody reads an answer."""


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Do work, and cancel it when the client hangs up.

    Parameters
    ----------
    request : Request
        Its body has been read.
    work : coroutine
        What to do.

    Raises
    ------
    ClientGoneError
        If the client hung up before the work was done.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGoneError
        return task.result()
    finally:
        gone.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait({task})


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
