"""What goes wrong between clients and a real server: it answers the others, and nothing is left."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx2
import numpy as np
import psutil
import pytest

from emoclip_clinical.core.embedder import Embedder
from tests.serving import hostile
from tests.serving.hostile import FORM, JSON, NPY, OCTETS, until
from tests.serving.processes import ServerProcess, server_process

pytestmark = pytest.mark.slow

TOKEN, OTHER_TOKEN = "the-first-of-two-tokens", "the-second-of-two-tokens"
TEXTS, VIDEO = "/v1/embeddings/text", "/v1/embeddings/video"
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

    def left(self) -> dict[str, object]:
        """What a request might leave behind."""
        process = psutil.Process(self.server.process.pid)
        files = sorted(str(path) for path in self.scratch.rglob("*") if not path.is_dir())
        children = sorted(child.pid for child in process.children(recursive=True))
        return {"descriptors": process.num_fds(), "children": children, "files": files}


@pytest.fixture(scope="module")
def start(
    tmp_path_factory: pytest.TempPathFactory, model_folder: Path
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
                model_folder, "--token-file", str(tokens), *options, scratch=scratch
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
    yield made
    starting.close()


@pytest.fixture
def unharmed(running: Running, embedder: Embedder) -> Iterator[Running]:
    """Others are answered rightly all the time; afterwards nothing is left or told."""
    before = running.left()
    with hostile.steady_client(running.url, token=TOKEN, embedder=embedder) as wrong:
        yield running
    assert wrong == []
    until(lambda: running.left() == before, what=f"{before} before, {running.left()} after")
    said = "".join(running.server.said)
    assert SECRET not in said
    assert "Traceback" not in said
    assert "a bug" not in said


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
    # Before a list is made of them, which a hundred times as many would take minutes for.
    assert response.elapsed.total_seconds() < 1


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
        assert asked.result().json() == expected.json()
        asked = clients.submit(unharmed.read_video, content)
        known.add(kill_next(known))
        kill_next(known)
        assert "ended (signal 9) twice" in problem(asked.result(), 422)
    assert sum("a process that read an upload ended" in line for line in unharmed.server.said) == 3
