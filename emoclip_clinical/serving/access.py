"""Who may ask the server: told from a request's head, before anything else looks at it.

Any page that is open in a browser can send requests to a port of that machine, and a name of its
own can be made to point there (DNS rebinding). So a server without tokens, which listens on the
loopback address alone, looks at the host that a request names; and whether or not there are
tokens, no page but the server's own may ask.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Collection
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from emoclip_clinical.serving.problems import Problem
from emoclip_clinical.serving.tokens import Tokens

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
"""What is answered without a token: whether the server lives, and no more."""

LONGEST_TARGET_BYTES = 8192
MOST_HEADERS, MOST_HEADER_BYTES = 100, 32 * 1024
_KEPT_OPEN_BYTES = 64 * 1024
_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_POLICY = "default-src 'none'; frame-ancestors 'none'"


class Guard:
    """Let through who may ask, and say who it is in ``scope["state"]["owner"]``.

    The owner is a digest that tells tokens apart, empty where there are none. The number under
    which the answer is sent, ``X-Request-ID``, stands in ``scope["state"]["request_id"]``.

    Parameters
    ----------
    app : ASGI application
        What is behind it.
    tokens : Tokens, optional
        None: whoever reaches the server may ask, and must name it by a loopback host.
    hosts : collection of str
        Hosts that a request may name, ``name`` (any port) or ``name:port``. With tokens, empty
        stands for any; without, these are let through beside the loopback ones.
    """

    def __init__(self, app: ASGIApp, *, tokens: Tokens | None, hosts: Collection[str] = ()) -> None:
        self._app = app
        self._tokens = tokens
        self._hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass it on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = secrets.token_hex(8)
        headers = Headers(scope=scope)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent = MutableHeaders(scope=message)
                for name, value in headers_of_all_answers(request_id).items():
                    sent[name] = value
                # A page says itself what it may load.
                sent.setdefault("Content-Security-Policy", _POLICY)
            await send(message)

        try:
            owner = self._owner(scope, headers)
        except Problem as problem:
            if _has_long_body(headers):
                # What is still being sent is not waited for.
                problem.headers["Connection"] = "close"
            await problem.response()(scope, receive, send_with_headers)
            return
        scope.setdefault("state", {}).update(owner=owner, request_id=request_id)
        await self._app(scope, receive, send_with_headers)

    def _owner(self, scope: Scope, headers: Headers) -> str:
        is_open = scope["path"] in OPEN_PATHS
        if not (self._tokens is not None and is_open):
            # Who asks a server in a cluster for its health names it by its address.
            self._check_host(scope, headers)
        owner = "" if self._tokens is None or is_open else _presented_by(self._tokens, headers)
        _check_size(scope, headers)
        _check_origin(scope, headers)
        return owner

    def _check_host(self, scope: Scope, headers: Headers) -> None:
        if self._tokens is not None and not self._hosts:
            return
        named = headers.getlist("host")
        host = named[0].lower() if len(named) == 1 else ""
        if host in self._hosts or _name_of(host) in self._hosts:
            return
        if self._tokens is None and _is_loopback(host):
            return
        raise Problem(HTTPStatus.MISDIRECTED_REQUEST, "the request names a host that is not this")


def headers_of_all_answers(request_id: str) -> dict[str, str]:
    """Return the headers that every answer has, by name."""
    return {"X-Request-ID": request_id, **_HEADERS}


def owner_of(request: Request) -> str:
    """Return who asks: a digest of the token, or nothing where there are no tokens."""
    return str(getattr(request.state, "owner", ""))


def _presented_by(tokens: Tokens, headers: Headers) -> str:
    given = headers.getlist("authorization")
    # Starlette decodes headers as latin-1, which no byte is lost in.
    scheme, _, token = (given[0] if len(given) == 1 else "").partition(" ")
    owner = tokens.owner(token.strip(" ").encode("latin-1"))
    if scheme.lower() != "bearer" or owner is None:
        raise Problem(
            HTTPStatus.UNAUTHORIZED,
            "a token of this server is wanted: Authorization: Bearer <token>",
            headers={"WWW-Authenticate": "Bearer"},
        )
    return owner


def _check_size(scope: Scope, headers: Headers) -> None:
    target = len(scope.get("raw_path") or b"") + len(scope.get("query_string") or b"")
    if target > LONGEST_TARGET_BYTES:
        raise Problem(
            HTTPStatus.REQUEST_URI_TOO_LONG,
            f"an address of at most {LONGEST_TARGET_BYTES} bytes was wanted, got {target}",
        )
    n_bytes = sum(len(name) + len(value) for name, value in headers.raw)
    if len(headers.raw) > MOST_HEADERS or n_bytes > MOST_HEADER_BYTES:
        raise Problem(
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
            f"at most {MOST_HEADERS} headers of {MOST_HEADER_BYTES} bytes together were wanted, "
            f"got {len(headers.raw)} of {n_bytes}",
        )


def _check_origin(scope: Scope, headers: Headers) -> None:
    origins, host = headers.getlist("origin"), headers.get("host", "").lower()
    # Where a proxy speaks TLS for the server, its pages are https and what arrives is http.
    own = {f"{scope['scheme']}://{host}", f"https://{host}"}
    site = headers.get("sec-fetch-site", "none")
    # A link that somebody follows shows what it leads to, and tells the page it stood on nothing.
    followed = (
        scope["method"] == "GET"
        and headers.get("sec-fetch-mode") == "navigate"
        and headers.get("sec-fetch-dest") == "document"
    )
    foreign = len(origins) > 1 or any(origin.lower() not in own for origin in origins)
    if foreign or (site not in {"none", "same-origin"} and not followed):
        raise Problem(HTTPStatus.FORBIDDEN, "another page may not ask this server")


def _has_long_body(headers: Headers) -> bool:
    length = headers.get("content-length", "0")
    if "transfer-encoding" in headers or not length.isdecimal():
        return True
    return len(length) > len(str(_KEPT_OPEN_BYTES)) or int(length) > _KEPT_OPEN_BYTES


def _is_loopback(host: str) -> bool:
    """Tell whether only this machine goes by a host's name; its port may be that of a tunnel."""
    name = _name_of(host)
    port = host[len(name) :]
    if port and not port[1:].isdecimal():
        return False
    if name == "localhost":
        return True
    try:
        if name.startswith("[") and name.endswith("]"):
            return ipaddress.IPv6Address(name[1:-1]).is_loopback
        return ipaddress.IPv4Address(name).is_loopback
    except ValueError:
        return False


def _name_of(host: str) -> str:
    """Return ``name`` of ``name:port``; the colons of ``[::1]`` divide nothing."""
    end = host.find("]") + 1
    colon = host.find(":", end)
    return host if colon < 0 else host[:colon]
