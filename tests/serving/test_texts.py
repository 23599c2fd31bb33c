"""Texts over HTTP against the model itself, in every form of an answer."""

from __future__ import annotations

import io
import json

import numpy as np
import pyarrow as pa
import pytest
from starlette.testclient import TestClient

from emoclip_clinical.core.embedder import Embedder

TEXTS = ["a smile", "A man frowns, and looks away.", "ärgerlich 😀", "", "word " * 300]


def rows_of(response) -> np.ndarray:
    assert response.status_code == 200, response.text
    kind = response.headers["content-type"]
    if kind == "application/x-npy":
        return np.load(io.BytesIO(response.content), allow_pickle=False)
    if kind == "application/vnd.apache.arrow.stream":
        table = pa.ipc.open_stream(response.content).read_all()
        return np.array(table["embedding"].to_pylist(), dtype=np.float32)
    return np.array([row["embedding"] for row in response.json()["rows"]], dtype=np.float32)


@pytest.mark.parametrize(
    "accept", ["application/json", "application/vnd.apache.arrow.stream", "application/x-npy"]
)
def test_the_answer_is_what_the_model_itself_says(
    client: TestClient, embedder: Embedder, accept: str
) -> None:
    response = client.post("/v1/embeddings/text", json={"texts": TEXTS}, headers={"Accept": accept})
    assert response.headers["content-type"] == accept
    rows = rows_of(response)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, embedder.encode_text(TEXTS), rtol=0, atol=1e-6)


def test_the_answer_names_the_model(client: TestClient, embedder: Embedder) -> None:
    expected = {"name": "small", "hash": embedder.model_hash}
    response = client.post("/v1/embeddings/text", json={"texts": ["a"]})
    assert response.json()["model"] == expected
    arrow = client.post(
        "/v1/embeddings/text",
        json={"texts": ["a"]},
        headers={"Accept": "application/vnd.apache.arrow.stream"},
    )
    schema = pa.ipc.open_stream(arrow.content).schema
    assert json.loads(schema.metadata[b"about"])["model"] == expected


def test_no_text_is_no_row(client: TestClient) -> None:
    assert client.post("/v1/embeddings/text", json={"texts": []}).json()["rows"] == []


@pytest.mark.parametrize(
    ("body", "kind", "status", "said"),
    [
        (b"{", "application/json", 400, "not valid JSON"),
        (b'{"texts": "one"}', "application/json", 422, "texts: Input should be a valid"),
        (b'{"texts": [1, null]}', "application/json", 422, "texts.0"),
        (b'{"texts": [], "secret name": 1}', "application/json", 422, "*: Extra inputs"),
        (b"\xff\xfe", "application/json", 400, "not valid JSON"),
        (b'{"texts": ["' + b"a" * 2001 + b'"]}', "application/json", 422, "text 0: at most 2000"),
        (b"texts", "text/plain", 415, "application/json"),
        (json.dumps({"texts": ["a"] * 1025}).encode(), "application/json", 413, "1024"),
        (b" " * (4 * 2**20 + 1), "application/json", 413, "bytes"),
        (b"[" * 100_000, "application/json", 400, "not valid JSON"),
        (json.dumps({"texts": [1] * 20_000}).encode(), "application/json", 422, "has 20000 faults"),
    ],
)
def test_faults_are_told_without_what_was_sent(
    client: TestClient, body: bytes, kind: str, status: int, said: str
) -> None:
    response = client.post("/v1/embeddings/text", content=body, headers={"Content-Type": kind})
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == status
    assert said in problem["detail"]
    assert "secret name" not in response.text


def test_a_packed_body_is_refused(client: TestClient) -> None:
    response = client.post(
        "/v1/embeddings/text",
        content=b"{}",
        headers={"Content-Type": "application/json", "Content-Encoding": "gzip"},
    )
    assert response.status_code == 415


def test_all_faults_are_listed(client: TestClient) -> None:
    response = client.post("/v1/embeddings/text", json={"texts": ["a", 1, "b", 2]})
    assert [fault.partition(":")[0] for fault in response.json()["faults"]] == [
        "texts.1",
        "texts.3",
    ]


def test_many_faults_are_counted(client: TestClient) -> None:
    faults = client.post("/v1/embeddings/text", json={"texts": [1] * 500}).json()["faults"]
    assert len(faults) == 101
    assert faults[-1] == "and 400 more"


def arrow_of(**columns: object) -> bytes:
    table = pa.table(columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def post_arrow(client: TestClient, content: bytes):
    kind = "application/vnd.apache.arrow.stream"
    headers = {"Content-Type": kind, "Accept": kind}
    return client.post("/v1/embeddings/text", content=content, headers=headers)


def test_texts_may_come_as_an_arrow_stream(client: TestClient, embedder: Embedder) -> None:
    rows = rows_of(post_arrow(client, arrow_of(text=TEXTS, other=list(range(len(TEXTS))))))
    np.testing.assert_allclose(rows, embedder.encode_text(TEXTS), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (arrow_of(words=["a"]), "column text"),
        (arrow_of(text=[1, 2]), "column text"),
        (arrow_of(text=["a", None]), "text 1 is null"),
        (b"no stream at all", ""),
    ],
)
def test_a_wrong_stream_is_refused(client: TestClient, content: bytes, said: str) -> None:
    response = post_arrow(client, content)
    assert response.status_code == 422
    assert said in response.json()["detail"]
