"""Batches filled across requests: bounded queues before the few threads that encode.

Pictures, texts and sequences wait apart. A batch leaves when it is full, or when its first item
has waited long enough for company; where threads are idle, what waits is shared out among them.
Requests longer than a batch take turns, so that one of a thousand pictures does not keep one of
a single picture waiting to its end.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from types import TracebackType
from typing import Any, Protocol

import numpy as np

from emoclip_clinical.serving.queues import Batch, Kind, Queue, Share, Waiting

__all__ = [
    "BatchLog",
    "Batcher",
    "BatchingStopped",
    "Kind",
    "QueueFullError",
    "Room",
]

_LONGEST_RETRY_SECONDS = 60.0


class QueueFullError(Exception):
    """There is no room for a request.

    Attributes
    ----------
    retry_after_seconds : float
        When there will probably be some.
    """

    def __init__(self, *, retry_after_seconds: float) -> None:
        self.retry_after_seconds = retry_after_seconds
        super().__init__(f"try again in {retry_after_seconds:.0f} s")


class BatchingStopped(Exception):  # noqa: N818
    """The server ended before the request's turn."""


class BatchLog(Protocol):
    """What hears of every batch."""

    def batch(self, kind: str, *, n_items: int, waited_seconds: float, seconds: float) -> None:
        """Take note of a batch, how long its first item had waited, and how long it took."""


class Batcher:
    """Threads that encode what many requests hand in.

    Parameters
    ----------
    kinds : sequence of Kind
        One queue each.
    max_delay_seconds : float
        How long the first of a batch waits for company while a thread is free.
    n_threads : int
        Batches that are encoded at the same time.
    log : BatchLog, optional
        Hears of every batch, in the thread that encoded it.
    """

    def __init__(
        self,
        kinds: Sequence[Kind],
        *,
        max_delay_seconds: float,
        n_threads: int,
        log: BatchLog | None = None,
    ) -> None:
        self._queues = {kind.name: Queue(kind) for kind in kinds}
        self._max_delay_seconds = max_delay_seconds
        self._log = log
        lock = threading.Lock()
        self._filled = threading.Condition(lock)
        self._freed = threading.Condition(lock)
        self._n_idle = 0
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"encode-{i}", daemon=True)
            for i in range(n_threads)
        ]

    def __enter__(self) -> Batcher:
        """Start the threads."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give up what waits, and stop the threads."""
        with self._filled:
            self._closed = True
            left = [request for queue in self._queues.values() for request in queue.requests]
            for queue in self._queues.values():
                queue.requests.clear()
                queue.n_queued = 0
            self._filled.notify_all()
            self._freed.notify_all()
        for request in left:
            request.fail(BatchingStopped())
        for thread in self._threads:
            thread.join()

    def room(self, kind: str, n_items: int) -> Room:
        """Keep room for items that are about to be handed in.

        Raises
        ------
        QueueFullError
            If there is none.
        """
        with self._filled:
            queue = self._queues[kind]
            # Who waits for room came before.
            if not queue.has_room(queue.n_wanted + n_items):
                seconds = queue.n_waiting * queue.seconds_per_item / len(self._threads)
                raise QueueFullError(retry_after_seconds=min(seconds, _LONGEST_RETRY_SECONDS))
            queue.n_reserved += n_items
            return Room(self, kind, n_items)

    def wait_for_room(self, kind: str, n_items: int) -> Room:
        """Wait until there is room for items, and keep it.

        Raises
        ------
        BatchingStopped
            If the server ends.
        """
        with self._filled:
            queue = self._queues[kind]
            queue.n_wanted += n_items
            try:
                # What is larger than the queue goes in when that is empty.
                while not (queue.has_room(n_items) or queue.n_waiting == 0 or self._closed):
                    self._freed.wait()
            finally:
                queue.n_wanted -= n_items
            if self._closed:
                raise BatchingStopped
            queue.n_reserved += n_items
            return Room(self, kind, n_items)

    def n_waiting(self, kind: str) -> int:
        """Return how many items wait, or have room kept for them."""
        with self._filled:
            return self._queues[kind].n_waiting

    def n_alive(self) -> int:
        """Return how many threads encode or wait for work."""
        return sum(thread.is_alive() for thread in self._threads)

    def _put(self, kind: str, request: Waiting) -> None:
        with self._filled:
            if self._closed:
                raise BatchingStopped
            self._queues[kind].add(request)
            self._filled.notify()
        request.future.add_done_callback(lambda future: self._forget(kind, request))

    def _release(self, kind: str, n_items: int) -> None:
        with self._filled:
            self._queues[kind].n_reserved -= n_items
            self._freed.notify_all()

    def _forget(self, kind: str, request: Waiting) -> None:
        """Take what was cancelled, or has failed in part, out of the queue."""
        with self._filled:
            if request.n_left:
                self._queues[kind].remove(request)
                self._freed.notify_all()

    def _work(self) -> None:
        while (batch := self._take()) is not None:
            began = time.monotonic()
            try:
                rows = batch.encoded()
            except Exception as error:
                self._encode_apart(batch, error)
            else:
                self._finish(batch.shares, rows)
            seconds = time.monotonic() - began
            with self._filled:
                self._queues[batch.kind.name].note_speed(batch, seconds)
            if self._log is not None:
                self._log.batch(
                    batch.kind.name,
                    n_items=batch.n_items,
                    waited_seconds=batch.waited_seconds,
                    seconds=seconds,
                )

    def _take(self) -> Batch | None:
        with self._filled:
            while not self._closed:
                waiting = [queue for queue in self._queues.values() if queue.requests]
                due = [queue.due_at(max_delay_seconds=self._max_delay_seconds) for queue in waiting]
                now = time.monotonic()
                ready = [queue for queue, at in zip(waiting, due, strict=True) if at <= now]
                if ready:
                    oldest = min(ready, key=lambda queue: queue.requests[0].since)
                    batch = oldest.take(n_idle=self._n_idle)
                    self._freed.notify_all()
                    if any(queue.requests for queue in waiting):
                        self._filled.notify()
                    return batch
                self._n_idle += 1
                self._filled.wait(min(due) - now if due else None)
                self._n_idle -= 1
        return None

    def _encode_apart(self, batch: Batch, error: Exception) -> None:
        """Encode each request's part alone, so that one can not spoil what others get."""
        if len(batch.shares) == 1:
            batch.shares[0].request.fail(error)
            return
        for share in batch.shares:
            try:
                rows = replace(batch, shares=(share,)).encoded()
            except Exception as own:
                share.request.fail(own)
            else:
                self._finish((share,), rows)

    def _finish(self, shares: Sequence[Share], rows: np.ndarray) -> None:
        finished: list[tuple[Waiting, np.ndarray]] = []
        start = 0
        with self._filled:
            for share in shares:
                end = start + len(share.items)
                whole = share.request.done(share.start, rows[start:end])
                start = end
                if whole is not None:
                    finished.append((share.request, whole))
        for request, whole in finished:
            request.answer(whole)


class Room:
    """Room in a queue for a number of items, given back where it is not used.

    Examples
    --------
    ``with batcher.room("texts", 2) as room: future = room.put(["a", "b"])``
    """

    def __init__(self, batcher: Batcher, kind: str, n_items: int) -> None:
        self._batcher = batcher
        self._kind = kind
        self._n_left = n_items

    def __enter__(self) -> Room:
        """Nothing more is to be done."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give back what was not used."""
        if self._n_left:
            self._batcher._release(self._kind, self._n_left)
            self._n_left = 0

    def put(self, items: Sequence[Any] | np.ndarray) -> Future[np.ndarray]:
        """Hand items in, at least one and no more than there is room for.

        Returns
        -------
        Future of ndarray
            A row for each item, in order. Cancelling it takes what still waits out of the queue.
        """
        if not 0 < len(items) <= self._n_left:
            raise AssertionError(f"{len(items)} items for a room of {self._n_left}")
        request = Waiting(items)
        self._batcher._put(self._kind, request)
        self._n_left -= len(items)
        return request.future
