"""Messages between the server and a process that reads for it: JSON and raw bytes, no pickle."""

from __future__ import annotations

import json
import math
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

_PREFIX = struct.Struct("<IQ")
_SHORTEST_WAIT_SECONDS = 0.001

Part = bytes | bytearray | memoryview


class ProtocolError(Exception):
    """The other side sent what it never sends."""


class ChannelClosedError(Exception):
    """The other side is gone."""


@dataclass(frozen=True)
class Message:
    """One message.

    Attributes
    ----------
    kind : str
        What it is.
    fields : mapping
        JSON.
    payload : memoryview
        Raw bytes, which belong to this message alone.
    """

    kind: str
    fields: Mapping[str, Any]
    payload: memoryview

    def whole(self, name: str, *, least: int, most: int) -> int:
        """Return a field that is a whole number within bounds.

        Raises
        ------
        ProtocolError
            If it is anything else.
        """
        value = self.fields.get(name)
        if type(value) is not int or not least <= value <= most:
            raise ProtocolError(f"{self.kind}: {name} is not from {least} to {most}")
        return value

    def seconds(self, name: str) -> float:
        """Return a field that is a finite number, 0 or more.

        Raises
        ------
        ProtocolError
            If it is anything else.
        """
        value = self.fields.get(name)
        if type(value) not in (int, float) or value is None or not 0 <= value < math.inf:
            raise ProtocolError(f"{self.kind}: {name} is not a time")
        return float(value)

    def arrays(self, *parts: tuple[Sequence[int], Any]) -> list[np.ndarray]:
        """Cut the payload into arrays of the given shapes and types.

        Raises
        ------
        ProtocolError
            If the payload has another length.
        """
        sizes = [math.prod(shape) * np.dtype(kind).itemsize for shape, kind in parts]
        if sum(sizes) != len(self.payload):
            raise ProtocolError(f"{self.kind}: its payload has another length than its fields say")
        found, start = [], 0
        for (shape, kind), size in zip(parts, sizes, strict=True):
            piece = self.payload[start : start + size]
            found.append(np.frombuffer(piece, dtype=kind).reshape(shape))
            start += size
        return found


class Channel:
    """One end of a stream socket that carries messages.

    Parameters
    ----------
    connection : socket
        Of type SOCK_STREAM; closed by `close`.
    most_json_bytes, most_payload_bytes : int
        Larger messages are refused before anything is kept for them.
    deadline : float
        When `time.monotonic()` passes it, waiting ends.
    """

    def __init__(
        self,
        connection: socket.socket,
        *,
        most_json_bytes: int,
        most_payload_bytes: int,
        deadline: float = math.inf,
    ) -> None:
        self._connection = connection
        self._most_json_bytes = most_json_bytes
        self._most_payload_bytes = most_payload_bytes
        self._deadline = deadline

    def send(self, kind: str, fields: Mapping[str, Any] | None = None, *parts: Part) -> None:
        """Send a message.

        Raises
        ------
        ChannelClosedError
            If nobody is there to read it.
        TimeoutError
            At the deadline.
        """
        text = json.dumps({**(fields or {}), "kind": kind}).encode()
        n_bytes = sum(memoryview(part).nbytes for part in parts)
        pieces: list[Part] = [_PREFIX.pack(len(text), n_bytes) + text, *parts]
        try:
            for piece in pieces:
                self._wait()
                self._connection.sendall(piece)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise ChannelClosedError from error

    def receive(self) -> Message:
        """Wait for a message.

        Raises
        ------
        ChannelClosedError
            If the other side has ended.
        ProtocolError
            If what came is no message, or too large.
        TimeoutError
            At the deadline.
        """
        json_bytes, payload_bytes = _PREFIX.unpack(self._exactly(_PREFIX.size))
        if json_bytes > self._most_json_bytes or payload_bytes > self._most_payload_bytes:
            raise ProtocolError("a message is too large")
        text = bytes(self._exactly(json_bytes))
        try:
            fields = json.loads(text)
            # Half a surrogate pair is a letter to Python, and none to anybody else.
            json.dumps(fields, ensure_ascii=False).encode()
        # A deep nest of brackets is no error of the JSON reader's own.
        except (ValueError, RecursionError):
            raise ProtocolError("a message is not JSON") from None
        if not isinstance(fields, dict) or not isinstance(fields.get("kind"), str):
            raise ProtocolError("a message has no kind")
        return Message(fields.pop("kind"), fields, self._exactly(payload_bytes))

    def close(self) -> None:
        """Close this end."""
        self._connection.close()

    def _exactly(self, n_bytes: int) -> memoryview:
        view = memoryview(bytearray(n_bytes))
        n_read = 0
        while n_read < n_bytes:
            self._wait()
            try:
                n_new = self._connection.recv_into(view[n_read:])
            except ConnectionResetError:
                n_new = 0
            if n_new == 0:
                raise ChannelClosedError
            n_read += n_new
        return view

    def _wait(self) -> None:
        if math.isinf(self._deadline):
            self._connection.settimeout(None)
            return
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(max(_SHORTEST_WAIT_SECONDS, left))
