"""Connections that make headway: who sends no request, or reads no answer, holds no place."""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from emoclip_clinical.serving.access import headers_of_all_answers
from emoclip_clinical.serving.problems import Problem

LOG = logging.getLogger("emoclip_clinical.serving")

SLOWEST_BYTES_PER_SECOND = 4096
SPARE_CONNECTIONS = 32
"""So many more than the most are taken where all are busy: whoever asks there is told so."""
_NOTHING = object()


def connections(*, stall_seconds: float, most: int = 2048) -> type[H11Protocol]:
    """Return how uvicorn is to hold a connection.

    Parameters
    ----------
    stall_seconds : float
        After once to twice this time, a connection is cut that has not sent a request's complete
        head, or has not taken `SLOWEST_BYTES_PER_SECOND` of the answer that waits for it, or was
        answered before its body had come, for which uvicorn would wait without end. Bodies have
        limits of their own (`bodies.body_of`), and so have connections without a request
        (`uvicorn.Config.timeout_keep_alive`).
    most : int
        Where there are more, the one that has been without a request for the longest is cut,
        first of those that never had one: who holds connections and asks nothing keeps nobody out.
    """

    class Connection(H11Protocol):
        _next_look: asyncio.TimerHandle
        _headless_after: object = _NOTHING
        _answered_after: object = _NOTHING
        _unread: tuple[object, int, int] = (_NOTHING, 0, 0)
        _quiet_since: float = 0.0

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.transport = self._counting = _Counting(transport)  # type: ignore[assignment]
            self._quiet_since = self.loop.time()
            self._look_later()
            self._make_room()

        def connection_lost(self, exc: Exception | None) -> None:
            self._next_look.cancel()
            super().connection_lost(exc)

        def on_response_complete(self) -> None:
            self._quiet_since = self.loop.time()
            super().on_response_complete()

        def send_400_response(self, msg: str) -> None:
            if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
                # Half an answer is out.
                self.transport.abort()
                return
            request_id = secrets.token_hex(8)
            answer = Problem(400, "the request is not sound HTTP").response()
            own = {**headers_of_all_answers(request_id), "Connection": "close"}
            headers = [(k.lower().encode(), v.encode()) for k, v in own.items()]
            status = h11.Response(
                status_code=400, headers=[*answer.raw_headers, *headers], reason=b"Bad Request"
            )
            for event in (status, h11.Data(data=bytes(answer.body)), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
            self.transport.close()
            LOG.info("other other 400 0 ms %s", request_id)

        def _make_room(self) -> None:
            """Have a place for this connection, if need be by cutting one that asks nothing."""
            if len(self.connections) <= most:
                return
            quiet = [
                one
                for one in self.connections
                if isinstance(one, Connection) and one is not self and one._is_quiet()
            ]
            if quiet:
                # Who was answered before may well ask again.
                given_up = min(quiet, key=lambda one: (one.cycle is not None, one._quiet_since))
                # Its end is heard of later; until then it counts no more.
                self.connections.discard(given_up)
                given_up.transport.abort()
            elif len(self.connections) > most + SPARE_CONNECTIONS:
                self.transport.abort()

        def _is_quiet(self) -> bool:
            """Tell whether it has no request, or an answered one whose answer is read."""
            answered = self.cycle is None or self.cycle.response_complete
            return answered and unsent_bytes(self.transport) == 0

        def _look_later(self) -> None:
            self._next_look = self.loop.call_later(stall_seconds, self._look)

        def _look(self) -> None:
            stalled = (
                self._waits_for_a_head(),
                self._waits_for_a_reader(),
                self._waits_for_a_late_body(),
            )
            if any(stalled):
                self.transport.abort()
            else:
                self._look_later()

        def _waits_for_a_head(self) -> bool:
            """Tell whether a head is incomplete, and was so at the last look."""
            begun = self.cycle is None or bool(self.conn.trailing_data[0])
            # Each request has a cycle of its own: another one means that a head was complete.
            after = self.cycle if begun and self.conn.their_state is h11.IDLE else _NOTHING
            stalled = after is not _NOTHING and after is self._headless_after
            self._headless_after = after
            return stalled

        def _waits_for_a_reader(self) -> bool:
            """Tell whether too little was taken since the last look of the answer that waited."""
            (cycle, before, written_before) = self._unread
            now, written = unsent_bytes(self.transport), self._counting.n_written
            self._unread = (self.cycle, now, written)
            # What comes in pieces fills the buffer again.
            taken = before + (written - written_before) - now
            least = min(before, SLOWEST_BYTES_PER_SECOND * stall_seconds)
            return cycle is self.cycle and before > 0 and taken < least

        def _waits_for_a_late_body(self) -> bool:
            """Tell whether all is answered and no timer runs, and was so at the last look."""
            forgotten = (
                self.cycle is not None
                and self.cycle.response_complete
                and self.timeout_keep_alive_task is None
                and unsent_bytes(self.transport) == 0
            )
            after = self.cycle if forgotten else _NOTHING
            stalled = after is not _NOTHING and after is self._answered_after
            self._answered_after = after
            return stalled

    return Connection


class _Counting:
    """A transport that counts what is written to it."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.n_written = 0

    def write(self, data: bytes) -> None:
        self.n_written += len(data)
        self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def unsent_bytes(transport: asyncio.Transport) -> int:
    """Return how much waits in a transport's buffers; under TLS, also in those below it."""
    n_bytes = transport.get_write_buffer_size()
    # asyncio has no public way to it.
    below = getattr(getattr(transport, "_ssl_protocol", None), "_transport", None)
    return n_bytes + (0 if below is None else below.get_write_buffer_size())
