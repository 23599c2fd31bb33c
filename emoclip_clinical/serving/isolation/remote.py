"""How `read_interview` reaches the model from another process: pictures out, vectors back.

Only one side speaks at a time: the server answers when it is asked for vectors, and asks nothing.
So neither side ever waits for the other to read what it writes, and the number of pictures on
their way is bounded by the one who sends them and checked by the one who gets them.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from emoclip_clinical.core.preprocessing import prepare
from emoclip_clinical.serving.isolation.messages import Channel, ProtocolError
from emoclip_clinical.serving.isolation.orders import BATCHES_AHEAD, ModelFacts


class RemoteModel:
    """Stands for the `Embedder` in a process that has no weights.

    Parameters
    ----------
    facts : ModelFacts
        What is known of it.
    channel : Channel
        To the server.
    """

    def __init__(self, facts: ModelFacts, *, channel: Channel) -> None:
        self._facts = facts
        self._channel = channel

    @property
    def embedding_width(self) -> int:
        """Width d of every vector."""
        return self._facts.embedding_width

    @property
    def temperature(self) -> float:
        """Divides the cosines before the softmax."""
        return self._facts.temperature

    def prepare(self, frame: np.ndarray) -> np.ndarray:
        """Make a square of a picture, here and as the `Embedder` does."""
        return prepare(
            frame, image_size_pixels=self._facts.image_size_pixels, resize=self._facts.resize
        )

    def encode_sequences(self, frame_vectors: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """Have sequences embedded; see `Embedder.encode_sequences`."""
        n, t = valid.shape
        self._channel.send(
            "sequences",
            {"n": n, "t": t},
            np.ascontiguousarray(frame_vectors, dtype="<f4").tobytes(),
            np.ascontiguousarray(valid, dtype=np.bool_).tobytes(),
        )
        return vectors_from(self._channel, n=n, width=self.embedding_width)


def vectors_from(channel: Channel, *, n: int, width: int) -> np.ndarray:
    """Wait for the server's answer, float32 of shape (n, width)."""
    answer = channel.receive()
    if answer.kind != "vectors":
        raise ProtocolError("vectors were asked for")
    (vectors,) = answer.arrays(((n, width), np.dtype("<f4")))
    return vectors


class _Batch:
    def __init__(self) -> None:
        self.pictures: list[np.ndarray] = []
        self.sent = False
        self.vectors: np.ndarray | None = None


class RemoteTicket:
    """One picture on its way."""

    def __init__(self, batch: _Batch, row: int) -> None:
        self.batch = batch
        self.row = row

    @property
    def is_done(self) -> bool:
        """Whether its vector is in this process."""
        return self.batch.vectors is not None


class RemoteLane:
    """One interview's way to the server's image tower; used by one thread.

    Parameters
    ----------
    channel : Channel
        To the server.
    batch_frames : int
        Pictures of one message.
    width : int
        Of a vector.
    """

    def __init__(self, channel: Channel, *, batch_frames: int, width: int) -> None:
        self._channel = channel
        self._batch_frames = batch_frames
        self._width = width
        self._filling = _Batch()
        self._asked: deque[_Batch] = deque()
        self._n_waiting = 0

    @property
    def is_full(self) -> bool:
        """Whether an earlier picture should be collected before another one is handed in."""
        return self._n_waiting >= self._batch_frames * BATCHES_AHEAD

    def submit(self, picture: np.ndarray) -> RemoteTicket:
        """Hand in a prepared picture, uint8 of shape (3, s, s)."""
        self._n_waiting += 1
        batch = self._filling
        ticket = RemoteTicket(batch, len(batch.pictures))
        batch.pictures.append(picture)
        if len(batch.pictures) == self._batch_frames:
            self.flush()
        return ticket

    def collect(self, ticket: RemoteTicket) -> np.ndarray:
        """Wait for the vector of a picture that was handed in, float32 of shape (d,)."""
        self._n_waiting -= 1
        if not ticket.batch.sent:
            self.flush()
        while ticket.batch.vectors is None:
            batch = self._asked.popleft()
            self._channel.send("collect")
            batch.vectors = vectors_from(self._channel, n=len(batch.pictures), width=self._width)
            batch.pictures = []
        vector: np.ndarray = ticket.batch.vectors[ticket.row]
        return vector

    def flush(self) -> None:
        """Send what is there."""
        batch = self._filling
        if batch.pictures:
            pictures = np.stack(batch.pictures)
            self._channel.send("pictures", {"n": len(pictures)}, pictures.tobytes())
            batch.sent = True
            self._asked.append(batch)
            self._filling = _Batch()
