"""A thousand malformed bodies, wrong tokens, paths and sizes: each gets the answer that is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import hypothesis
import numpy as np
import pytest
import schemathesis

from tests.serving import hostile
from tests.serving.hostile import ARROW, FORM, JSON, NPY, OCTETS
from tests.serving.test_faults import (
    ESTIMATES,
    SECRET,
    TEXTS,
    TOKEN,
    VIDEO,
    Running,
    estimator,
    problem,
    running,
    start,
    unharmed,
)

pytestmark = pytest.mark.slow
__all__ = ["estimator", "running", "start", "unharmed"]

N_MALFORMED = 1000
SETTINGS = hypothesis.settings(
    max_examples=8,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[hypothesis.Phase.generate],
    suppress_health_check=list(hypothesis.HealthCheck),
)


def documented(status: int, kind: str, statuses: set[str]) -> None:
    assert str(status) in statuses
    assert status < 500
    if status >= 400:
        assert kind == "application/problem+json"


def send_generated(running: Running) -> int:
    described = running.client.get("/openapi.json").json()
    n_sent = 0
    for found in schemathesis.openapi.from_dict(described).get_all_operations():
        operation = found.ok()
        statuses = set(described["paths"][operation.path][operation.method.lower()]["responses"])
        for mode in schemathesis.GenerationMode:

            def send(case: schemathesis.Case) -> None:
                nonlocal n_sent
                answer = case.call(
                    base_url=running.url,
                    headers={"Authorization": f"Bearer {TOKEN}"},
                    timeout=120,
                    allow_redirects=False,
                )
                n_sent += 1
                # What a name in the path makes of it may be another address, or none.
                also = {"404", "405"} if "{" in case.path else set()
                kinds = answer.headers["content-type"]
                documented(answer.status_code, kinds[0], statuses | also)  # noqa: B023 (runs at once)

            try:
                strategy = operation.as_strategy(generation_mode=mode)
                SETTINGS(hypothesis.given(strategy)(send))()
            except (hypothesis.errors.Unsatisfiable, schemathesis.errors.SchemathesisError):
                # Nothing of an operation without parameters can be wrong.
                continue
    return n_sent


def random_bodies() -> Iterator[tuple[str, str, bytes]]:
    """Targets, content types and bodies: noise, and noise behind a sound beginning."""
    rng = np.random.default_rng(0)
    beginnings = {
        JSON: [
            b"",
            b'{"texts": [',
            b'{"features": [{"participant_id": "a", "mean_a": ',
            b'{"texts": ["\\ud800"]}',
            b"[" * 20_000,
        ],
        ARROW: [b"", b"\xff\xff\xff\xff\x10\0\0\0"],
        NPY: [b"", b"\x93NUMPY\x01\0", hostile.npy_header((1, 8, 8, 3))],
        OCTETS: [b"", b"\0\0\0\x20ftypisom", b"\x1aE\xdf\xa3"],
        "video/mp4": [b"\0\0\0\x20ftypisom"],
        FORM: [b"", b"--edge\r\n", hostile.form("frames", b"")[:-12], b"--edge--\r\n"],
        "multipart/form-data": [b""],
        "text/plain": [b""],
        "": [b""],
    }
    while True:
        for target in (TEXTS, VIDEO, "/v1/scores", ESTIMATES):
            for kind, starts in beginnings.items():
                for start_bytes in starts:
                    n_bytes = int(rng.integers(0, 400))
                    yield target, kind, start_bytes + rng.bytes(n_bytes)


def test_a_thousand_malformed_bodies(unharmed: Running) -> None:
    n_sent = send_generated(unharmed)
    assert n_sent > 80
    described = unharmed.client.get("/openapi.json").json()["paths"]
    for target, kind, body in random_bodies():
        if n_sent >= N_MALFORMED:
            break
        answer = unharmed.client.post(target, content=body, headers={"Content-Type": kind})
        statuses = set(described[target]["post"]["responses"]) - {"200", "202"}
        documented(answer.status_code, answer.headers["content-type"], statuses)
        # None is refused before it is looked at.
        assert answer.status_code != 404
        assert len(answer.content) < 20_000
        n_sent += 1
    assert n_sent >= N_MALFORMED


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


def test_names_in_queries_and_forms_are_no_paths(unharmed: Running) -> None:
    frames = hostile.npy(np.zeros((2, 8, 8, 3), dtype=np.uint8))
    sent = {"content": frames, "headers": {"Content-Type": NPY}}
    query = unharmed.client.post("/v1/scores", params={"prompts": "../../etc/passwd"}, **sent)
    assert "there are" in problem(query, 404)
    patient = unharmed.client.post(VIDEO, params={"patient": "../" + SECRET}, **sent)
    assert "patient must be" in problem(patient, 422)
    body = hostile.form("frames", frames, file_name=f"../../../../tmp/{SECRET}")
    answer = unharmed.client.post(VIDEO, content=body, headers={"Content-Type": FORM})
    assert answer.status_code == 200
    for bad in (hostile.form(SECRET, frames), hostile.form("", frames)):
        answer = unharmed.client.post(VIDEO, content=bad, headers={"Content-Type": FORM})
        assert "there are" in problem(answer, 422)


@pytest.mark.parametrize(
    ("target", "kind", "most"),
    [
        (TEXTS, JSON, 65_536),
        (VIDEO, NPY, 2**22),
        (VIDEO, OCTETS, 2**23),
        (TEXTS, ARROW, 2**22),
        (ESTIMATES, JSON, 65_536),
        (ESTIMATES, ARROW, 2**22),
    ],
)
@pytest.mark.parametrize("chunked", [False, True])
def test_what_is_too_large_is_told_how_large_it_may_be(
    unharmed: Running, target: str, kind: str, most: int, chunked: bool
) -> None:
    body = b" " * (most + 1)
    pieces = (body[i : i + 65_536] for i in range(0, len(body), 65_536))
    answer = unharmed.client.post(
        target, content=pieces if chunked else body, headers={"Content-Type": kind}
    )
    assert f"at most {most} bytes" in problem(answer, 413)


def test_of_another_type_is_told_which_there_are(unharmed: Running, tmp_path: Path) -> None:
    described: Callable[[str], str] = lambda target: problem(  # noqa: E731
        unharmed.client.post(target, content=b"a", headers={"Content-Type": "text/html"}), 415
    )
    assert all(kind in described(TEXTS) for kind in (JSON, ARROW))
    for target in (VIDEO, "/v1/scores"):
        assert all(kind in described(target) for kind in (NPY, "video/*", "multipart/form-data"))
