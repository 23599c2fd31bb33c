"""What waits of one kind: requests in turn, cut into batches."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Kind:
    """What goes through one queue.

    Attributes
    ----------
    name : str
        For messages and metrics.
    encode : callable
        From a list of slices of requests' items to one row for each item, in order.
    max_batch, max_waiting : int
        Items that are encoded at once, and that may wait.
    smallest_share : int
        A batch is split among idle threads into no fewer items than this.
    """

    name: str
    encode: Callable[[list[Any]], np.ndarray]
    max_batch: int
    max_waiting: int
    smallest_share: int


class Waiting:
    """The items of one request that wait for their turn, and the rows that they become.

    All but `answer` and `fail` are used with the batcher's lock held.

    Parameters
    ----------
    items : sequence or ndarray
        In order.

    Attributes
    ----------
    future : Future of ndarray
        A row for each item.
    since : float
        When it came.
    n_left : int
        Items that are in no batch yet.
    """

    def __init__(self, items: Sequence[Any] | np.ndarray) -> None:
        self.future: Future[np.ndarray] = Future()
        self.since = time.monotonic()
        self.n_left = self._n_items = len(items)
        self._items: Sequence[Any] | np.ndarray = items
        self._n_this_turn = 0
        self._n_done = 0
        self._rows: np.ndarray | None = None

    def take(self, most: int, *, turn: int) -> Share:
        """Put up to `most` of the items into a batch, and no more than `turn` without a pause."""
        n_items = min(most, self.n_left, turn - self._n_this_turn)
        start = self._n_items - self.n_left
        share = Share(self, start, self._items[start : start + n_items])
        self.n_left -= n_items
        # After its turn it has a pause, in which others come.
        self._n_this_turn = (self._n_this_turn + n_items) % turn
        if self.n_left == 0:
            # The future's callbacks hold on to this object; pictures need not stay with it.
            self._items = ()
        return share

    @property
    def has_pause(self) -> bool:
        """Whether its turn is over."""
        return self._n_this_turn == 0

    def done(self, start: int, rows: np.ndarray) -> np.ndarray | None:
        """Keep the rows of the items from `start` on; return all rows once they are there."""
        if self._rows is None:
            self._rows = np.empty((self._n_items, *rows.shape[1:]), dtype=rows.dtype)
        self._rows[start : start + len(rows)] = rows
        self._n_done += len(rows)
        if self._n_done < self._n_items:
            return None
        found, self._rows = self._rows, None
        return found

    def answer(self, rows: np.ndarray) -> None:
        """Hand out the rows; not with the lock held, since callbacks of a future may ask for it."""
        with contextlib.suppress(InvalidStateError):  # cancelled meanwhile
            self.future.set_result(rows)

    def fail(self, error: Exception) -> None:
        """Hand out an error; as `answer`."""
        with contextlib.suppress(InvalidStateError):
            self.future.set_exception(error)


@dataclass(frozen=True)
class Share:
    """Neighbouring items of one request in one batch.

    Attributes
    ----------
    request : Waiting
        Whose.
    start : int
        Place of the first among the request's items.
    items : sequence or ndarray
        At least one.
    """

    request: Waiting
    start: int
    items: Sequence[Any] | np.ndarray


@dataclass(frozen=True)
class Batch:
    """Items of one or several requests that are encoded together.

    Attributes
    ----------
    kind : Kind
        What they are.
    shares : tuple of Share
        At least one.
    waited_seconds : float
        How long the first had waited.
    """

    kind: Kind
    shares: tuple[Share, ...]
    waited_seconds: float

    @property
    def n_items(self) -> int:
        """How many items it has."""
        return sum(len(share.items) for share in self.shares)

    def encoded(self) -> np.ndarray:
        """Encode the items, and return a row for each."""
        rows = self.kind.encode([share.items for share in self.shares])
        if len(rows) != self.n_items:
            raise AssertionError(f"{self.kind.name}: {len(rows)} rows for {self.n_items} items")
        return rows


class Queue:
    """What waits of one kind; used with the batcher's lock held.

    Parameters
    ----------
    kind : Kind
        Of which.

    Attributes
    ----------
    requests : deque of Waiting
        In turn.
    n_queued, n_reserved, n_wanted : int
        Items that wait, for which there is room kept, and for which room is waited for.
    seconds_per_item : float
        As measured of late.
    """

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.requests: deque[Waiting] = deque()
        self.n_queued = 0
        self.n_reserved = 0
        self.n_wanted = 0
        self.seconds_per_item = 0.0

    @property
    def n_waiting(self) -> int:
        """Items that wait, or have room kept for them."""
        return self.n_queued + self.n_reserved

    def has_room(self, n_items: int) -> bool:
        """Whether so many more may wait."""
        return self.n_waiting + n_items <= self.kind.max_waiting

    def due_at(self, *, max_delay_seconds: float) -> float:
        """Return when the next batch is to leave; only where something waits."""
        if self.n_queued >= self.kind.max_batch:
            return 0.0
        return self.requests[0].since + max_delay_seconds

    def add(self, request: Waiting) -> None:
        """Let a request wait for which room was kept."""
        self.n_reserved -= request.n_left
        self.n_queued += request.n_left
        self.requests.append(request)

    def take(self, *, n_idle: int) -> Batch:
        """Return the next batch; a part of it where other threads are idle."""
        shared_out = -(-self.n_queued // (1 + n_idle))
        left = min(self.kind.max_batch, max(shared_out, self.kind.smallest_share))
        since = self.requests[0].since
        shares: list[Share] = []
        while self.requests and left > 0:
            request = self.requests[0]
            share = request.take(left, turn=self.kind.max_batch)
            shares.append(share)
            left -= len(share.items)
            self.n_queued -= len(share.items)
            if request.n_left == 0:
                self.requests.popleft()
            elif request.has_pause:
                self.requests.rotate(-1)
        return Batch(self.kind, tuple(shares), time.monotonic() - since)

    def remove(self, request: Waiting) -> None:
        """Let a request wait no more, where it does."""
        with contextlib.suppress(ValueError):
            self.requests.remove(request)
            self.n_queued -= request.n_left

    def note_speed(self, batch: Batch, seconds: float) -> None:
        """Take note of how long a batch took."""
        per_item = seconds / batch.n_items
        before = self.seconds_per_item or per_item
        self.seconds_per_item = 0.8 * before + 0.2 * per_item
