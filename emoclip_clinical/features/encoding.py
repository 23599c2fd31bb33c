"""Encode prepared pictures of several interviews in batches of one fixed size.

The threads that read interviews hand pictures in, a few threads encode them. A batch always has
the same number of rows, empty ones included, and each thread computes alone, so that a picture's
vector does not depend on how many threads, cores or interviews there are. Where a device gives a
row other bits in another place of the batch (`rows_are_independent` tells), interviews do not
share batches.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from emoclip_clinical.core.embedder import Embedder

_ALL_LANES = -1


class EncodingStopped(Exception):  # noqa: N818
    """The run was given up; not a fault of the interview that hears of it."""


class _Batch:
    def __init__(self, n_rows: int, *, side_pixels: int) -> None:
        self.pictures = np.zeros((n_rows, 3, side_pixels, side_pixels), dtype=np.uint8)
        self.n_filled = 0
        self.wanted = False
        self.done = threading.Event()
        self.vectors: np.ndarray | None = None
        self.error: BaseException | None = None

    def end(self, *, vectors: np.ndarray | None = None, error: BaseException | None = None) -> None:
        self.vectors, self.error = vectors, error
        # Rows may be waited for long after; their pixels are not needed any more.
        self.pictures = np.zeros((0,), dtype=np.uint8)
        self.done.set()


class Ticket:
    """One picture on its way."""

    def __init__(self, batch: _Batch, row: int) -> None:
        self._batch = batch
        self._row = row

    @property
    def is_done(self) -> bool:
        """Whether `vector` answers at once."""
        return self._batch.done.is_set()

    def vector(self) -> np.ndarray:
        """Wait for the picture's vector, float32 of shape (d,).

        Raises
        ------
        EncodingStopped
            If the run was given up before the picture's turn.
        """
        self._batch.done.wait()
        if self._batch.error is not None:
            raise self._batch.error
        if self._batch.vectors is None:
            raise AssertionError("a batch without an error has vectors")
        vector: np.ndarray = self._batch.vectors[self._row]
        return vector


class FrameEncoder:
    """Threads that encode what the readers of several interviews hand in.

    Parameters
    ----------
    embedders : sequence of Embedder
        The same model, once for each device.
    batch_frames : int
        Rows of every batch.
    threads_per_embedder : int
        Batches that are encoded at the same time on one device.
    n_lanes : int
        Interviews that are read at the same time.
    shared_batches : bool
        Whether pictures of several interviews go into one batch.

    Examples
    --------
    ``with FrameEncoder(...) as encoder: lane = encoder.lane()``
    """

    def __init__(
        self,
        embedders: Sequence[Embedder],
        *,
        batch_frames: int,
        threads_per_embedder: int,
        n_lanes: int,
        shared_batches: bool,
    ) -> None:
        self._embedders = embedders
        self._side_pixels = embedders[0].image_size_pixels
        self.batch_frames = batch_frames
        self._shared = shared_batches
        self._threads = [
            threading.Thread(target=self._work, args=(embedder,), name="encode", daemon=True)
            for embedder in embedders
            for _ in range(threads_per_embedder)
        ]
        # Enough to keep every thread busy while the readers do something else, but flat.
        share = -(-2 * len(self._threads) // max(1, n_lanes))
        self.frames_ahead = batch_frames * (1 + max(1, share))
        self._changed = threading.Condition()
        self._filling: dict[int, _Batch] = {}
        self._ready: deque[_Batch] = deque()
        self._stopped = False
        self._failed = False
        self._n_lanes = 0

    def __enter__(self) -> FrameEncoder:
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
        """Stop the threads."""
        self.stop()
        for thread in self._threads:
            thread.join()

    def stop(self) -> None:
        """Give up what is not encoded yet; who waits for it gets `EncodingStopped`."""
        with self._changed:
            self._stopped = True
            for batch in [*self._ready, *self._filling.values()]:
                batch.end(error=EncodingStopped())
            self._ready.clear()
            self._filling.clear()
            self._changed.notify_all()

    @property
    def failed(self) -> bool:
        """Whether the model could not encode a batch: a fault of the run, not of an interview."""
        return self._failed

    def lane(self) -> Lane:
        """Return the way in for one interview."""
        with self._changed:
            self._n_lanes += 1
            return Lane(self, _ALL_LANES if self._shared else self._n_lanes)

    def submit(self, picture: np.ndarray, *, lane: int) -> Ticket:
        """Put a picture, uint8 of shape (3, s, s), into the batch that is being filled."""
        with self._changed:
            if self._stopped:
                raise EncodingStopped
            batch = self._filling.get(lane)
            if batch is None:
                batch = _Batch(self.batch_frames, side_pixels=self._side_pixels)
                self._filling[lane] = batch
            ticket = Ticket(batch, batch.n_filled)
            batch.pictures[batch.n_filled] = picture
            batch.n_filled += 1
            if batch.n_filled == self.batch_frames:
                self._ready.append(self._filling.pop(lane))
                self._changed.notify()
            return ticket

    def flush(self, *, lane: int) -> None:
        """Have what is being filled encoded as soon as a thread has nothing better to do."""
        with self._changed:
            if lane in self._filling:
                self._filling[lane].wanted = True
                self._changed.notify()

    def _work(self, embedder: Embedder) -> None:
        while (batch := self._take()) is not None:
            try:
                vectors = embedder.encode_prepared(batch.pictures)
            except BaseException as error:
                # Raised again in the thread that waits for the batch.
                self._failed = True
                batch.end(error=error)
            else:
                batch.end(vectors=vectors)

    def _take(self) -> _Batch | None:
        with self._changed:
            while not self._stopped:
                if self._ready:
                    return self._ready.popleft()
                for lane, batch in self._filling.items():
                    if batch.wanted:
                        return self._filling.pop(lane)
                self._changed.wait()
        return None


class Lane:
    """One interview's way into a `FrameEncoder`; used by one thread."""

    def __init__(self, encoder: FrameEncoder, number: int) -> None:
        self._encoder = encoder
        self._number = number
        self._n_waiting = 0

    @property
    def is_full(self) -> bool:
        """Whether an earlier picture should be collected before another one is handed in."""
        return self._n_waiting >= self._encoder.frames_ahead

    def submit(self, picture: np.ndarray) -> Ticket:
        """Hand in a prepared picture, uint8 of shape (3, s, s)."""
        self._n_waiting += 1
        return self._encoder.submit(picture, lane=self._number)

    def collect(self, ticket: Ticket) -> np.ndarray:
        """Wait for the vector of a picture that was handed in, float32 of shape (d,)."""
        self._n_waiting -= 1
        return ticket.vector()

    def flush(self) -> None:
        """Say that no further picture comes for now."""
        self._encoder.flush(lane=self._number)


def rows_are_independent(embedder: Embedder, *, batch_frames: int) -> bool:
    """Tell whether a picture's vector is the same, bit for bit, in every place of a batch.

    Parameters
    ----------
    embedder : Embedder
        The model on its device.
    batch_frames : int
        Rows of the batch.

    Returns
    -------
    bool
        Whether noise encodes to the same bits in another order, and among other pictures.
    """
    side = embedder.image_size_pixels
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, size=(batch_frames, 3, side, side), dtype=np.uint8)
    order = rng.permutation(batch_frames)
    moved = pictures[order]
    # Half of them keep other company, too.
    moved[::2] = 0
    vectors = embedder.encode_prepared(pictures)
    return bool(np.array_equal(embedder.encode_prepared(moved)[1::2], vectors[order][1::2]))
