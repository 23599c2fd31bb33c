"""Work of seconds for requests: in threads of its own, each in its turn, and no more than fits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

from emoclip_clinical.serving.config import ServingConfig
from emoclip_clinical.serving.problems import Problem

_THREADS = 2
_RETRY_SECONDS = 5.0

T = TypeVar("T")
Wanted = Callable[[], None]
"""Called between two steps; ends the work where nobody waits for it any more."""


class NobodyWaitsError(Exception):
    """The request is over; nobody reads what would be found."""


def always() -> None:
    """Go on: whoever wants the work waits for it."""


class Desk:
    """Where estimates are made; used in the thread of one event loop.

    Parameters
    ----------
    config : ServingConfig
        How many requests there may be, and how long each may take.
    """

    def __init__(self, *, config: ServingConfig) -> None:
        self._most = config.max_estimates
        self._seconds = config.request_seconds
        self._n_requests = 0
        # What a request has sent is laid out in memory only in its turn.
        self._turns = asyncio.Semaphore(_THREADS)
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="desk")

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a request's turn, and have it until the context ends.

        Raises
        ------
        Problem
            429 where too many wait; 504 where waiting and work together take too long.
        """
        if self._n_requests >= self._most:
            raise Problem(
                429, "too many estimates are wanted at once", retry_after_seconds=_RETRY_SECONDS
            )
        self._n_requests += 1
        try:
            async with asyncio.timeout(self._seconds), self._turns:
                yield
        except TimeoutError:
            raise Problem(504, f"there was no estimate within {self._seconds:g} s") from None
        finally:
            self._n_requests -= 1

    async def do(self, work: Callable[[Wanted], T]) -> T:
        """Do work in a thread, within a `turn`; where it is cancelled, it ends after its step."""
        is_over = threading.Event()

        def wanted() -> None:
            if is_over.is_set():
                raise NobodyWaitsError

        future = self._pool.submit(work, wanted)
        try:
            return await asyncio.wrap_future(future)
        finally:
            is_over.set()

    def close(self) -> None:
        """Give up what waits, and end the threads."""
        self._pool.shutdown(cancel_futures=True)
