"""Places for bodies that come in: so many at once, and with tokens not all for one of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from emoclip_clinical.serving.problems import Problem

_RETRY_SECONDS = 5.0


class Places:
    """Places of one kind of body; used in the thread of the event loop.

    Parameters
    ----------
    most : int
        How many there are. Who has a token gets at most half of them, rounded up.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken: Counter[str] = Counter()

    @property
    def n_taken(self) -> int:
        """How many bodies come in now."""
        return self._taken.total()

    @contextmanager
    def taken(self, owner: str) -> Iterator[None]:
        """Take a place for a while.

        Parameters
        ----------
        owner : str
            Who sends the body; empty where there are no tokens.

        Raises
        ------
        Problem
            429 where there is none, altogether or for this owner.
        """
        if self.n_taken >= self._most:
            raise Problem(429, "too many uploads at once", retry_after_seconds=_RETRY_SECONDS)
        if owner and self._taken[owner] >= (self._most + 1) // 2:
            fault = "too many uploads of yours at once"
            raise Problem(429, fault, retry_after_seconds=_RETRY_SECONDS)
        self._taken[owner] += 1
        try:
            yield
        finally:
            self._taken[owner] -= 1
            # Whoever has none is forgotten.
            self._taken += Counter()
