"""What goes wrong between clients and a real server: it answers the others, and nothing is left."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pytest

from emoclip_clinical.core.embedder import Embedder
from tests.serving import hostile
from tests.serving.hostile import ARROW, FORM, JSON, NPY, OCTETS, until
from tests.serving.load import TEXTS, Load
from tests.serving.near import assert_near
from tests.serving.processes import ServerProcess, server_process
from tests.serving.test_estimates import fit

pytestmark = pytest.mark.slow

TOKEN, OTHER_TOKEN = "the-first-of-two-tokens", "the-second-of-two-tokens"
FEATURES = ("mean_a", "mean_b", "mean_c")
ESTIMATES = "/v1/estimates"
VIDEO = "/v1/embeddings/video"
SECRET = "unmistakable-content"
LIMITS = {
    "max_json_bytes": 65_536,
    "max_frames_bytes": 2**22,
    "max_video_bytes": 2**23,
    "decoder_mib": 512,
    "upload_stall_seconds": 5,
}


@dataclass(frozen=True)
class Running:
    """A server with tokens, and how to ask it."""

    server: ServerProcess
    client: httpx2.Client
    scratch: Path

    @property
    def url(self) -> str:
        return self.server.url

    def read_video(self, content: bytes, **query: object) -> httpx2.Response:
        params = {"face": "whole_frame", **query}
        return self.client.post(
            VIDEO, params=params, content=content, headers={"Content-Type": "video/mp4"}
        )

    def estimate(self, content: bytes, kind: str = ARROW) -> httpx2.Response:
        return self.client.post(ESTIMATES, content=content, headers={"Content-Type": kind})

    def left(self) -> dict[str, object]:
        """What a request might leave behind."""
        # The client keeps one connection open, unless the last answer closed it.
        assert self.client.get("/healthz").status_code == 200
        process = psutil.Process(self.server.process.pid)
        files = sorted(str(path) for path in self.scratch.rglob("*") if not path.is_dir())
        children = sorted(child.pid for child in process.children(recursive=True))
        return {"descriptors": process.num_fds(), "children": children, "files": files}


@pytest.fixture(scope="module")
def estimator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small estimator of features of unknown origin."""
    folder = tmp_path_factory.mktemp("estimators")
    values = np.random.default_rng(0).normal(size=(10, len(FEATURES)))
    table = pd.DataFrame(values, columns=list(FEATURES))
    table.insert(0, "participant_id", [f"sub-a{i}" for i in range(len(table))])
    table.to_csv(folder / "features.csv", index=False)
    return fit(folder, folder / "features.csv", target="plain")


@pytest.fixture(scope="module")
def start(
    tmp_path_factory: pytest.TempPathFactory, model_folder: Path, estimator: Path
) -> Callable[..., Iterator[Running]]:
    tokens = tmp_path_factory.mktemp("tokens") / "tokens"
    tokens.write_text(f"{TOKEN}\n{OTHER_TOKEN}\n")
    tokens.chmod(0o600)

    def run(**limits: object) -> Iterator[Running]:
        scratch = tmp_path_factory.mktemp("scratch")
        options = [f"--limit={name}={value}" for name, value in (LIMITS | limits).items()]
        headers = {"Authorization": f"Bearer {TOKEN}"}
        with (
            server_process(
                model_folder,
                "--token-file",
                str(tokens),
                "--estimator",
                str(estimator),
                *options,
                scratch=scratch,
            ) as server,
            httpx2.Client(base_url=server.url, headers=headers, timeout=120) as client,
        ):
            yield Running(server, client, scratch)

    return run


@pytest.fixture(scope="module")
def running(
    start: Callable[..., Iterator[Running]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    starting = start()
    made = next(starting)
    # Everything once, so that what stays is told from what leaks.
    content = hostile.film(tmp_path_factory.mktemp("films") / "a.mkv", seconds=9)
    assert made.read_video(content).status_code == 200
    assert made.client.post(TEXTS, json={"texts": ["a"]}).status_code == 200
    row = {"participant_id": "a", **dict.fromkeys(FEATURES, 0.5)}
    assert made.client.post(ESTIMATES, json={"features": [row]}).status_code == 200
    arrow = hostile.arrow(pa.Table.from_pylist([row]))
    assert made.estimate(arrow).status_code == 200
    yield made
    starting.close()


@pytest.fixture
def unharmed(running: Running, embedder: Embedder) -> Iterator[Running]:
    """Others are answered rightly all the time; afterwards nothing is left or told."""
    before = running.left()
    with hostile.steady_client(running.url, token=TOKEN, embedder=embedder) as wrong:
        yield running
    assert wrong == []
    until(lambda: _nothing_more(running.left(), before), what=f"{before}, now {running.left()}")
    said = "".join(running.server.said)
    assert SECRET not in said
    assert "Traceback" not in said
    assert "a bug" not in said


def _nothing_more(after: dict[str, object], before: dict[str, object]) -> bool:
    # A connection that was kept open before may have been closed.
    more = int(str(after["descriptors"])) - int(str(before["descriptors"]))
    return more <= 0 and all(after[kind] == before[kind] for kind in ("children", "files"))


def problem(response: httpx2.Response, *statuses: int) -> str:
    assert response.status_code in statuses, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["status"] == response.status_code
    assert SECRET not in response.text
    return str(response.json()["detail"])


def test_clients_that_hang_up_in_the_middle_of_an_upload(unharmed: Running) -> None:
    part = b"\0" * 300_000
    many = {"Content_Length": "4000000"}
    chunk = f"{len(part):x}\r\n".encode() + part
    beginnings = [
        hostile.head("POST", VIDEO, token=TOKEN, Content_Type=OCTETS, **many) + part,
        hostile.head("POST", VIDEO, token=TOKEN, Content_Type=NPY, **many) + part,
        hostile.head("POST", VIDEO, token=TOKEN, Content_Type=FORM, **many)
        + hostile.form("video", part, file_name=SECRET)[:-20],
        hostile.head("POST", VIDEO, token=TOKEN, Content_Type=OCTETS, Transfer_Encoding="chunked")
        + chunk,
        hostile.head("POST", TEXTS, token=TOKEN, Content_Type=JSON, Content_Length="5000")
        + b'{"texts": ["'
        + SECRET.encode(),
    ]
    sent = [hostile.raw(unharmed.url, beginning) for beginning in beginnings * 4]
    assert len(sent) == 20
    idle = len(unharmed.server.said)
    for number, connection in enumerate(sent):
        if number % 2:  # reset, and not only closed
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.close()
    until(lambda: sum("POST" in line for line in unharmed.server.said[idle:]) >= 20)


def test_one_who_hangs_up_while_a_video_is_read_ends_its_process(
    unharmed: Running, tmp_path: Path
) -> None:
    content = hostile.film(tmp_path / "a.mkv", seconds=600, fps=2)
    head = hostile.head(
        "POST", f"{VIDEO}?face=whole_frame&sample_fps=2", token=TOKEN, Content_Type=OCTETS,
        Content_Length=str(len(content)),
    )  # fmt: skip
    n_before = len(unharmed.server.descendants)
    connection = hostile.raw(unharmed.url, head + content)
    until(lambda: len(unharmed.server.descendants) > n_before)
    connection.close()
    until(lambda: len(unharmed.server.descendants) == n_before)


def test_a_million_clips_of_one_pixel_are_refused_at_once(unharmed: Running) -> None:
    clips = np.zeros((1_000_000, 1, 1, 1, 3), dtype=np.uint8)
    response = unharmed.client.post(
        VIDEO, content=hostile.npy(clips), headers={"Content-Type": NPY}
    )
    assert "1000000" in problem(response, 413)


def test_a_process_that_is_killed_is_replaced_once(unharmed: Running, tmp_path: Path) -> None:
    content = hostile.film(tmp_path / "a.mkv", seconds=120)
    expected = unharmed.read_video(content)
    assert expected.status_code == 200, expected.text

    def kill_next(known: set[int]) -> int:
        until(lambda: bool({p.pid for p in unharmed.server.descendants} - known))
        new = ({p.pid for p in unharmed.server.descendants} - known).pop()
        os.kill(new, signal.SIGKILL)
        return new

    with ThreadPoolExecutor(1) as clients:
        known = {process.pid for process in unharmed.server.descendants}
        asked = clients.submit(unharmed.read_video, content)
        known.add(kill_next(known))
        assert_near(asked.result().json(), expected.json())
        asked = clients.submit(unharmed.read_video, content)
        known.add(kill_next(known))
        kill_next(known)
        assert "ended (signal 9) twice" in problem(asked.result(), 422)
    assert sum("a process that read an upload ended" in line for line in unharmed.server.said) == 3


def test_decompression_bombs(unharmed: Running, tmp_path: Path) -> None:
    def post(target: str, content: bytes, kind: str, **headers: str) -> httpx2.Response:
        return unharmed.client.post(
            target, content=content, headers={"Content-Type": kind, **headers}
        )

    picture = hostile.picture_bomb()
    assert len(picture) < 2**22
    problem(unharmed.read_video(picture), 422)
    film = hostile.film_with_bomb(tmp_path / "a.mov", bomb=picture)
    assert len(film) < 2**22
    kept = unharmed.read_video(film)
    assert kept.status_code == 200
    assert kept.json()["video"]["status"] == "partial"
    assert kept.json()["video"]["reason"] == "damaged packets or pictures skipped: 1"
    gzip = post(TEXTS, b"\x1f\x8b" + b"\0" * 100, JSON, **{"Content-Encoding": "gzip"})
    assert "Content-Encoding" in problem(gzip, 415)
    huge = hostile.npy_header((10**7, 1000, 1000, 3))
    assert "got 10000000" in problem(post(VIDEO, huge, NPY), 422)
    many = hostile.npy_header((4_000_000, 1, 1, 1, 1, 3)) + b"\0" * 9
    assert "dimensions" in problem(post(VIDEO, many, NPY), 422)
    arrow = hostile.arrow_bomb()
    assert len(arrow) < 2**20
    problem(post(TEXTS, arrow, ARROW), 413, 422)


@contextmanager
def health(url: str) -> Iterator[list[float]]:
    """Ask how the server is all the time; the list gets the seconds of each answer."""
    seconds: list[float] = []
    stop = threading.Event()

    def ask() -> None:
        with httpx2.Client(base_url=url, timeout=60) as client:
            while not stop.is_set():
                began = time.monotonic()
                assert client.get("/healthz").status_code == 200
                seconds.append(time.monotonic() - began)
                stop.wait(0.02)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield seconds
    finally:
        stop.set()
        thread.join()


def row_bombs() -> dict[str, bytes]:
    """Streams of a few kilobytes with millions of rows, or with rows that repeat one another."""
    n_rows = 3_500_000
    columns = {
        "one": np.zeros(n_rows, dtype=np.int64),
        "nothing": pa.nulls(n_rows),
        "words": pa.array([SECRET] * n_rows).dictionary_encode(),
        "vectors": pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(2 * n_rows)), 2),
    }
    made = {name: {"participant_id": column} for name, column in columns.items()}
    made["few"] = {"participant_id": np.zeros(9_000, dtype=np.int64)}
    made["long"] = {"participant_id": pa.array([SECRET * 3000] * 9_000).dictionary_encode()}
    return {
        name: hostile.arrow(pa.table(table), compression="zstd") for name, table in made.items()
    }


def test_bombs_of_rows(unharmed: Running) -> None:
    bombs = row_bombs()
    assert all(len(bomb) < 300_000 for bomb in bombs.values())
    with health(unharmed.url) as seconds:
        for name, bomb in bombs.items():
            began = time.monotonic()
            answer = unharmed.estimate(bomb)
            problem(answer, 413, 422)
            assert len(answer.content) < 2000, name
            assert time.monotonic() - began < 30, name
    assert max(seconds) < 5


def test_many_who_want_estimates_at_once_hold_up_nobody(unharmed: Running) -> None:
    rows = [{"participant_id": str(i), "mean_a": 0.5} for i in range(1500)]
    body = json.dumps({"features": rows}).encode()
    frame = hostile.npy(np.zeros((1, 16, 16, 3), dtype=np.uint8))
    headers = {"Content-Type": NPY}
    seconds = []
    with ThreadPoolExecutor(60) as clients:
        asked = [clients.submit(unharmed.estimate, body, JSON) for _ in range(60)]
        while not all(future.done() for future in asked):
            began = time.monotonic()
            answer = unharmed.client.post(f"{VIDEO}?unit=frame", content=frame, headers=headers)
            assert answer.status_code == 200
            seconds.append(time.monotonic() - began)
    answers = [future.result() for future in asked]
    # Columns are missing: those that are looked at are refused.
    assert {answer.status_code for answer in answers} <= {422, 429}
    assert sum(answer.status_code == 422 for answer in answers) >= 32
    for answer in answers:
        assert len(answer.content) < 20_000
        assert (answer.status_code == 429) == ("retry-after" in answer.headers)
    assert max(seconds) < 5


@pytest.mark.parametrize("with_length", [True, False])
def test_three_black_hours_are_too_long(
    unharmed: Running, tmp_path: Path, with_length: bool
) -> None:
    content = hostile.black_film(tmp_path / "a.mkv", seconds=10_800, with_length=with_length)
    detail = problem(unharmed.read_video(content), 413)
    assert "longer than 7200 s" in detail
    assert ("header" if with_length else "own clock") in detail


def test_sigterm_under_load_answers_and_keeps_what_was_accepted(
    start: Callable[..., Iterator[Running]], embedder: Embedder, tmp_path: Path
) -> None:
    starting = start(max_batch_texts=1, max_delay_seconds=0.05)
    running = next(starting)
    content = hostile.film(tmp_path / "a.mkv", seconds=20)
    expected = running.read_video(content).json()
    children = running.server.descendants

    def texts_of(client: int) -> list[str]:
        return [f"{i} {SECRET} {client}" for i in range(40)]

    def is_done(location: str) -> bool:
        return running.client.get(location).json()["state"] == "done"

    with ThreadPoolExecutor(17) as clients:
        load = Load(
            running.url,
            clients,
            n_clients=16,
            texts_of=texts_of,
            headers=dict(running.client.headers),
        )
        waiting = clients.submit(running.read_video, content)
        jobs = [running.read_video(content, wait=0) for _ in range(4)]
        assert [job.status_code for job in jobs] == [202] * 4
        until(lambda: load.n_running() >= 8)
        load.when_open(running.server.ask_to_end)
        until(lambda: running.client.get("/readyz").status_code == 503)
        assert "ending" in problem(running.read_video(content), 503)
        load.assert_kept(embedder, n_others=1)
        assert_near(waiting.result().json(), expected)
        for job in jobs:
            location = job.headers["location"]
            until(lambda location=location: is_done(location))
            assert_near(running.client.get(f"{location}/result").json(), expected)
    assert running.server.exit_code() == 0
    assert not any(child.is_running() for child in children)
    assert [path for path in running.scratch.rglob("*") if not path.is_dir()] == []
    assert SECRET not in "".join(running.server.said)
    starting.close()


def test_one_token_does_not_find_the_jobs_of_another(unharmed: Running, tmp_path: Path) -> None:
    content = hostile.film(tmp_path / "a.mkv", seconds=9)
    location = unharmed.read_video(content, wait=0).headers["location"]
    foreign = {"Authorization": f"Bearer {OTHER_TOKEN}"}
    for method, target in (("GET", ""), ("GET", "/result"), ("DELETE", "")):
        answer = unharmed.client.request(method, f"{location}{target}", headers=foreign)
        problem(answer, 404)
    assert json.loads(unharmed.client.get(location).text)["state"] in ("waiting", "running", "done")
    assert unharmed.client.delete(location).status_code == 204
