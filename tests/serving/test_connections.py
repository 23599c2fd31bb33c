"""Connections that send no request, or read no answer, are cut; slow ones are not."""

from __future__ import annotations

import json
import logging
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import SimpleNamespace

import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from emoclip_clinical.serving.config import ServingConfig
from emoclip_clinical.serving.connections import SPARE_CONNECTIONS, connections
from emoclip_clinical.serving.jobs import Jobs
from emoclip_clinical.serving.metrics import Metrics
from emoclip_clinical.serving.server import DoorServer
from emoclip_clinical.serving.standing import Standing
from emoclip_clinical.serving.watching import Watched

STALL_SECONDS = 0.3
LONGEST_SECONDS = 20.0
N_BYTES, N_PIECES = 20_000_000, 40
REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
PIECES = {"/pieces": 40}
IN_PIECES = b"GET /pieces HTTP/1.1\r\nHost: a\r\n\r\n"


async def much(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with much, or at /little with nothing, without a look at the body."""
    n_bytes = 0 if scope["path"] == "/little" else N_BYTES
    headers = [(b"content-length", str(n_bytes).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for left in range(PIECES.get(scope["path"], 1) - 1, -1, -1):
        body = bytes(n_bytes // PIECES.get(scope["path"], 1))
        await send({"type": "http.response.body", "body": body, "more_body": left > 0})


@contextmanager
def served(app: ASGIApp, **given: float) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        http = connections(**{"stall_seconds": STALL_SECONDS, **given})
        server = uvicorn.Server(
            uvicorn.Config(
                app, http=http, lifespan="off", ws="none", log_config=None, timeout_keep_alive=60
            )
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield listening.getsockname()[1]
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with served(much) as made:
        yield made


def connect(port: int) -> socket.socket:
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    connection.settimeout(LONGEST_SECONDS)
    connection.connect(("127.0.0.1", port))
    return connection


def is_cut(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: a\r\n"])
def test_without_a_complete_head_a_connection_is_cut(port: int, sent: bytes) -> None:
    with connect(port) as connection:
        connection.sendall(sent)
        assert is_cut(connection)


def dribble(connection: socket.socket) -> None:
    end = time.monotonic() + LONGEST_SECONDS
    while time.monotonic() < end:
        connection.sendall(b"X-More: a\r\n")
        time.sleep(STALL_SECONDS / 10)


def test_a_head_that_dribbles_in_is_cut(port: int) -> None:
    with connect(port) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n")
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            dribble(connection)


@pytest.mark.parametrize("n_late", [1, 10])
def test_a_body_that_comes_after_its_answer_keeps_no_connection(port: int, n_late: int) -> None:
    with connect(port) as connection, connection.makefile("rb") as answer:
        connection.sendall(b"POST /little HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n")
        assert answer.readline().startswith(b"HTTP/1.1 200")
        while answer.readline() != b"\r\n":
            pass
        connection.sendall(b"a" * n_late)
        assert is_cut(connection)


def bytes_left(connection: socket.socket) -> int:
    n_read = 0
    with suppress(ConnectionResetError):
        while chunk := connection.recv(2**20):
            n_read += len(chunk)
    return n_read


@pytest.mark.parametrize("request_", [REQUEST, IN_PIECES])
def test_who_reads_nothing_is_cut(port: int, request_: bytes) -> None:
    with connect(port) as connection:
        connection.sendall(request_)
        time.sleep(4 * STALL_SECONDS)
        # What lay in buffers still comes.
        assert 0 < bytes_left(connection) < N_BYTES


@pytest.mark.parametrize("request_", [REQUEST, IN_PIECES])
def test_who_reads_slowly_gets_all_and_may_ask_again(port: int, request_: bytes) -> None:
    with connect(port) as connection:
        for _ in range(2):
            connection.sendall(request_)
            began = time.monotonic()
            with connection.makefile("rb") as answer:
                assert answer.readline().startswith(b"HTTP/1.1 200")
                while answer.readline() != b"\r\n":
                    pass
                for _ in range(N_PIECES):
                    assert len(answer.read(N_BYTES // N_PIECES)) == N_BYTES // N_PIECES
                    time.sleep(STALL_SECONDS / 10)
            assert time.monotonic() - began > 3 * STALL_SECONDS
            # Idle between two requests is not stalled.
            time.sleep(3 * STALL_SECONDS)


def answer_of(connection: socket.socket) -> bytes:
    """All that comes until the connection is closed."""
    with suppress(ConnectionResetError), connection.makefile("rb") as file:
        return file.read()
    return b""


LITTLE = b"GET /little HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def test_who_holds_connections_and_asks_nothing_keeps_nobody_out() -> None:
    with served(much, stall_seconds=30, most=4) as port, ExitStack() as held:
        kept = held.enter_context(connect(port))
        kept.sendall(LITTLE.replace(b"close", b"keep-alive"))
        assert kept.recv(12) == b"HTTP/1.1 200"
        idle = []
        for _ in range(40):
            idle.append(held.enter_context(connect(port)))
            idle[-1].sendall(b"GET / HT")
            with connect(port) as asks:
                asks.sendall(LITTLE)
                assert answer_of(asks).startswith(b"HTTP/1.1 200")
        # The oldest were cut, the last ones were not.
        assert all(is_cut(one) for one in idle[:37])
        # Nor was the one that had asked before.
        kept.sendall(LITTLE)
        assert answer_of(kept).count(b"HTTP/1.1 200") == 1
        idle[-1].sendall(b"TP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert len(answer_of(idle[-1])) > N_BYTES


def test_who_is_being_answered_keeps_the_place() -> None:
    with served(much, stall_seconds=30, most=2) as port, ExitStack() as held:
        busy = [held.enter_context(connect(port)) for _ in range(2)]
        for one in busy:
            # Its answer does not fit into any buffer.
            one.sendall(REQUEST)
            assert one.recv(1) == b"H"
        more = [held.enter_context(connect(port)) for _ in range(SPARE_CONNECTIONS + 20)]
        for one in more:
            with suppress(BrokenPipeError, ConnectionResetError):
                one.sendall(REQUEST)
        answered = [one for one in more if not is_cut(one)]
        # One that asked nothing yet may go in favour of the next.
        assert 1 <= len(answered) <= SPARE_CONNECTIONS
        for one in busy:
            n_bytes = 0
            while n_bytes < N_BYTES:
                n_bytes += len(one.recv(2**20))


def test_what_is_no_http_is_a_problem_with_a_number(
    port: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="emoclip_clinical.serving"), connect(port) as one:
        one.sendall(b"GET /secret HTTP/1.1\r\nHost : a\r\n\r\n")
        head, _, body = answer_of(one).partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    fields = dict(line.lower().split(": ", 1) for line in lines)
    assert status.startswith("HTTP/1.1 400")
    assert fields["content-type"] == "application/problem+json"
    assert fields["cache-control"] == "no-store"
    assert fields["connection"] == "close"
    assert int(fields["content-length"]) == len(body)
    assert json.loads(body)["faults"] == ["the request is not sound HTTP"]
    assert any(fields["x-request-id"] in record.getMessage() for record in caplog.records)
    assert "secret" not in caplog.text


def test_an_answer_is_sent_to_its_end_before_the_server_ends() -> None:
    config, standing = ServingConfig(), Standing()
    door = SimpleNamespace(config=config, standing=standing, jobs=Jobs(config=config))

    class Server(DoorServer):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await uvicorn.Server.startup(self, sockets=sockets)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        uvicorns = uvicorn.Config(
            Watched(much, metrics=Metrics(), standing=standing),
            http=connections(stall_seconds=30), lifespan="off", ws="none", log_config=None,
            timeout_graceful_shutdown=1,
        )  # fmt: skip
        server = Server(uvicorns, door=door, ready=lambda: None)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        with connect(listening.getsockname()[1]) as connection:
            connection.sendall(REQUEST)
            with connection.makefile("rb") as answer:
                while answer.readline() != b"\r\n":
                    pass
                server.handle_exit(signal.SIGTERM, None)
                n_read = 0
                # Longer than uvicorn waits for connections when all is done.
                while chunk := answer.read(N_BYTES // N_PIECES):
                    n_read += len(chunk)
                    time.sleep(2.0 / N_PIECES)
        thread.join()
    assert n_read == N_BYTES
