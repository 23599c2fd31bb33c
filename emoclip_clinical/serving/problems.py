"""What goes wrong with a request, as RFC 9457 problem details with every fault listed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus

from starlette.responses import JSONResponse

MEDIA_TYPE = "application/problem+json"

_MOST_FAULTS = 100


class Problem(Exception):  # noqa: N818
    """A request that can not be answered as it wished.

    Parameters
    ----------
    status : int
        HTTP status, 400 or more.
    faults : str or sequence of str
        What was wanted and what came; nothing of the request's content, no path, no file name.
    retry_after_seconds : float, optional
        When to try again, for 429 and 503.
    headers : mapping of str to str
        More headers of the answer.
    """

    def __init__(
        self,
        status: int,
        faults: str | Sequence[str],
        *,
        retry_after_seconds: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.status = status
        self.faults = (faults,) if isinstance(faults, str) else tuple(faults)
        self.headers = dict(headers or {})
        if retry_after_seconds is not None:
            self.headers["Retry-After"] = str(max(1, math.ceil(retry_after_seconds)))
        super().__init__("; ".join(self.faults))

    def response(self) -> JSONResponse:
        """Return the answer."""
        content = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": "; ".join(self.faults),
            "faults": list(self.faults),
        }
        return JSONResponse(content, self.status, headers=self.headers, media_type=MEDIA_TYPE)


def shortened(faults: Sequence[str]) -> list[str]:
    """Return the first hundred faults, each once, and how many more there are."""
    different = list(dict.fromkeys(faults))
    left = len(different) - _MOST_FAULTS
    return [*different[:_MOST_FAULTS], *([f"and {left} more"] if left > 0 else [])]
