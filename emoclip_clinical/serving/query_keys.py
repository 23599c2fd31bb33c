"""The keys of an address's query: each once, since of two values one would count unseen."""

from __future__ import annotations

from collections import Counter

from starlette.requests import Request

from emoclip_clinical.serving.problems import Problem, shortened


async def each_key_once(request: Request) -> None:
    """Refuse a query in which a key stands twice; for ``APIRouter(dependencies=...)``.

    Raises
    ------
    Problem
        422, naming the keys that the address knows.
    """
    counts = Counter(key for key, _ in request.query_params.multi_items())
    twice = [key for key, n in counts.items() if n > 1]
    if twice:
        known = _known_keys(request)
        # A name that is not known is the client's text.
        names = ["*" if key not in known else key for key in twice]
        raise Problem(422, shortened([f"query.{name}: wanted once, got twice" for name in names]))


def _known_keys(request: Request) -> frozenset[str]:
    """Return the keys that the description of this address has."""
    described = request.app.openapi()["paths"][request.scope["route"].path]
    parameters = described[request.method.lower()].get("parameters", [])
    return frozenset(entry["name"] for entry in parameters)
