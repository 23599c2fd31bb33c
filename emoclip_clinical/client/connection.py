"""The way to the server: one request, tried again while the server is full, and its faults."""

from __future__ import annotations

import ipaddress
import random
import re
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import httpx2

from emoclip_clinical.client.bodies import JSON, Body
from emoclip_clinical.client.errors import ServerError, refusal
from emoclip_clinical.records import InputError

FULL = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)

_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 9110, 11.2
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.1, 5.0
_TORN_PAUSES_SECONDS = (0.2, 1.0)
# Shorter than servers keep an idle connection open: none is used that is just being closed.
_IDLE_SECONDS = 2.0


@dataclass(frozen=True)
class ClientConfig:
    """How patient a client is, and how much it asks for at once.

    Attributes
    ----------
    timeout_seconds : float
        Longest silence of the server within a request; more than its own limit for one.
    connect_seconds : float
        Longest wait for a connection.
    patience_seconds : float
        How long a request is sent again while the server answers that it has no room.
    requests_at_once : int
        Requests that one call of many frames, clips or texts keeps on their way.
    """

    timeout_seconds: float = 150.0
    connect_seconds: float = 10.0
    patience_seconds: float = 120.0
    requests_at_once: int = 4

    def __post_init__(self) -> None:
        faults = [
            f"{name} must be {wanted}, got {getattr(self, name)}"
            for name, wanted, good in (
                ("timeout_seconds", "more than 0", self.timeout_seconds > 0),
                ("connect_seconds", "more than 0", self.connect_seconds > 0),
                ("patience_seconds", "at least 0", self.patience_seconds >= 0),
                ("requests_at_once", "at least 1", self.requests_at_once >= 1),
            )
            if not good
        ]
        if faults:
            raise InputError(faults)


class Connection:
    """Requests to one server; several threads may use it at once.

    It stands on a transport and not on `httpx2.Client`, which writes the address of every request
    to the log and takes proxies and passwords from the environment.

    Parameters
    ----------
    url : str
        The server's address, ``http://host:port`` or ``https://...``.
    token : str, optional
        Sent with every request.
    allow_plain_http : bool
        Whether videos and the token may travel to another machine without encryption.
    ca_file : path, optional
        Certificates to trust in place of the public ones, PEM.
    config : ClientConfig
    transport : httpx2.BaseTransport, optional
        What carries the requests; by default the network.

    Raises
    ------
    InputError
        Naming what is wrong with the address or the token.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None,
        allow_plain_http: bool,
        ca_file: str | Path | None,
        config: ClientConfig,
        transport: httpx2.BaseTransport | None,
    ) -> None:
        self._url = _checked_url(url, allow_plain_http=allow_plain_http)
        self._headers = {"User-Agent": "emoclip-clinical", "Accept-Encoding": "identity"}
        if token is not None:
            if not _TOKEN.fullmatch(token):
                raise InputError("a token is made of letters, digits and -._~+/")
            self._headers["Authorization"] = f"Bearer {token}"
        self._config = config
        self._transport = transport or httpx2.HTTPTransport(
            verify=_trusted(ca_file) if self._url.scheme == "https" else False,
            trust_env=False,
            limits=httpx2.Limits(keepalive_expiry=_IDLE_SECONDS),
        )

    def close(self) -> None:
        """Close what is open to the server."""
        self._transport.close()

    def ask(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Body | None = None,
        accept: str = JSON,
        patience_seconds: float | None = None,
    ) -> httpx2.Response:
        """Send a request; again while the server is full.

        Parameters
        ----------
        method, path : str
            ``GET``, ``/v1/models``.
        params : mapping of str to str, optional
            The query.
        body : Body, optional
        accept : str
            Media type of the answer.
        patience_seconds : float, optional
            In place of the configured one.

        Returns
        -------
        httpx2.Response
            Read to its end, with a status below 300; of the media type that was asked for, or with
            202 and JSON. To ``DELETE``, any.

        Raises
        ------
        ServerError
            If the server refuses, or the answer is not this server's.
        ConnectionError, TimeoutError
            If it can not be reached, or falls silent.
        """
        patience = self._config.patience_seconds if patience_seconds is None else patience_seconds
        until, pause = time.monotonic() + patience, _FIRST_PAUSE_SECONDS
        while True:
            response = self._untorn(method, path, params=params, body=body, accept=accept)
            if response.status_code not in FULL:
                break
            # Spread out, or all who were refused together would come back together.
            wait = max(_asked_pause(response), pause) * random.uniform(1.0, 1.25)
            if time.monotonic() + wait > until:
                break
            time.sleep(wait)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        if not response.is_success:
            raise refusal(response)
        if method != "DELETE":
            _check_media_type(response, accept=accept)
        return response

    def _untorn(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None,
        body: Body | None,
        accept: str,
    ) -> httpx2.Response:
        """Send a request; again where it only asks, and the network had a hiccup."""
        for pause in (*_TORN_PAUSES_SECONDS, None):
            try:
                return self._once(method, path, params=params, body=body, accept=accept)
            except ConnectionError:
                if method != "GET" or pause is None:
                    raise
                time.sleep(pause)
        raise AssertionError("the last try ends the loop")

    def _once(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None,
        body: Body | None,
        accept: str,
    ) -> httpx2.Response:
        headers = {**self._headers, "Accept": accept}
        if body is not None:
            headers |= {"Content-Type": body.media_type, "Content-Length": str(body.length)}
        silence = self._config.timeout_seconds
        timeout = httpx2.Timeout(silence, connect=self._config.connect_seconds, pool=None)
        request = httpx2.Request(
            method,
            self._url.copy_with(path=self._url.path.rstrip("/") + path),
            params=params,
            headers=headers,
            content=None if body is None else body.pieces(),
            extensions={"timeout": timeout.as_dict()},
        )
        try:
            response = self._transport.handle_request(request)
            try:
                response.read()
            finally:
                response.close()
        except httpx2.ConnectTimeout as error:
            raise TimeoutError(f"{self._name} did not take a connection in time") from error
        except httpx2.TimeoutException as error:
            raise TimeoutError(f"{self._name} has been silent for {silence:g} s") from error
        except httpx2.ConnectError as error:
            raise ConnectionError(f"{self._name} can not be reached: {error}") from error
        except (httpx2.NetworkError, httpx2.ProtocolError) as error:
            raise ConnectionError(_torn(error, sent=body is not None)) from error
        return response

    @property
    def _name(self) -> str:
        return f"the server at {self._url.scheme}://{self._url.netloc.decode('ascii')}"


def _torn(error: Exception, *, sent: bool) -> str:
    larger = "; it may be larger than the server allows" if sent else ""
    return f"the connection broke before there was an answer{larger} ({error})"


def _check_media_type(response: httpx2.Response, *, accept: str) -> None:
    """Refuse what another than this server answered, such as a proxy's page for logging in."""
    wanted = JSON if response.status_code == HTTPStatus.ACCEPTED else accept
    got = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if got != wanted:
        fault = f"{wanted} was wanted, got {got or 'no media type'}: is this the server's address?"
        raise ServerError(response.status_code, [fault])


def _asked_pause(response: httpx2.Response) -> float:
    """Read Retry-After in seconds; a date, which this server never sends, counts for nothing."""
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdecimal() and len(text) < 9 else 0.0


def _checked_url(text: str, *, allow_plain_http: bool) -> httpx2.URL:
    try:
        url = httpx2.URL(text)
    except httpx2.InvalidURL as error:
        raise InputError(f"the server's address is no URL: {error}") from None
    if url.scheme not in {"http", "https"} or not url.host or url.userinfo or url.query:
        raise InputError(
            "the server's address must be http://host:port or https://host[:port][/path]"
        )
    if url.scheme == "http" and not allow_plain_http and not _is_loopback(url.host):
        raise InputError(
            f"{url.host} is another machine, and over http:// everybody on the way can read what "
            "is sent: use https://, or allow_plain_http=True where the way itself is encrypted"
        )
    return url


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _trusted(ca_file: str | Path | None) -> ssl.SSLContext:
    """Return what a server is checked with; nothing of it comes from the environment."""
    if ca_file is None:
        return httpx2.create_ssl_context(trust_env=False)
    try:
        return ssl.create_default_context(cafile=str(ca_file))
    except OSError as error:
        name = Path(ca_file).name
        raise InputError(f"{name}: not a readable file of certificates ({error})") from None
