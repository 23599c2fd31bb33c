"""Answers in their three forms, and how Accept chooses among them."""

from __future__ import annotations

import asyncio
import io
import json
import math
import tracemalloc
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from starlette.requests import Request
from starlette.responses import Response

from emoclip_clinical.features.layout import vector_column
from emoclip_clinical.serving import json_tables
from emoclip_clinical.serving.answers import (
    ARROW,
    JSON,
    NPY,
    Answer,
    chosen_form,
    respond,
    written,
)
from emoclip_clinical.serving.json_tables import json_pieces
from emoclip_clinical.serving.piecewise import Piecewise
from emoclip_clinical.serving.problems import Problem


def table() -> pa.Table:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(4, 6)).astype(np.float32) * np.float32([[1e-30], [1], [1e30], [0]])
    embedding = pa.array(
        [list(vectors[0]), None, list(vectors[2]), list(vectors[3])], pa.list_(pa.float32(), 6)
    )
    return pa.table(
        {
            "segment": pa.array([0, 1, 2, 3], pa.int32()),
            "onset": [0.1, float("nan"), None, 1e300],
            "status": ["ok", 'no "face"', None, "ä\n\u2028"],
            "score": pa.array([0.1, None, float("inf"), -1e-7], pa.float32()),
            "flag": [True, False, None, True],
            "embedding": embedding,
        }
    )


def test_json_holds_the_same_numbers_and_null_where_there_are_none() -> None:
    about = {"model": {"name": "m"}, "warnings": ["ü"]}
    content = json.loads(written(Answer(table(), about), JSON))
    rows = content.pop("rows")
    assert content == about
    expected = table().to_pylist()
    for row, wanted in zip(rows, expected, strict=True):
        assert row.keys() == wanted.keys()
        for name in ("segment", "status", "flag"):
            assert row[name] == wanted[name]
        for name in ("onset", "score"):
            finite = wanted[name] is not None and np.isfinite(wanted[name])
            # What is float32 is the same float32 again.
            kind = np.float32 if name == "score" else np.float64
            assert (row[name] is None) == (not finite)
            assert not finite or kind(row[name]) == kind(wanted[name])
        if wanted["embedding"] is None:
            assert row["embedding"] is None
        else:
            np.testing.assert_array_equal(
                np.float32(row["embedding"]), np.float32(wanted["embedding"])
            )


def test_arrow_is_the_table_itself() -> None:
    content = written(Answer(table(), {"target": "N1"}), ARROW)
    read = pa.ipc.open_stream(content).read_all()
    assert json.loads(read.schema.metadata[b"about"]) == {"target": "N1"}
    assert (
        read.replace_schema_metadata(None).slice(2).equals(table().slice(2))
    )  # NaN is not equal to itself
    assert np.isnan(read["onset"][1].as_py())


def test_npy_holds_the_rows_that_have_an_embedding() -> None:
    matrix = np.load(io.BytesIO(written(Answer(table(), {}), NPY)), allow_pickle=False)
    assert matrix.dtype == np.float32
    kept = [row for row in table()["embedding"].to_pylist() if row is not None]
    np.testing.assert_array_equal(matrix, np.float32(kept))


def test_a_table_in_pieces_is_written_whole() -> None:
    vectors = np.arange(12, dtype=np.float32).reshape(4, 3)
    pieces = pa.concat_tables(
        [pa.table({"embedding": vector_column(part)}) for part in (vectors[:1], vectors[1:])]
    )
    answer = Answer(pieces.slice(1), {})
    np.testing.assert_array_equal(np.load(io.BytesIO(written(answer, NPY))), vectors[1:])
    rows = json.loads(written(answer, JSON))["rows"]
    np.testing.assert_array_equal([row["embedding"] for row in rows], vectors[1:])


def test_however_many_rows_are_written_at_once_the_text_is_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    about = {"model": {"name": "m"}}
    large = pa.concat_tables([table()] * 5)
    whole = b"".join(json_pieces(large, about))
    for n_numbers in (1, 25, 40):
        monkeypatch.setattr(json_tables, "_NUMBERS_AT_ONCE", n_numbers)
        pieces = list(json_pieces(large, about))
        # 11 numbers or words a row.
        assert len(pieces) == 2 + math.ceil(20 / max(1, n_numbers // 11))
        assert b"".join(pieces) == whole


def test_a_large_answer_never_lies_in_memory_as_text() -> None:
    vectors = np.random.default_rng(0).normal(size=(4000, 512)).astype(np.float32)
    large = pa.table({"embedding": vector_column(vectors)})
    tracemalloc.start()
    n_bytes = sum(map(len, json_pieces(large, {})))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert n_bytes > 20_000_000
    assert peak < n_bytes


def sent_by(response: Response, *, gone_after: int | None = None) -> list[dict]:
    """What a response sends to a client that hangs up after so many messages, or never."""
    messages: list[dict] = []

    async def run() -> None:
        gone = asyncio.Event()

        async def receive() -> dict[str, object]:
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict) -> None:
            messages.append(message)
            if len(messages) == gone_after:
                gone.set()
            await asyncio.sleep(0)
            await asyncio.sleep(0)

        await response({"type": "http"}, receive, send)

    asyncio.run(run())
    return messages


@pytest.mark.parametrize("accept", [JSON, ARROW, NPY])
def test_a_large_answer_in_each_form(accept: str) -> None:
    vectors = np.random.default_rng(0).normal(size=(1000, 512)).astype(np.float32)
    answer = Answer(pa.table({"embedding": vector_column(vectors)}), {"a": 1})
    app = SimpleNamespace(state=SimpleNamespace(door=SimpleNamespace(writing=asyncio.Semaphore(1))))
    headers = [(b"accept", accept.encode())]
    request = Request({"type": "http", "headers": headers, "app": app})
    start, *bodies = sent_by(asyncio.run(respond(request, answer)))
    assert (start["status"], dict(start["headers"])[b"content-type"]) == (200, accept.encode())
    assert b"".join(message["body"] for message in bodies) == written(answer, accept)
    assert [m.get("more_body", False) for m in bodies] == [True] * (len(bodies) - 1) + [False]
    assert (len(bodies) > 3) == (accept == JSON)
    assert (b"content-length" in dict(start["headers"])) == (accept != JSON)


def test_who_hangs_up_has_no_more_written() -> None:
    n_made = 0

    def pieces() -> Iterator[bytes]:
        nonlocal n_made
        while n_made < 100:
            n_made += 1
            yield b"x"

    writing = asyncio.Semaphore(1)
    sent_by(Piecewise(pieces(), writing=writing, media_type=JSON, headers={}), gone_after=3)
    assert n_made <= 3
    assert not writing.locked()


@pytest.mark.parametrize("form", [JSON, ARROW, NPY])
def test_no_rows(form: str) -> None:
    empty = pa.table({"embedding": pa.array([], pa.list_(pa.float32(), 5))})
    content = written(Answer(empty, {}), form)
    if form == NPY:
        assert np.load(io.BytesIO(content)).shape == (0, 5)
    elif form == ARROW:
        assert pa.ipc.open_stream(content).read_all().num_rows == 0
    else:
        assert json.loads(content) == {"rows": []}


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (None, JSON),
        ("", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        ("application/json; charset=utf-8", JSON),
        ("APPLICATION/X-NPY", NPY),
        (f"{ARROW}, {JSON};q=0.5", ARROW),
        (f"{JSON};q=0.1, {NPY};q=0.2", NPY),
        (f"{JSON};q=0, */*", ARROW),
        ("text/html, application/xml;q=0.9, */*;q=0.8", JSON),
        (f"*/*;q=0.1, {NPY}", NPY),
    ],
)
def test_the_client_chooses(accept: str | None, form: str) -> None:
    assert chosen_form(accept, forms=(JSON, ARROW, NPY)) == form


@pytest.mark.parametrize("accept", ["text/html", "image/*", "*/*;q=0", "nonsense", NPY])
def test_what_there_is_not_is_406_with_what_there_is(accept: str) -> None:
    with pytest.raises(Problem) as refused:
        chosen_form(accept, forms=(JSON, ARROW))
    assert refused.value.status == 406
    assert JSON in refused.value.faults[0]
    assert ARROW in refused.value.faults[0]
