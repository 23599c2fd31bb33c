"""Who is let through: token files, hosts, origins; over raw sockets, to a server that runs."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse
from starlette.routing import Route

from emoclip_clinical.records import InputError
from emoclip_clinical.serving import tokens as tokens_module
from emoclip_clinical.serving.access import Guard
from emoclip_clinical.serving.tokens import Tokens, read_tokens

GOOD, OTHER = "a-token.of_40~characters+that/is-good==", "0123456789abcdef"
BEARER = f"Authorization: Bearer {GOOD}"


def write_tokens(folder: Path, text: str | bytes, *, mode: int = 0o600) -> Path:
    path = folder / "tokens"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return path


def faults(path: Path) -> tuple[str, ...]:
    with pytest.raises(InputError) as caught:
        read_tokens(path)
    return caught.value.faults


def test_a_file_of_tokens_is_kept_as_digests(tmp_path: Path) -> None:
    content = f"\ufeff# two of us\r\n\r\n  {OTHER}  \r\n{'b' * 20}==\n# the end"
    tokens = read_tokens(write_tokens(tmp_path, content))
    assert tokens.digests == tuple(
        hashlib.sha256(t).digest() for t in (OTHER.encode(), b"b" * 20 + b"==")
    )
    assert OTHER not in repr(tokens)
    owner = tokens.owner(OTHER.encode())
    assert owner == hashlib.sha256(hashlib.sha256(OTHER.encode()).digest()).hexdigest()
    assert owner != tokens.owner(b"b" * 20 + b"==")
    assert tokens.owner(b"") is None
    assert tokens.owner(OTHER[:-1].encode()) is None


def test_every_fault_has_its_line_and_no_token_is_told(tmp_path: Path) -> None:
    lines = ["# ours", "tooshort", OTHER, "secretsecret secretsecret", "", OTHER, "é" * 20,
             "c" * 1025, "=" * 20]  # fmt: skip
    found = faults(write_tokens(tmp_path, "\n".join(lines)))
    assert [fault.split(":")[0] for fault in found] == [
        f"tokens, line {n}" for n in (2, 4, 6, 7, 8, 9)
    ]
    assert "line 3" in found[2]
    assert "got" not in " ".join(found)
    assert not any(secret in " ".join(found) for secret in ("tooshort", OTHER, "secretsecret"))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o777])
def test_a_file_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    (fault,) = faults(write_tokens(tmp_path, OTHER, mode=mode))
    assert "chmod 600 tokens" in fault
    assert str(tmp_path) not in fault


def test_files_that_hold_no_tokens_are_refused(tmp_path: Path) -> None:
    assert "no token" in faults(write_tokens(tmp_path, "# none\n\n"))[0]
    assert "line 2: UTF-8" in faults(write_tokens(tmp_path, b"# a\n\xff\xfe" + b"a" * 20))[0]
    assert "at most" in faults(write_tokens(tmp_path, "#" * (2**20 + 1)))[0]
    assert "can not be read" in faults(tmp_path / "nowhere")[0]
    assert "can not be read" in faults(tmp_path)[0]


def test_all_tokens_are_compared_whichever_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []

    def counted(one: bytes, other: bytes) -> bool:
        compared.append(one)
        return hmac.compare_digest(one, other)

    class Counting:
        compare_digest = staticmethod(counted)

    monkeypatch.setattr(tokens_module, "hmac", Counting)
    tokens = Tokens(tuple(hashlib.sha256(bytes([n])).digest() for n in range(5)))
    assert tokens.owner(bytes([0])) is not None
    assert tokens.owner(b"none") is None
    assert compared == [*tokens.digests, *tokens.digests]


@dataclass
class Running:
    """A guarded server, and what came through to the app behind it."""

    port: int
    states: list[dict[str, Any]] = field(default_factory=list)

    def ask(
        self, target: str, *headers: str, method: str = "GET", host: str = "", body: bytes = b""
    ) -> Answer:
        lines = [f"{method} {target} HTTP/1.1", f"Host: {host or f'127.0.0.1:{self.port}'}",
                 *headers, "Connection: close", "", ""]  # fmt: skip
        return self.send("\r\n".join(lines).encode("latin-1") + body)

    def send(self, content: bytes) -> Answer:
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            connection.sendall(content)
            received = b""
            try:
                while piece := connection.recv(65536):
                    received += piece
            except ConnectionResetError:  # what was sent to a closed end comes back so
                pass
        head, _, rest = received.partition(b"\r\n\r\n")
        status, *fields = head.decode("latin-1").split("\r\n")
        pairs = [line.split(": ", 1) for line in fields]
        named = {name.lower(): value for name, value in pairs}
        return Answer(int(status.split()[1]), named, rest)


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


Serve = Callable[..., Running]


@pytest.fixture
def serve() -> Iterator[Serve]:
    started: list[tuple[uvicorn.Server, threading.Thread]] = []

    def start(*, tokens: Tokens | None = None, hosts: tuple[str, ...] = ()) -> Running:
        running = Running(0)

        async def echo(request: Request) -> JSONResponse:
            running.states.append(dict(request.scope["state"]))
            return JSONResponse({"n": len(await request.body())})

        async def page(request: Request) -> HTMLResponse:
            return HTMLResponse("<p>", headers={"Content-Security-Policy": "script-src 'self'"})

        app = Starlette(
            routes=[
                Route("/healthz", echo), Route("/readyz", echo), Route("/docs", page),
                Route("/v1/echo", echo, methods=["GET", "POST"]),
            ]
        )  # fmt: skip
        config = uvicorn.Config(
            Guard(app, tokens=tokens, hosts=hosts), port=0, log_level="critical", access_log=False
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        started.append((server, thread))
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        running.port = server.servers[0].sockets[0].getsockname()[1]
        return running

    yield start
    for server, thread in started:
        server.should_exit = True
        thread.join(timeout=10)
        assert not thread.is_alive()


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    return read_tokens(write_tokens(tmp_path, f"{OTHER}\n{GOOD}\n"))


def test_without_a_token_only_health_is_answered(serve: Serve, tokens: Tokens) -> None:
    server = serve(tokens=tokens)
    closed = ["/v1/echo", "/", "/metrics", "/docs", "/openapi.json", "/healthz/", "//healthz",
              "/healthz/../v1/echo", "/v1/%65cho", "*", "/readyz%00"]  # fmt: skip
    for target in closed:
        answer = server.ask(target)
        assert answer.status == 401, target
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.headers["content-type"] == "application/problem+json"
        assert json.loads(answer.body)["status"] == 401
    assert server.states == []
    for target in ("/healthz", "/readyz", "/%68ealthz"):
        assert server.ask(target).status == 200, target
    assert [state["owner"] for state in server.states] == ["", "", ""]


@pytest.mark.parametrize(
    "headers",
    [
        ["Authorization: Bearer wrong-token-of-20-chars"],
        [f"Authorization: Basic {GOOD}"],
        [f"Authorization: {GOOD}"],
        ["Authorization: Bearer"],
        ["Authorization:"],
        [f"Authorization: Bearer {GOOD},{GOOD}"],
        [f"Authorization: Bearer {GOOD} x"],
        [f"Authorization: Bearer \u00e9{GOOD}"],
        [f"Authorization: Bearer {GOOD[:-1]}"],
        [f"Authorization: Bearer {GOOD.upper()}"],
        [BEARER, BEARER],
        [BEARER, "Authorization: Bearer wrong-token-of-20-chars"],
        [f"Cookie: token={GOOD}"],
    ],
)
def test_wrong_tokens(serve: Serve, tokens: Tokens, headers: list[str]) -> None:
    server = serve(tokens=tokens)
    answer = server.ask("/v1/echo", *headers)
    assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert GOOD.encode() not in answer.body
    assert server.states == []


def test_the_owner_is_told_and_is_no_token(serve: Serve, tokens: Tokens) -> None:
    server = serve(tokens=tokens)
    for header in (BEARER, f"authorization: bEARER  {GOOD}", f"Authorization: Bearer {OTHER}"):
        answer = server.ask("/v1/echo", header)
        assert answer.status == 200
        assert server.states[-1]["request_id"] == answer.headers["x-request-id"]
    first, again, other = (state["owner"] for state in server.states)
    assert first == again != other
    digest = hashlib.sha256(GOOD.encode())
    assert first == hashlib.sha256(digest.digest()).hexdigest()
    assert digest.hexdigest() != first
    # With tokens any host may be named: whoever has one was given the address.
    assert server.ask("/v1/echo", BEARER, host="gpu.example:8000").status == 200


def test_a_body_without_a_token_is_not_waited_for(serve: Serve, tokens: Tokens) -> None:
    server = serve(tokens=tokens)
    for header in ("Content-Length: 4000000000", "Transfer-Encoding: chunked"):
        head = f"POST /v1/echo HTTP/1.1\r\nHost: x\r\n{header}\r\nExpect: 100-continue\r\n\r\n"
        answer = server.send(head.encode() + b"ab")
        assert (answer.status, answer.headers["connection"]) == (401, "close")
    short = server.ask("/v1/echo", "Content-Length: 3", method="POST", body=b"abc")
    assert short.status == 401
    assert server.states == []
    full = server.ask("/v1/echo", BEARER, "Content-Length: 3", method="POST", body=b"abc")
    assert json.loads(full.body) == {"n": 3}


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:PORT", 200), ("localhost:PORT", 200), ("LOCALHOST:PORT", 200),
        ("[::1]:PORT", 200), ("127.8.9.10:PORT", 200),
        # The near end of a tunnel has a port of its own.
        ("127.0.0.1", 200), ("localhost:1", 200), ("[::1]", 200), ("evil.example:PORT", 421),
        ("127.0.0.1.evil.example:PORT", 421), ("localhost.evil.example:PORT", 421),
        ("10.0.0.1:PORT", 421), ("0.0.0.0:PORT", 421), ("x@127.0.0.1:PORT", 421),
        ("::1:PORT", 421), ("[127.0.0.1:PORT", 421), ("127.0.0.1:PORT:PORT", 421),
        ("friend.example:PORT", 200), ("Friend.example", 200), ("exact.example:99", 200),
        ("exact.example:98", 421),
    ],
)  # fmt: skip
def test_hosts_of_a_server_without_tokens(serve: Serve, host: str, status: int) -> None:
    server = serve(hosts=("friend.example", "exact.example:99"))
    named = host.replace("PORT", str(server.port))
    answer = server.ask("/v1/echo", host=named)
    assert answer.status == status
    assert b"evil" not in answer.body
    if status == 200:
        assert server.states[0]["owner"] == ""


def test_hosts_of_a_server_with_tokens(serve: Serve, tokens: Tokens) -> None:
    server = serve(tokens=tokens, hosts=("gpu.example",))
    assert server.ask("/v1/echo", BEARER, host="gpu.example:443").status == 200
    assert server.ask("/v1/echo", BEARER).status == 421
    assert server.ask("/healthz").status == 200
    none = b"GET /v1/echo HTTP/1.0\r\n\r\n"
    assert server.send(none).status == 421
    two = f"GET /v1/echo HTTP/1.1\r\nHost: gpu.example\r\nHost: evil\r\n{BEARER}\r\n\r\n"
    assert server.send(two.encode()).status in {400, 421}


def test_no_other_page_may_ask(serve: Serve) -> None:
    server = serve()
    here = f"http://127.0.0.1:{server.port}"
    foreign = ["https://evil.example", "null", "", f"http://localhost:{server.port}", "file://",
               f"http://127.0.0.1:{server.port + 1}", f"{here}.evil.example"]  # fmt: skip
    for origin in foreign:
        for method, target in (("GET", "/v1/echo"), ("OPTIONS", "/v1/echo"), ("GET", "/healthz")):
            ask = ["Access-Control-Request-Method: POST"] if method == "OPTIONS" else []
            answer = server.ask(target, f"Origin: {origin}", *ask, method=method)
            assert answer.status == 403, origin
            assert not any(name.startswith("access-control") for name in answer.headers)
    assert server.ask("/v1/echo", f"Origin: {here}", "Origin: https://evil.example").status == 403
    for site in ("cross-site", "same-site", "unheard-of"):
        assert server.ask("/v1/echo", f"Sec-Fetch-Site: {site}").status == 403
    assert server.states == []
    own = server.ask("/v1/echo", f"Origin: {here}", "Sec-Fetch-Site: same-origin")
    assert own.status == 200
    assert not any(name.startswith("access-control") for name in own.headers)
    followed = ["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: "]
    assert server.ask("/docs", *followed[:2], followed[2] + "document").status == 200
    assert server.ask("/docs", *followed[:2], followed[2] + "iframe").status == 403


def test_a_page_behind_a_proxy_that_speaks_tls(serve: Serve, tokens: Tokens) -> None:
    server = serve(tokens=tokens)
    own = server.ask("/v1/echo", BEARER, "Origin: https://gpu.example", host="gpu.example")
    assert own.status == 200
    assert server.ask("/v1/echo", BEARER, "Origin: https://gpu.example").status == 403
    # A preflight carries no token, and learns nothing.
    ask = ["Origin: https://evil.example", "Access-Control-Request-Method: POST"]
    assert server.ask("/v1/echo", *ask, method="OPTIONS").status == 401


def test_headers_of_every_answer(serve: Serve) -> None:
    server = serve()
    answers = [
        server.ask("/v1/echo"), server.ask("/nowhere"), server.ask("/v1/echo", host="evil"),
        server.ask("/v1/echo", method="DELETE"), server.ask("/v1/echo", "Origin: null"),
    ]  # fmt: skip
    assert [answer.status for answer in answers] == [200, 404, 421, 405, 403]
    for answer in answers:
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert len({answer.headers["x-request-id"] for answer in answers}) == 5
    sent = server.ask("/docs", "X-Request-ID: mine").headers
    assert sent["x-request-id"] != "mine"
    assert sent["content-security-policy"] == "script-src 'self'"


def test_odd_targets_get_the_right_refusal(serve: Serve) -> None:
    server = serve()
    nowhere = ["/v1/../..//etc/passwd", "/v1/%2e%2e/%2e%2e/etc/passwd", "/..%2f..%2fetc%2fpasswd",
               "/v1/echo%00", "/v1/echo/%ff%fe", "//v1/echo", "/v1/echo;x", "/\\..\\windows",
               f"http://127.0.0.1:{server.port}/v1/echo2"]  # fmt: skip
    for target in nowhere:
        answer = server.ask(target)
        assert answer.status == 404, target
        assert b"root:" not in answer.body
    assert server.ask("/v1/" + "a" * 9000).status == 414
    assert server.ask("/v1/echo?" + "a" * 9000).status == 414
    assert server.ask("/v1/echo", *(f"X-{n}: 1" for n in range(200))).status == 431
    assert server.ask("/v1/echo", "X: " + "a" * 40_000).status == 431
    assert server.ask("/v1/echo", "X: " + "a" * 400_000).status == 400
    assert server.ask("/v1/" + "a" * 400_000).status == 400
    assert server.send(b"\x16\x03\x01\x02\x00 not http\r\n\r\n").status == 400
    assert server.ask("/v1/echo", "Content-Length: 1", "Content-Length: 2").status == 400
    assert server.ask("/v1/echo").status == 200


def test_web_sockets_are_closed(serve: Serve) -> None:
    import asyncio

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("let through")

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(Guard(app, tokens=None)({"type": "websocket"}, receive, send))
    assert [message["type"] for message in sent] == ["websocket.close"]
    upgrade = ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
               "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]  # fmt: skip
    server = serve()
    answer = server.ask("/v1/echo", *upgrade)
    assert answer.status != 101
