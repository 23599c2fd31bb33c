"""Connections that make headway: who sends no request, or reads no answer, holds no place."""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

SLOWEST_BYTES_PER_SECOND = 4096
_NOTHING = object()


def connections(*, stall_seconds: float) -> type[H11Protocol]:
    """Return how uvicorn is to hold a connection.

    Parameters
    ----------
    stall_seconds : float
        After once to twice this time, a connection is cut that has not sent a request's complete
        head, or has not taken `SLOWEST_BYTES_PER_SECOND` of the answer that waits for it, or was
        answered before its body had come, for which uvicorn would wait without end. Bodies have
        limits of their own (`bodies.body_of`), and so have connections without a request
        (`uvicorn.Config.timeout_keep_alive`).
    """

    class Connection(H11Protocol):
        _next_look: asyncio.TimerHandle
        _headless_after: object = _NOTHING
        _answered_after: object = _NOTHING
        _unread: tuple[object, int] = (_NOTHING, 0)

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._look_later()

        def connection_lost(self, exc: Exception | None) -> None:
            self._next_look.cancel()
            super().connection_lost(exc)

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
            (cycle, before), now = self._unread, unsent_bytes(self.transport)
            self._unread = (self.cycle, now)
            left = max(0, before - SLOWEST_BYTES_PER_SECOND * stall_seconds)
            return cycle is self.cycle and before > 0 and now > left

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


def unsent_bytes(transport: asyncio.Transport) -> int:
    """Return how much waits in a transport's buffers; under TLS, also in those below it."""
    n_bytes = transport.get_write_buffer_size()
    # asyncio has no public way to it.
    below = getattr(getattr(transport, "_ssl_protocol", None), "_transport", None)
    return n_bytes + (0 if below is None else below.get_write_buffer_size())
