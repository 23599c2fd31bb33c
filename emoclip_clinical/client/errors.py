"""What the server refused, as an exception that keeps every fault it listed."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

import httpx2


class ServerError(RuntimeError):
    """The server answered, and the answer is a refusal, or none of this server's.

    Parameters
    ----------
    status : int
        HTTP status: 4xx where the request is at fault, 429 and 503 where the server had no room
        for as long as the client waited, other 5xx where the server is at fault; below 300 where
        something else answered, such as a proxy.
    faults : sequence of str
        Every fault that it listed.
    request_id : str
        Under which the server's log has the request; empty where it gave none.
    """

    def __init__(self, status: int, faults: Sequence[str], *, request_id: str = "") -> None:
        self.status = status
        self.faults = tuple(faults)
        self.request_id = request_id
        mark = f" (request {request_id})" if request_id and status >= 500 else ""
        super().__init__(f"the server answered {status}{mark}: {'; '.join(self.faults)}")


def refusal(response: httpx2.Response) -> ServerError:
    """Return the error of an answer that is none of those hoped for.

    Parameters
    ----------
    response : httpx2.Response
        Read to its end.
    """
    request_id = response.headers.get("X-Request-ID", "")
    return ServerError(response.status_code, _faults(response), request_id=request_id)


def _faults(response: httpx2.Response) -> list[str]:
    """Read RFC 9457 problem details; a proxy's page has none."""
    try:
        content = response.json()
    except ValueError:
        content = None
    if isinstance(content, dict):
        listed = content.get("faults")
        if isinstance(listed, list) and listed:
            return [str(fault) for fault in listed]
        if content.get("detail"):
            return [str(content["detail"])]
    try:
        return [HTTPStatus(response.status_code).phrase]
    except ValueError:
        return ["an answer without an explanation"]
