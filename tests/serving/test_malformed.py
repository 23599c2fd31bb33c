"""Wrong tokens, and paths that would lead out."""

from __future__ import annotations

import httpx2
import pytest

from tests.serving import hostile
from tests.serving.test_faults import (
    TOKEN,
    Running,
    problem,
    running,
    start,
    unharmed,
)

pytestmark = pytest.mark.slow
__all__ = ["running", "start", "unharmed"]


@pytest.mark.parametrize("scheme", [None, "Bearer {}x", "Basic {}", "{}", "Bearer", "Bearer {} {}"])
def test_without_the_right_token_there_is_nothing_but_health(
    unharmed: Running, scheme: str | None
) -> None:
    headers = {} if scheme is None else {"Authorization": scheme.format(TOKEN, TOKEN)}
    described = unharmed.client.get("/openapi.json").json()["paths"]
    assert len(described) >= 10
    asked = [(m.upper(), path) for path, methods in described.items() for m in methods]
    asked += [("GET", "/docs"), ("GET", "/openapi.json"), ("GET", "/elsewhere")]
    for method, path in asked:
        answer = httpx2.request(method, unharmed.url + path, headers=headers)
        if path in ("/healthz", "/readyz"):
            assert answer.status_code == 200
        else:
            assert "Authorization: Bearer" in problem(answer, 401)
            assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "target",
    [
        "/../../../../etc/passwd",
        "/v1/jobs/..%2f..%2f..%2fetc%2fpasswd",
        "/v1/jobs/%2e%2e/%2e%2e/etc/passwd/result",
        "/docs/../../etc/passwd",
        "//etc/passwd",
    ],
)
def test_no_path_leads_out(unharmed: Running, target: str) -> None:
    connection = hostile.raw(
        unharmed.url, hostile.head("GET", target, token=TOKEN, Connection="close")
    )
    with connection, connection.makefile("rb") as file:
        answer = file.read()
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert b"root:" not in answer
    assert b"application/problem+json" in answer
