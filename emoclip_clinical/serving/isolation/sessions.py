"""What the server does for one process that reads a file: answer it, and believe nothing."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Protocol, TypeVar

import numpy as np
import pyarrow as pa
from pydantic import TypeAdapter, ValidationError

from emoclip_clinical.features.layout import InterviewSummary, embeddings_schema, segments_schema
from emoclip_clinical.features.reading import SecondsDone
from emoclip_clinical.features.reading_results import InterviewReading
from emoclip_clinical.features.scores import score_columns
from emoclip_clinical.serving.isolation.limits import ProcessLimits
from emoclip_clinical.serving.isolation.messages import Channel, Message, ProtocolError
from emoclip_clinical.serving.isolation.orders import (
    BATCHES_AHEAD,
    VideoOrder,
    limits_field,
)
from emoclip_clinical.serving.isolation.plain_tables import unpack_table

_MOST_SEQUENCES = 64
_MOST_REASON_LETTERS = 2000
_SUMMARY = TypeAdapter(InterviewSummary)

T_co = TypeVar("T_co", covariant=True)


class Encoding(Protocol):
    """Where pictures and sequences become vectors; see `serving.encoding.ServedModel`."""

    def submit_pictures(self, pictures: np.ndarray) -> Future[np.ndarray]:
        """Hand in prepared pictures."""

    def submit_sequences(self, vectors: np.ndarray, valid: np.ndarray) -> Future[np.ndarray]:
        """Hand in sequences of frame vectors."""


class ReaderFault(Exception):  # noqa: N818
    """A process says that its file can not be read.

    Parameters
    ----------
    reason : str
        ``input``, ``too_large``, ``memory`` or ``bug``.
    faults : tuple of str
        Why.
    """

    def __init__(self, reason: str, faults: tuple[str, ...]) -> None:
        self.reason = reason
        self.faults = faults
        super().__init__(reason)


class Session(Protocol[T_co]):
    """One talk with one process."""

    def run(self, channel: Channel, *, deadline: float) -> T_co:
        """Talk until there is a result; see `VideoSession.run`."""

    def give_up(self) -> None:
        """Drop what is being encoded; from any thread."""


class VideoSession:
    """Have a video read.

    Parameters
    ----------
    order : VideoOrder
        How.
    limits : ProcessLimits
        What the process is held to.
    encoding : Encoding
        The model.
    progress : SecondsDone
        Called in the thread that calls `run`.
    """

    def __init__(
        self,
        order: VideoOrder,
        *,
        limits: ProcessLimits,
        encoding: Encoding,
        progress: SecondsDone,
    ) -> None:
        self._order = order
        self._limits = limits
        self._encoding = encoding
        self._progress = progress
        self._pending: deque[Future[np.ndarray]] = deque()
        self._deadline = math.inf

    def run(self, channel: Channel, *, deadline: float) -> InterviewReading:
        """Order, answer, and return the result.

        Raises
        ------
        ReaderFault
            If the process says that the file can not be read.
        ProtocolError
            If it says what makes no sense.
        ChannelClosedError, TimeoutError
            If it is gone, or does not end by `deadline` on `time.monotonic`'s clock.
        """
        self._deadline = deadline
        fields, parts = self._order.packed()
        channel.send("video", {**fields, **limits_field(self._limits)}, *parts)
        answers: Mapping[str, Callable[[Message], bytes | None]] = {
            "pictures": self._pictures,
            "collect": self._collected,
            "sequences": self._sequences,
            "progress": self._told,
        }
        while (message := channel.receive()).kind != "result":
            answer = _handler(answers, message)(message)
            if answer is not None:
                channel.send("vectors", None, answer)
        return self._result(message)

    def give_up(self) -> None:
        """Drop what is being encoded; from any thread."""
        for future in list(self._pending):
            future.cancel()

    def _pictures(self, message: Message) -> None:
        side = self._order.model.image_size_pixels
        n = message.whole("n", least=1, most=self._order.batch_frames)
        # One more than full batches ahead: a batch may be sent before it is full.
        if len(self._pending) > BATCHES_AHEAD:
            raise ProtocolError("more pictures than were agreed on")
        (pictures,) = message.arrays(((n, 3, side, side), np.dtype(np.uint8)))
        self._pending.append(self._encoding.submit_pictures(pictures))

    def _collected(self, message: Message) -> bytes:
        message.arrays()
        if not self._pending:
            raise ProtocolError("vectors without pictures")
        vectors = self._wait(self._pending[0])
        self._pending.popleft()
        return vectors

    def _sequences(self, message: Message) -> bytes:
        width = self._order.model.embedding_width
        n = message.whole("n", least=1, most=_MOST_SEQUENCES)
        t = message.whole("t", least=1, most=self._order.grid.slots_per_window)
        vectors, marks = message.arrays(
            ((n, t, width), np.dtype("<f4")), ((n, t), np.dtype(np.uint8))
        )
        valid = marks != 0
        if not valid.any(axis=1).all():
            raise ProtocolError("a sequence without a frame")
        return self._wait(self._encoding.submit_sequences(vectors, valid))

    def _told(self, message: Message) -> None:
        message.arrays()
        done = message.seconds("done")
        # Itself is asked to stop at the limit; one that does not is not to be believed.
        if done > 2 * self._order.most_seconds:
            raise ProtocolError("it reads on after the limit")
        self._progress(done, message.seconds("total"))

    def _wait(self, future: Future[np.ndarray]) -> bytes:
        vectors = future.result(timeout=max(0.0, self._deadline - time.monotonic()))
        return np.ascontiguousarray(vectors, dtype="<f4").tobytes()

    def _result(self, message: Message) -> InterviewReading:
        segments, end = unpack_table(message, "segments")
        embeddings, end = unpack_table(message, "embeddings", start=end)
        if end != len(message.payload):
            raise ProtocolError("a result is longer than its tables")
        columns = score_columns(self._order.prompts)
        width = self._order.model.embedding_width
        try:
            summary = _SUMMARY.validate_python(message.fields.get("summary"))
        except ValidationError:
            raise ProtocolError("a result without a summary") from None
        if segments.schema != segments_schema(columns) or embeddings.schema != embeddings_schema(
            width
        ):
            raise ProtocolError("a result with other columns")
        if len(summary.reason) > _MOST_REASON_LETTERS:
            raise ProtocolError("a result with a long reason")
        _check_rows(segments, embeddings)
        return InterviewReading(
            summary=summary,
            segments=segments,
            embeddings=embeddings,
            read_again=message.fields.get("read_again") is True,
        )


def _check_rows(segments: pa.Table, embeddings: pa.Table) -> None:
    """Refuse tables whose rows do not belong together."""
    status = segments["status"].to_pylist()
    number = segments["segment"].to_pylist()
    usable = [n for n, s in zip(number, status, strict=True) if s == "ok"]
    if usable != embeddings["segment"].to_pylist() or None in number or None in status:
        raise ProtocolError("a result whose tables do not belong together")


class TableSession:
    """Have an Arrow stream read.

    Parameters
    ----------
    limits : ProcessLimits
        What the process is held to.
    most_rows : int
        Rows that it may have.
    """

    def __init__(self, *, limits: ProcessLimits, most_rows: int) -> None:
        self._limits = limits
        self._most_rows = most_rows

    def run(self, channel: Channel, *, deadline: float) -> pa.Table:
        """Order, and return the result; raises as `VideoSession.run`."""
        channel.send("table", {"most_rows": self._most_rows, **limits_field(self._limits)})
        message = channel.receive()
        if message.kind != "table":
            _handler({}, message)
        table, end = unpack_table(message, "table")
        metadata = message.fields.get("metadata")
        if end != len(message.payload) or not isinstance(metadata, dict):
            raise ProtocolError("a table of another length than its columns")
        if not all(isinstance(value, str) for value in metadata.values()):
            raise ProtocolError("a table whose metadata are no text")
        return table.replace_schema_metadata(metadata or None)

    def give_up(self) -> None:
        """Do nothing: nothing is encoded."""


def _handler(
    answers: Mapping[str, Callable[[Message], bytes | None]], message: Message
) -> Callable[[Message], bytes | None]:
    """Return what answers a message, unless it is a fault."""
    if message.kind == "fault":
        reason, faults = message.fields.get("reason"), message.fields.get("faults")
        if not isinstance(reason, str) or not isinstance(faults, list):
            raise ProtocolError("a fault without a reason")
        raise ReaderFault(reason, tuple(str(text)[:_MOST_REASON_LETTERS] for text in faults[:100]))
    try:
        return answers[message.kind]
    except KeyError:
        raise ProtocolError("a message of no known kind") from None
