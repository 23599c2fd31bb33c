"""Who may speak to the viewer: the one browser that was given its address, on this machine.

Any page that is open in the same browser can send requests to a port of this machine, and a name
of its own can be made to point here (DNS rebinding). So the host that a request names, where it
comes from and a session cookie are checked before anything else looks at it.
"""

from __future__ import annotations

import secrets

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_READING = frozenset({"GET", "HEAD"})
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "media-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Access:
    """Let through the requests of one browser session, and refuse all others.

    Parameters
    ----------
    app : ASGI application
        What is behind it.
    port : int
        Where the viewer listens.
    token : str
        Opens the session, once.
    session : str
        What the session's cookie holds.
    """

    def __init__(self, app: ASGIApp, *, port: int, token: str, session: str) -> None:
        self._app = app
        self._hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
        self._token: str | None = token
        self._session = session
        # Cookies do not tell ports apart: two viewers must not overwrite each other's.
        self._cookie = f"emoclip_viewer_{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass it on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
            await send(message)

        request = Request(scope)
        answer = self._foreign(request) or self._session_answer(request)
        await (answer or self._app)(scope, receive, send_with_headers)

    def _foreign(self, request: Request) -> Response | None:
        """Refuse what is addressed to another host, or sent by another page."""
        host = request.headers.get("host", "")
        if host not in self._hosts:
            return PlainTextResponse("this is not the host of the viewer", 421)
        origin = request.headers.get("origin")
        here = f"http://{host}"
        if origin != here and (origin is not None or request.method not in _READING):
            return PlainTextResponse("another page may not ask this", 403)
        if request.headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
            return PlainTextResponse("another page may not ask this", 403)
        return None

    def _session_answer(self, request: Request) -> Response | None:
        """Open the session, or refuse a request that has none."""
        token = request.query_params.get("token")
        if request.method == "GET" and request.url.path == "/" and token is not None:
            return self._opened(token)
        known = request.cookies.get(self._cookie, "")
        if secrets.compare_digest(known.encode(), self._session.encode()):
            return None
        return PlainTextResponse(
            "This page is opened with the address that `emoclip-clinical view` printed.", 401
        )

    def _opened(self, token: str) -> Response:
        if self._token is None or not secrets.compare_digest(token.encode(), self._token.encode()):
            return PlainTextResponse(
                "This address has been used, or is not the viewer's. Start "
                "`emoclip-clinical view` again for a new one.",
                403,
            )
        self._token = None
        answer = RedirectResponse("/", 303)
        answer.set_cookie(self._cookie, self._session, httponly=True, samesite="strict", path="/")
        return answer
