"""The client against a server written from the documentation, by hand and without ours."""

from __future__ import annotations

import io
import json
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from decimal import Decimal
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx2
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from emoclip_clinical.client import Client, ClientConfig, ServerError, batches
from emoclip_clinical.records import InputError, PromptSet

URL = "http://127.0.0.1:8765"
ARROW, NPY = "application/vnd.apache.arrow.stream", "application/x-npy"
MODEL = {"name": "small", "hash": "ab" * 32}
FACTS = {
    "model": {
        **MODEL, "embedding_width": 3, "image_size_pixels": 64, "sample_fps": 8.0,
        "frames_per_clip": 32, "temperature": 0.01, "has_text_tower": True,
        "precision": "float32", "device": "cpu", "of_a_later_version": 1,
    },
    "prompt_sets": [{"name": "basic_seven", "classes": ["happiness", "sadness"]}],
    "estimators": [
        {"target": "N1", "n_subjects": None, "minimum": 1.0, "maximum": 7.0, "level": 0.9,
         "n_features": 2, "for_videos": True, "notice": "Research use only."}
    ],
}  # fmt: skip
IMPATIENT = ClientConfig(patience_seconds=0.0)
Answer = Callable[[httpx2.Request], httpx2.Response]


def client_of(
    answer: Answer, *, config: ClientConfig = IMPATIENT, token: str | None = None
) -> Client:
    return Client(URL, token=token, config=config, transport=httpx2.MockTransport(answer))


def npy(values: np.ndarray) -> httpx2.Response:
    file = io.BytesIO()
    np.save(file, values.astype(np.float32))
    return httpx2.Response(200, content=file.getvalue(), headers={"Content-Type": NPY})


def arrow(table: pa.Table, **about: object) -> httpx2.Response:
    table = table.replace_schema_metadata({"about": json.dumps({"model": MODEL, **about})})
    file = io.BytesIO()
    with pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    return httpx2.Response(200, content=file.getvalue(), headers={"Content-Type": ARROW})


def problem(status: int, *faults: str, **headers: str) -> httpx2.Response:
    content = {"type": "about:blank", "title": "no", "status": status, "faults": list(faults)}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx2.Response(
        status, json=content, headers={"Content-Type": "application/problem+json", **named}
    )


def sent_array(request: httpx2.Request) -> np.ndarray:
    assert request.headers["Content-Type"] == NPY
    assert int(request.headers["Content-Length"]) == len(request.read())
    return np.load(io.BytesIO(request.read()))


def sent_form(request: httpx2.Request) -> dict[str, tuple[str, bytes]]:
    """Read a form with the standard library's parser: file name and content of each part."""
    assert int(request.headers["Content-Length"]) == len(request.read())
    head = f"Content-Type: {request.headers['Content-Type']}\r\n\r\n".encode()
    message = BytesParser(policy=HTTP).parsebytes(head + request.read())
    return {
        str(part["Content-Disposition"].params["name"]): (
            str(part.get_filename()), bytes(part.get_payload(decode=True))
        )
        for part in message.iter_parts()
    }  # fmt: skip


def clip_vector(clip: np.ndarray) -> np.ndarray:
    """What the pretended model makes of a clip: tells every clip of a test from all others."""
    return np.array([clip.shape[0], clip.shape[1], float(clip.mean())], dtype=np.float32)


def drawn_clips(sizes: Sequence[tuple[int, int]]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, size=(t, s, s, 3), dtype=np.uint8) for t, s in sizes]


def test_it_says_what_the_server_has() -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        assert (request.method, str(request.url)) == ("GET", f"{URL}/v1/models")
        assert "authorization" not in request.headers
        return httpx2.Response(200, json=FACTS)

    with client_of(answer) as client:
        found = client.models()
    assert found.model.name == "small"
    assert found.model.embedding_width == 3
    assert found.prompt_sets[0].classes == ("happiness", "sadness")
    assert found.estimators[0].target == "N1"
    assert found.estimators[0].n_subjects is None


def test_texts_come_back_in_order_however_many() -> None:
    texts = [str(k) for k in range(3 * batches.REQUEST_TEXTS + 1)]

    def answer(request: httpx2.Request) -> httpx2.Response:
        assert str(request.url) == f"{URL}/v1/embeddings/text"
        assert request.headers["Accept"] == NPY
        given = json.loads(request.read())["texts"]
        assert len(given) <= batches.REQUEST_TEXTS
        # The later a request, the sooner its answer.
        time.sleep(0.05 if given[0] == "0" else 0.0)
        return npy(np.array([[float(text), 0, 0] for text in given]))

    with client_of(answer) as client:
        found = client.encode_text(texts)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[:, 0], np.arange(len(texts)))


def test_frames_are_cut_into_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "REQUEST_BYTES", 4 * 6 * 6 * 3)
    frames = np.random.default_rng(0).integers(0, 256, size=(11, 6, 6, 3), dtype=np.uint8)
    sizes = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        assert dict(request.url.params) == {"unit": "frame"}
        given = sent_array(request)
        sizes.append(len(given))
        return npy(given.reshape(len(given), -1)[:, :3])

    with client_of(answer) as client:
        found = client.encode_frames(frames)
        turned = client.encode_frames(np.flip(frames, axis=0))  # not contiguous
    np.testing.assert_array_equal(found, frames.reshape(11, -1)[:, :3])
    np.testing.assert_array_equal(turned, found[::-1])
    assert sorted(sizes) == [3, 3, 4, 4, 4, 4]


def test_clips_of_one_shape_share_a_request() -> None:
    clips = drawn_clips([(4, 6), (2, 6), (4, 6), (4, 8), (2, 6)])
    n_requests = 0

    def answer(request: httpx2.Request) -> httpx2.Response:
        nonlocal n_requests
        n_requests += 1
        given = sent_array(request)
        assert given.ndim == 5
        assert dict(request.url.params) == {}
        return npy(np.stack([clip_vector(clip) for clip in given]))

    with client_of(answer) as client:
        found = client.encode_clips(clips)
    np.testing.assert_array_equal(found, np.stack([clip_vector(clip) for clip in clips]))
    assert n_requests == 3


def test_nothing_in_is_nothing_out() -> None:
    with client_of(lambda _: httpx2.Response(200, json=FACTS)) as client:
        for found in (
            client.encode_text([]),
            client.encode_clips([]),
            client.encode_frames(np.zeros((0, 4, 4, 3), np.uint8)),
        ):
            assert found.shape == (0, 3)
            assert found.dtype == np.float32


def test_scores_are_in_the_order_of_the_clips() -> None:
    clips = drawn_clips([(4, 6), (2, 6), (4, 6)])
    own = PromptSet(
        "own", {"up": ("goes up", "rises"), "down": ("falls",)}, {"both": ("up", "down")}
    )
    forms = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.params:
            assert dict(request.url.params) == {"prompts": "basic_seven"}
            given = sent_array(request)
        else:
            form = sent_form(request)
            forms.append(form)
            given = np.load(io.BytesIO(form["frames"][1]))
        means = [float(clip.mean()) for clip in given]
        return arrow(pa.table({"cosine_x__a": pa.array(means, pa.float32())}))

    with client_of(answer) as client:
        named = client.score_clips(clips, "basic_seven")
        inline = client.score_clips(clips, own)
    wanted = np.array([clip.mean() for clip in clips], dtype=np.float32)
    np.testing.assert_array_equal(named["cosine_x__a"], wanted)
    np.testing.assert_array_equal(inline["cosine_x__a"], wanted)
    assert named.attrs["model"] == MODEL
    assert json.loads(forms[0]["prompts"][1]) == {
        "name": "own",
        "classes": {"up": ["goes up", "rises"], "down": ["falls"]},
        "compounds": {"both": ["up", "down"]},
    }


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """A file that only the server would open."""
    path = tmp_path / "sub-014 Jane Doe.mp4"
    path.write_bytes(np.random.default_rng(0).bytes(3_000_000))
    return path


class Jobs:
    """A server that makes a job of every video."""

    def __init__(self, states: Sequence[str], *, result: httpx2.Response | None = None) -> None:
        self.states = list(states)
        self.result = result or arrow(pa.table({"segment": [0, 1]}))
        self.said: list[str] = []
        self.uploads: list[httpx2.Request] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.said.append(f"{request.method} {request.url.path}")
        if request.method == "POST":
            request.read()
            self.uploads.append(request)
            return httpx2.Response(
                202, json=self._job("waiting"), headers={"Location": "/elsewhere"}
            )
        if request.method == "DELETE":
            return httpx2.Response(204)
        if request.url.path.endswith("/result"):
            return self.result
        return httpx2.Response(200, json=self._job(self.states.pop(0)))

    def _job(self, state: str) -> dict[str, object]:
        done = None if state == "waiting" else 3.6
        return {"job": "a-b_c", "state": state, "seconds_done": done, "seconds_total": 10.0,
                "expires_in_seconds": 5, "faults": []}  # fmt: skip


def test_a_long_video_is_waited_for(video: Path) -> None:
    vector = pa.array([[0.0, 1.0], None], pa.list_(pa.float32(), 2))
    table = pa.table({"segment": [0, 1], "status": ["ok", "no_face"], "embedding": vector})
    server = Jobs(["waiting", "running", "done"], result=arrow(table))
    heard: list[tuple[str, int, int]] = []
    with client_of(server) as client:
        found = client.embed_video(
            video, face="whole_frame", sample_fps=8, progress=lambda *said: heard.append(said)
        )
    assert server.said == [
        "POST /v1/embeddings/video", "GET /v1/jobs/a-b_c", "GET /v1/jobs/a-b_c",
        "GET /v1/jobs/a-b_c", "GET /v1/jobs/a-b_c/result", "DELETE /v1/jobs/a-b_c",
    ]  # fmt: skip
    (upload,) = server.uploads
    assert dict(upload.url.params) == {"wait": "2", "face": "whole_frame", "sample_fps": "8"}
    assert upload.read() == video.read_bytes()
    np.testing.assert_array_equal(found["embedding"][0], np.array([0, 1], dtype=np.float32))
    assert found["embedding"][0].dtype == np.float32
    assert found["embedding"][1] is None
    assert ("upload", 3_000_000, 3_000_000) in heard
    assert heard[-1] == ("video", 3, 10)


def test_the_name_of_a_file_stays_here(video: Path) -> None:
    server = Jobs(["done", "done", "done"])
    own = PromptSet("own", {"up": ("goes up",), "down": ("falls",)})
    with client_of(server) as client:
        client.score_video(video, own)
        client.score_video(video, "basic_seven", face="detect")
        client.embed_video(video)
    for request in server.uploads:
        everything = f"{request.url} {request.headers}".encode() + request.read()
        assert b"Jane" not in everything
        assert b"sub-014" not in everything
    form = sent_form(server.uploads[0])
    assert {name: file for name, (file, _) in form.items()} == {
        "video": "video", "prompts": "prompts",
    }  # fmt: skip
    assert form["video"][1] == video.read_bytes()


def test_a_failed_job_tells_why(video: Path) -> None:
    server = Jobs(["running", "failed"], result=problem(422, "no picture could be read", "twice"))
    with client_of(server) as client, pytest.raises(ServerError, match="no picture") as raised:
        client.embed_video(video)
    assert raised.value.status == 422
    assert raised.value.faults == ("no picture could be read", "twice")
    assert server.said[-1].startswith("DELETE")


def test_a_failed_job_is_not_asked_again_for_another_result(video: Path) -> None:
    full = problem(503, "too many files are open", Retry_After="1")
    server = Jobs(["failed"], result=full)
    patient = ClientConfig(patience_seconds=60)
    with client_of(server, config=patient) as client, pytest.raises(ServerError) as raised:
        client.embed_video(video)
    assert (raised.value.status, raised.value.faults) == (503, ("too many files are open",))
    assert server.said[-2:] == ["GET /v1/jobs/a-b_c/result", "DELETE /v1/jobs/a-b_c"]
    assert server.said.count("GET /v1/jobs/a-b_c/result") == 1


def test_a_job_that_is_gone_is_told_as_such(video: Path) -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.method == "POST":
            request.read()
            return httpx2.Response(202, json={"job": "x", "state": "waiting"})
        return problem(404, "no such job")

    with client_of(answer) as client, pytest.raises(ServerError, match="job is gone"):
        client.embed_video(video)


def test_ctrl_c_cancels_the_job(video: Path) -> None:
    server = Jobs(["running", "running"])

    def interrupt(task: str, done: int, total: int) -> None:
        if task == "video":
            raise KeyboardInterrupt

    with client_of(server) as client, pytest.raises(KeyboardInterrupt):
        client.embed_video(video, progress=interrupt)
    assert server.said[-1] == "DELETE /v1/jobs/a-b_c"


def test_estimates_are_a_record() -> None:
    features = pd.DataFrame({"participant_id": ["sub-a", "sub-b"], "mean_happy": [0.5, np.nan]})
    source = {"model": {"hash": "ab"}, "inputs": [{"name": "Jane.mp4"}]}
    seen: list[pa.Table] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        assert dict(request.url.params) == {"target": "N1"}
        assert request.headers["Content-Type"] == ARROW
        seen.append(pa.ipc.open_stream(request.read()).read_all())
        made = pa.table({"participant_id": ["sub-a"], "predicted": [3.5], "out_of_range": [False]})
        left = {"participant_id": "sub-b", "session_id": "", "reason": "no value"}
        return arrow(
            made, target="N1", notice="Research use only.", warnings=["w"], excluded=[left]
        )

    with client_of(answer) as client:
        found = client.estimate_features(features, source=source, target="N1")
    assert found.target == "N1"
    assert list(found.table["predicted"]) == [3.5]
    assert list(found.excluded["reason"]) == ["no value"]
    assert (found.warnings, found.notice) == (("w",), "Research use only.")
    (sent,) = seen
    assert sent.to_pydict() == {"participant_id": ["sub-a", "sub-b"], "mean_happy": [0.5, None]}
    assert {k: json.loads(v) for k, v in sent.schema.metadata.items()} == {
        b"source": {"model": {"hash": "ab"}}
    }


def test_columns_of_any_type_are_sent_as_they_are() -> None:
    frame = pd.DataFrame(
        {
            "participant_id": pd.Categorical(["a", "b"]),
            "x": np.array([0.5, np.nan], dtype=">f8"),
            "n": np.array([1, 2], dtype=">i4"),
            "visit": pd.to_datetime(["2024-01-02", None]),
            "length": pd.to_timedelta([1, 2], unit="s"),
            "price": [Decimal("1.5"), Decimal("2")],
            "raw": [b"x", b"y"],
            "words": [["a"], ["b", "c"]],
            "wave": np.array([1j, 2j]),
            7: [True, False],
        }
    )

    def answer(request: httpx2.Request) -> httpx2.Response:
        sent = pa.ipc.open_stream(request.read()).read_all()
        whole = pa.Table.from_pandas(
            frame.drop(columns="wave").astype({"x": "f8", "n": "i4"}), preserve_index=False
        )
        assert sent.equals(whole.replace_schema_metadata(None))
        return arrow(pa.table({"predicted": [1.0]}), target="N1")

    with client_of(answer) as client:
        assert client.estimate_features(frame).target == "N1"


def test_numbers_of_numpy_in_a_source_are_numbers() -> None:
    source = {"rate": np.float32(0.5), "n": np.int64(3), "on": np.bool_(True), "a": np.arange(2)}

    def answer(request: httpx2.Request) -> httpx2.Response:
        sent = pa.ipc.open_stream(request.read()).read_all().schema.metadata[b"source"]
        assert json.loads(sent) == {"rate": 0.5, "n": 3, "on": True, "a": [0, 1]}
        return arrow(pa.table({"predicted": [1.0]}), target="N1")

    with client_of(answer) as client:
        frame = pd.DataFrame({"participant_id": ["a"], "x": [1.0]})
        assert client.estimate_features(frame, source=source).target == "N1"


def test_a_table_of_unknown_origin_says_so_by_saying_nothing() -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        table = pa.ipc.open_stream(request.read()).read_all()
        assert not table.schema.metadata
        return arrow(pa.table({"predicted": [1.0]}), target="N1")

    with client_of(answer) as client:
        frame = pd.DataFrame({"participant_id": ["a"], "x": [1.0]}, index=["Jane"])
        assert client.estimate_features(frame).excluded.empty


def test_a_full_server_is_asked_again() -> None:
    answers = [
        problem(429, "full", Retry_After="1"),
        problem(503, "draining"),
        npy(np.zeros((1, 3))),
    ]
    times: list[float] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        assert json.loads(request.read()) == {"texts": ["a smile"]}
        times.append(time.monotonic())
        return answers.pop(0)

    with client_of(answer, config=ClientConfig(patience_seconds=30)) as client:
        assert client.encode_text(["a smile"]).shape == (1, 3)
    assert times[1] - times[0] >= 1
    assert times[2] - times[1] < 1


def test_patience_has_an_end() -> None:
    asked = 0

    def answer(request: httpx2.Request) -> httpx2.Response:
        nonlocal asked
        asked += 1
        return problem(429, "4096 pictures wait", Retry_After="3600")

    began = time.monotonic()
    with (
        client_of(answer, config=ClientConfig(patience_seconds=60)) as client,
        pytest.raises(ServerError, match="4096 pictures wait") as raised,
    ):
        client.encode_text(["a smile"])
    assert raised.value.status == 429
    assert asked == 1
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("status", [400, 401, 404, 413, 415, 422, 500, 504, 302])
def test_a_refusal_is_not_repeated(status: int) -> None:
    answers = [problem(status, "this", "and that", X_Request_ID="r1")]
    with client_of(lambda _: answers.pop()) as client, pytest.raises(ServerError) as raised:
        client.encode_text(["a smile"])
    assert raised.value.status == status
    assert raised.value.faults == ("this", "and that")
    assert raised.value.request_id == "r1"
    assert ("r1" in str(raised.value)) == (status >= 500)


def test_a_page_of_a_proxy_is_a_refusal_too() -> None:
    page = httpx2.Response(502, text="<html>nginx</html>")
    with client_of(lambda _: page) as client, pytest.raises(ServerError) as raised:
        client.models()
    assert raised.value.faults == ("Bad Gateway",)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (200, "text/html; charset=utf-8"), (202, "text/html"), (200, None), (202, None),
        (200, "application/json"),
    ],
)  # fmt: skip
def test_an_answer_that_is_not_the_servers_is_told_as_such(
    video: Path, status: int, kind: str | None
) -> None:
    headers = {} if kind is None else {"Content-Type": kind}
    page = httpx2.Response(status, content=b"<html>secret</html>", headers=headers)
    clip = np.zeros((2, 4, 4, 3), np.uint8)
    with client_of(lambda _: page) as client:
        calls: list[Callable[[], object]] = [
            lambda: client.encode_text(["a"]),
            lambda: client.score_clips([clip]),
            lambda: client.embed_video(video),
            lambda: client.estimate_features(pd.DataFrame({"participant_id": ["a"]})),
        ]
        if kind != "application/json":
            calls.append(client.models)
        for call in calls:
            with pytest.raises(ServerError, match="is this the server's address") as raised:
                call()
            assert raised.value.status == status
            assert (kind or "no media type").partition(";")[0] in str(raised.value)
            assert "secret" not in str(raised.value)


def test_a_media_type_may_have_parameters() -> None:
    answer = httpx2.Response(
        200, json=FACTS, headers={"Content-Type": "Application/JSON; charset=utf-8"}
    )
    with client_of(lambda _: answer) as client:
        assert client.models().model.name == "small"


def test_a_torn_result_is_fetched_again_and_a_torn_upload_is_not(video: Path) -> None:
    server = Jobs(["done"])
    torn = 0

    def answer(request: httpx2.Request) -> httpx2.Response:
        nonlocal torn
        if request.url.path.endswith("/result") and torn < 2:
            torn += 1
            raise httpx2.RemoteProtocolError("peer closed connection")
        return server(request)

    with client_of(answer, config=ClientConfig(patience_seconds=10)) as client:
        assert len(client.embed_video(video)) == 2

    tries = []

    def broken(request: httpx2.Request) -> httpx2.Response:
        tries.append(request.method)
        raise httpx2.ReadError("reset")

    with (
        client_of(broken, config=ClientConfig(patience_seconds=10)) as client,
        pytest.raises(ConnectionError, match="larger than the server allows"),
    ):
        client.embed_video(video)
    with client_of(broken) as client, pytest.raises(ConnectionError):
        client.models()
    assert tries == ["POST", "GET", "GET", "GET"]


def test_a_server_that_is_not_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (
        Client(f"http://127.0.0.1:{port}") as client,
        pytest.raises(ConnectionError, match=rf"http://127.0.0.1:{port} can not be reached"),
    ):
        client.models()


def test_a_server_that_falls_silent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        config = ClientConfig(timeout_seconds=0.2)
        with (
            Client(f"http://127.0.0.1:{port}", config=config) as client,
            pytest.raises(TimeoutError, match=r"silent for 0\.2 s"),
        ):
            client.models()


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("http://10.0.0.1:8765", "another machine"),
        ("http://server.example", "another machine"),
        ("http://localhost.example", "another machine"),
        ("ftp://127.0.0.1", "must be http"),
        ("127.0.0.1:8765", "must be http"),
        ("http://me:secret@127.0.0.1", "must be http"),
        ("http://", "must be http"),
    ],
)
def test_addresses_that_are_refused(url: str, fault: str) -> None:
    with pytest.raises(InputError, match=fault) as raised:
        Client(url, token="t" * 32)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    "url", ["http://localhost:1", "http://[::1]:1", "http://127.8.0.1", "https://server.example"]
)
def test_addresses_that_are_taken(url: str) -> None:
    Client(url, token="t" * 32).close()


def test_plain_http_to_another_machine_must_be_asked_for() -> None:
    Client("http://10.0.0.1:8765", token="t" * 32, allow_plain_http=True).close()


def test_a_path_before_the_servers_own_is_kept() -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        assert str(request.url) == "https://server.example/emoclip/v1/models"
        return httpx2.Response(200, json=FACTS)

    Client("https://server.example/emoclip/", transport=httpx2.MockTransport(answer)).models()


def test_the_token_is_sent_and_never_shown(tmp_path: Path) -> None:
    token = "s3cret-token_of.a~client+/="
    file = tmp_path / "token"
    file.write_text(f"# for the pipeline\n\n{token}\n")
    file.chmod(0o600)

    def answer(request: httpx2.Request) -> httpx2.Response:
        assert request.headers["Authorization"] == f"Bearer {token}"
        return problem(401, "a token of this server is wanted")

    with (
        Client.from_token_file(URL, file, transport=httpx2.MockTransport(answer)) as client,
        pytest.raises(ServerError) as raised,
    ):
        client.models()
    assert token not in f"{raised.value!r} {raised.value} {client!r}"
    with pytest.raises(InputError) as refused:
        Client(URL, token=f"{token}\nX: y")
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "mode", "fault"),
    [
        ("t" * 32, 0o644, "chmod 600 token"),
        ("", 0o600, "one token was wanted, got 0"),
        ("a" * 32 + "\n" + "b" * 32, 0o600, "got 2"),
        ("two words", 0o600, "letters, digits"),
        (None, 0o600, "can not be read"),
    ],
)
def test_token_files_that_are_refused(
    tmp_path: Path, text: str | None, mode: int, fault: str
) -> None:
    file = tmp_path / "token"
    if text is not None:
        file.write_text(text)
        file.chmod(mode)
    with pytest.raises(InputError, match=fault):
        Client.from_token_file(URL, file)


def test_the_environment_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    with served(json.dumps(FACTS).encode()) as (url, _), Client(url) as client:
        assert client.models().model.name == "small"


def test_nothing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.INFO),
        served(json.dumps(FACTS).encode()) as (url, _),
        Client(url) as client,
    ):
        client.models()
    assert caplog.records == []


def test_bad_input_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        raise AssertionError("sent")

    (tmp_path / "empty.mp4").touch()
    good, grey = np.zeros((2, 4, 4, 3), np.uint8), np.zeros((2, 4, 4), np.uint8)
    with client_of(answer) as client:
        with pytest.raises(InputError) as raised:
            client.encode_clips([good, good.astype(float), good[:0]])
        assert [fault.split(":")[0] for fault in raised.value.faults] == ["clip 1", "clip 2"]
        for call, fault in (
            (lambda: client.encode_text("a smile"), "got the string"),
            (lambda: client.encode_text(["a", 3]), "got int at position 1"),  # type: ignore[list-item]
            (lambda: client.encode_frames(grey), "frames must be uint8"),
            (lambda: client.encode_frames([[1, 2], [3]]), "an ndarray, uint8 .* got list"),  # type: ignore[arg-type]
            (lambda: client.encode_clips([[good]]), "clip 0: it must be an ndarray.* got list"),  # type: ignore[list-item]
            (lambda: client.encode_clips(None), "a list of ndarrays, got NoneType"),  # type: ignore[arg-type]
            (lambda: client.score_clips([[1]], "x"), "clip 0: it must be an ndarray"),  # type: ignore[list-item]
            (lambda: client.estimate_features([{"x": 1}]), "a DataFrame, got list"),  # type: ignore[arg-type]
            (
                lambda: client.estimate_features(pd.DataFrame([[1, 2]], columns=["x", "x"])),
                "column 'x' stands twice",
            ),
            (
                lambda: client.estimate_features(pd.DataFrame({"x": [1]}), source={"a": {1, 2}}),
                "source must be the content of features.json: set is no value of JSON",
            ),
            (lambda: client.score_clips([], "basic_seven"), "at least one clip"),
            (lambda: client.embed_video(tmp_path / "none.mp4"), "no such video"),
            (lambda: client.embed_video(tmp_path / "empty.mp4"), "is empty"),
            (lambda: client.estimate_features(pd.DataFrame({"x": [1, "b"]})), "'x' has .* kinds"),
        ):
            with pytest.raises(InputError, match=fault):
                call()
    with pytest.raises(InputError, match="patience_seconds must be at least 0"):
        ClientConfig(patience_seconds=-1)


class served:  # noqa: N801
    """A real server on a free port that answers every request alike, and keeps what it got."""

    def __init__(
        self, content: bytes, *, kind: str = "application/json", status: int = 200,
        reads: bool = True,
    ) -> None:  # fmt: skip
        bodies: list[int] = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                left = int(self.headers.get("Content-Length", 0)) if reads else 0
                bodies.append(left)
                while left:
                    left -= len(self.rfile.read(min(left, 2**20)))
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.send_header("Content-Type", kind)
                self.end_headers()
                self.wfile.write(content)
                self.close_connection = not reads

            do_GET = do_POST  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._handler, self._bodies = Handler, bodies

    def __enter__(self) -> tuple[str, list[int]]:
        self._server = HTTPServer(("127.0.0.1", 0), self._handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self._server.server_port}", self._bodies

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def test_a_large_video_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "large.mp4"
    with path.open("wb") as file:
        file.truncate(400 * 2**20)  # a hole, which takes no disk
    body = arrow(pa.table({"segment": [0]})).content
    code = (
        "import resource, sys\n"
        "from emoclip_clinical.client import Client\n"
        "def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "with Client(sys.argv[1]) as client:\n"
        "    client.score_video(sys.argv[3], 'basic_seven')\n"
        "    before = peak()\n"
        "    client.embed_video(sys.argv[2])\n"
        "assert not {'torch', 'av', 'decord'} & set(sys.modules)\n"
        "print(peak() - before)\n"
    )
    small = tmp_path / "small.mp4"
    small.write_bytes(b"x" * 4 * 2**20)
    with served(body, kind=ARROW) as (url, bodies):
        ran = subprocess.run(
            [sys.executable, "-c", code, url, str(path), str(small)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert bodies == [4 * 2**20, 400 * 2**20]
    assert int(ran.stdout) < 20 * 1024  # KiB


def test_an_early_refusal_of_an_upload_is_heard(tmp_path: Path) -> None:
    path = tmp_path / "large.mp4"
    with path.open("wb") as file:
        file.truncate(50 * 2**20)
    refused = problem(413, "at most 1024 bytes").content
    with served(refused, status=413, reads=False) as (url, _), Client(url) as client:
        # Where the answer was lost to the reset that follows, the message names the likely cause.
        with pytest.raises((ServerError, ConnectionError)) as raised:
            client.embed_video(path)
        assert "at most 1024 bytes" in str(raised.value) or "larger than" in str(raised.value)


def test_threads_may_share_a_client() -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        given = json.loads(request.read())["texts"]
        return npy(np.array([[float(text), 0, 0] for text in given]))

    found: dict[int, float] = {}
    with client_of(answer) as client:

        def ask(k: int) -> None:
            found[k] = float(client.encode_text([str(k)])[0, 0])

        threads = [threading.Thread(target=ask, args=(k,)) for k in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == {k: float(k) for k in range(16)}


def test_an_error_ends_what_has_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "REQUEST_TEXTS", 1)
    asked = 0

    def answer(request: httpx2.Request) -> httpx2.Response:
        nonlocal asked
        asked += 1
        return problem(422, "no")

    config = ClientConfig(requests_at_once=2, patience_seconds=0)
    with client_of(answer, config=config) as client, pytest.raises(ServerError):
        client.encode_text([str(k) for k in range(500)])
    assert asked < 500
