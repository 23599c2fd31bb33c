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
    most_running : int or None
        More are refused; None for any number.
    """

    def __init__(self) -> None:
        self.is_draining = False
        self.n_running = 0
        self.most_running: int | None = None

    @property
    def is_full(self) -> bool:
        """Whether more requests are being answered than there are to be."""
        return self.most_running is not None and self.n_running > self.most_running

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
