"""Whether a server takes new work, and how much it still has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Standing:
    """The state of one server; used in the thread of its event loop.

    Attributes
    ----------
    is_draining : bool
        Whether it finishes what it has accepted and takes nothing more.
    n_running : int
        Requests that are being answered.
    """

    def __init__(self) -> None:
        self.is_draining = False
        self.n_running = 0

    def drain(self) -> None:
        """Take no further work."""
        self.is_draining = True

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count a request until it is answered."""
        self.n_running += 1
        try:
            yield
        finally:
            self.n_running -= 1
