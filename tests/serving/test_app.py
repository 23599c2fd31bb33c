"""What stands around the routes: health, models, figures, faults, and the page about it all."""

from __future__ import annotations

import asyncio
import errno
import logging
import re
from collections.abc import Callable

import jsonschema
import pytest
import uvicorn
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from emoclip_clinical.core.embedder import Embedder
from emoclip_clinical.records import InputError
from emoclip_clinical.serving.app import make_app, make_routes
from emoclip_clinical.serving.door import Door
from emoclip_clinical.serving.metrics import Metrics
from emoclip_clinical.serving.problems import Problem
from emoclip_clinical.serving.server import DoorServer
from emoclip_clinical.serving.standing import Standing
from emoclip_clinical.serving.watching import Answered, Watched


def is_problem(response, status: int) -> dict:
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == status
    assert problem["faults"]
    return problem


def test_it_lives_and_is_ready(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "alive"}
    assert client.get("/readyz").json() == {"status": "ready"}


def test_at_its_end_it_answers_what_it_has_and_takes_nothing_new(
    open_door: Callable[..., Door],
) -> None:
    door = open_door()
    with TestClient(make_app(door), base_url="http://localhost") as client:
        door.standing.drain()
        refused = client.post("/v1/embeddings/text", json={"texts": ["a"]})
        is_problem(refused, 503)
        assert int(refused.headers["Retry-After"]) >= 1
        is_problem(client.get("/readyz"), 503)
        assert client.get("/healthz").status_code == 200
        assert client.get("/v1/models").status_code == 200


@pytest.mark.parametrize("address", ["/healthz", "/readyz"])
def test_probes_may_ask_for_the_head_alone(client: TestClient, door: Door, address: str) -> None:
    answer = client.head(address)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.headers["X-Request-ID"]
    # Only these: a result that was asked for by its head is not read.
    assert client.head("/v1/models").status_code == 405


def test_a_full_server_says_when_to_come_again(open_door: Callable[..., Door]) -> None:
    door = open_door()
    with TestClient(make_app(door), base_url="http://localhost") as client:
        door.standing.most_running = 1
        assert client.get("/v1/models").status_code == 200
        with door.standing.running():
            refused = client.get("/v1/models")
            is_problem(refused, 503)
            assert int(refused.headers["Retry-After"]) >= 1
            assert client.get("/healthz").status_code == 200


def test_too_many_open_files_are_no_bug(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    routes = make_routes(door)

    @routes.get("/files/{number}")
    async def files(number: int) -> None:
        raise OSError(number, "name of a file")

    app = Watched(Answered(routes, standing=Standing()), metrics=Metrics(), standing=Standing())
    with TestClient(app) as client, caplog.at_level(logging.ERROR):
        for number in (errno.EMFILE, errno.ENFILE):
            response = client.get(f"/files/{number}")
            is_problem(response, 503)
            assert int(response.headers["Retry-After"]) >= 1
        assert caplog.records == []
        response = client.get(f"/files/{errno.EIO}")
        is_problem(response, 500)
        assert "name of a file" not in response.text
    assert "a bug: OSError" in caplog.text


def test_models_tells_what_can_be_asked(client: TestClient, embedder: Embedder) -> None:
    found = client.get("/v1/models").json()
    assert found["model"] == {
        "name": "small",
        "hash": embedder.model_hash,
        "embedding_width": embedder.embedding_width,
        "image_size_pixels": 64,
        "sample_fps": embedder.sample_fps,
        "frames_per_clip": 16,
        "temperature": pytest.approx(embedder.temperature),
        "has_text_tower": True,
        "precision": "float32",
        "device": "cpu",
    }
    by_name = {entry["name"]: entry for entry in found["prompt_sets"]}
    assert list(by_name) == ["basic_seven", "mafw_compounds"]
    assert "happiness" in by_name["basic_seven"]["classes"]
    assert by_name["mafw_compounds"]["compounds"]
    assert found["estimators"] == []


def test_figures_count_requests_by_template_and_batches_by_kind(
    open_door: Callable[..., Door],
) -> None:
    with TestClient(make_app(open_door()), base_url="http://localhost") as client:
        client.post("/v1/embeddings/text", json={"texts": ["a", "b"]})
        client.post("/v1/embeddings/text", content=b"")
        client.get("/secret/sub-01_name.mp4")
        client.request("BREW", "/healthz")
        text = client.get("/metrics").text
    assert "secret" not in text
    assert "BREW" not in text
    found = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    route = "/v1/embeddings/text"
    assert found[("emoclip_requests_total", route, "200", "POST")] == 1
    assert found[("emoclip_requests_total", route, "415", "POST")] == 1
    assert found[("emoclip_requests_total", "404", "GET", "other")] == 1
    assert found[("emoclip_batch_items_sum", "texts")] == 2
    assert found[("emoclip_request_seconds_count", route, "POST")] == 2


def test_a_line_of_log_says_nothing_of_the_content(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="emoclip_clinical.serving"):
        answer = client.post("/v1/embeddings/text?name=anna", json={"texts": ["private"]})
        client.get("/private/path")
    lines = [record.getMessage() for record in caplog.records]
    assert re.fullmatch(r"POST /v1/embeddings/text 200 \d+ ms [0-9a-f]+", lines[0])
    assert lines[0].endswith(answer.headers["X-Request-ID"])
    assert re.fullmatch(r"GET other 404 \d+ ms [0-9a-f]+", lines[1])


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v1/embeddings/text", 405),
        ("POST", "/healthz", 405),
        ("GET", "/v1/models/", 404),
        ("GET", "/docs/../../etc/passwd", 404),
        ("GET", "/%2e%2e/%2e%2e/etc/passwd", 404),
    ],
)
def test_other_addresses_are_problems(
    client: TestClient, method: str, path: str, status: int
) -> None:
    is_problem(client.request(method, path), status)


def test_every_answer_has_the_headers_that_keep_it_private(client: TestClient) -> None:
    for path in ("/healthz", "/v1/models", "/nothing", "/docs", "/openapi.json"):
        headers = client.get(path).headers
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Request-ID"]


def test_a_bug_is_500_and_its_message_stays_here(
    door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    routes = make_routes(door)

    @routes.get("/bug/{name}")
    async def bug(name: str) -> None:
        raise KeyError(name)

    @routes.get("/fault")
    async def fault() -> None:
        raise InputError(["one", "two"])

    app = Watched(Answered(routes, standing=Standing()), metrics=Metrics(), standing=Standing())
    with TestClient(app) as client, caplog.at_level(logging.INFO):
        response = client.get("/bug/anna")
        is_problem(response, 500)
        assert "anna" not in response.text
        assert is_problem(client.get("/fault"), 422)["faults"] == ["one", "two"]
    said = "\n".join(record.getMessage() for record in caplog.records)
    assert "KeyError" in said
    assert "test_app.py" in said
    assert "anna" not in said.replace("GET http://testserver/bug/anna", "")  # the client's own


def test_a_prompt_set_that_is_not_there_is_404(client: TestClient, door: Door) -> None:
    import asyncio

    with pytest.raises(Problem) as missing:
        asyncio.run(door.prompts.vectors("nothing"))
    assert missing.value.status == 404
    assert "basic_seven" in missing.value.faults[0]


def test_the_description_describes_what_is_answered(client: TestClient) -> None:
    described = client.get("/openapi.json").json()
    schemas = described["components"]["schemas"]
    assert "HTTPValidationError" not in schemas

    def check(content: object, name: str) -> None:
        jsonschema.validate(
            content, {"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}}
        )

    check(client.post("/v1/embeddings/text", json={"texts": ["a"]}).json(), "EmbeddingsAnswer")
    check(client.get("/v1/models").json(), "ModelsAnswer")
    check(client.get("/nothing").json(), "ProblemDetails")
    # Whatever is pointed to is there.
    for target in re.findall(r'"#/components/schemas/(\w+)"', client.get("/openapi.json").text):
        assert target in schemas


def test_the_page_about_it_loads_nothing_from_elsewhere(client: TestClient) -> None:
    response = client.get("/docs")
    assert response.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    page = response.text
    for path in client.get("/openapi.json").json()["paths"]:
        assert f"<code>{path}</code>" in page
    assert "<script" not in page
    assert not re.search(r"(src|href)=['\"]?(https?:)?//", page)


def test_a_limit_that_lets_it_not_begin_is_named(open_door: Callable[..., Door]) -> None:
    config = uvicorn.Config(lambda: None, lifespan="off", log_config=None)
    server = DoorServer(config, door=open_door(request_seconds=1e-6), ready=lambda: None)
    with pytest.raises(InputError, match="limit request_seconds is too short here: the pictures"):
        asyncio.run(server.startup())
