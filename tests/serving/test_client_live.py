"""The client and the server together, over a real socket."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import numpy as np
import pytest
import uvicorn

from emoclip_clinical.client import Client, ClientConfig, ServerError, client
from emoclip_clinical.core.embedder import Embedder
from emoclip_clinical.records import PromptSet
from emoclip_clinical.serving.app import make_app
from emoclip_clinical.serving.door import Door
from emoclip_clinical.serving.tokens import read_tokens

OWN = PromptSet(
    "own", {"up": ("a smile", "she smiles"), "down": ("a frown",)}, {"both": ("up", "down")}
)


@contextmanager
def listening(door: Door, *, token_file: Path | None = None) -> Iterator[str]:
    """Serve a door on a free port; what it says of its address."""
    tokens = None if token_file is None else read_tokens(token_file)
    config = uvicorn.Config(
        make_app(door, tokens=tokens), port=0, lifespan="off", log_config=None, access_log=False
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
        assert thread.is_alive()
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(timeout=20)
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def url(door: Door) -> Iterator[str]:
    with listening(door) as found:
        yield found


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory, write_video: Callable[..., Path]) -> Path:
    rng = np.random.default_rng(3)
    frames = rng.integers(0, 256, size=(100, 64, 64, 3), dtype=np.uint8)
    return write_video(tmp_path_factory.mktemp("video") / "sub-01_Jane.mp4", frames)


@pytest.fixture(scope="module")
def clips() -> list[np.ndarray]:
    rng = np.random.default_rng(4)
    sizes = [(4, 70), (9, 50), (4, 70), (16, 70)]
    return [rng.integers(0, 256, size=(t, s, s, 3), dtype=np.uint8) for t, s in sizes]


def test_it_encodes_as_the_embedder_does(
    url: str, embedder: Embedder, clips: list[np.ndarray]
) -> None:
    texts = [f"a person who counts to {k}" for k in range(300)]
    with Client(url) as asked:
        facts = asked.models().model
        assert (facts.hash, facts.embedding_width) == (
            embedder.model_hash, embedder.embedding_width,
        )  # fmt: skip
        pairs = [
            (asked.encode_text(texts), embedder.encode_text(texts)),
            (asked.encode_frames(clips[1]), embedder.encode_frames(clips[1])),
            (asked.encode_clips(clips), embedder.encode_clips(clips)),
        ]
        scores = asked.score_clips(clips, OWN)
        assert asked.encode_clips([]).shape == (0, facts.embedding_width)
    for found, wanted in pairs:
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, wanted, atol=1e-6)
    columns = ["cosine_own__up", "cosine_own__down", "cosine_own_compounds__both"]
    np.testing.assert_allclose(scores[columns], embedder.score(clips, OWN), atol=1e-6)
    assert scores.attrs["model"]["hash"] == embedder.model_hash


def test_a_video_is_answered_as_its_json_says(url: str, video: Path) -> None:
    wanted = httpx2.post(
        f"{url}/v1/embeddings/video",
        content=video.read_bytes(), headers={"Content-Type": "video/mp4"}, timeout=60,
    ).json()  # fmt: skip
    with Client(url) as asked:
        found = asked.embed_video(video)
        scored = asked.score_video(video, "basic_seven")
        own = asked.score_video(video, OWN)
    assert list(found.columns) == list(wanted["rows"][0])
    assert list(found["onset"]) == [row["onset"] for row in wanted["rows"]]
    for vector, row in zip(found["embedding"], wanted["rows"], strict=True):
        np.testing.assert_allclose(vector, row["embedding"], atol=1e-6)
    assert len(scored) == len(own) == len(found)
    shares = scored.filter(like="emotion_basic_seven__")
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-5)
    assert "cosine_own_compounds__both" in own


def test_as_a_job_it_is_the_same_and_leaves_nothing(
    url: str, door: Door, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Client(url) as asked:
        at_once = asked.embed_video(video)
        monkeypatch.setattr(client, "_WAIT", {"wait": "0"})
        heard: list[tuple[str, int, int]] = []
        later = asked.embed_video(video, progress=lambda *said: heard.append(said))
    for one, other in zip(at_once["embedding"], later["embedding"], strict=True):
        np.testing.assert_array_equal(one, other)
    assert heard[-1][0] == "video"
    assert (door.jobs.pending, door.jobs.unread) == (0, 0)


def test_ctrl_c_ends_the_job_on_the_server(
    url: str, door: Door, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_WAIT", {"wait": "0"})

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("emoclip_clinical.client.jobs._wait", interrupted)
    with Client(url) as asked, pytest.raises(KeyboardInterrupt):
        asked.embed_video(video)
    assert (door.jobs.pending, door.jobs.unread) == (0, 0)


def test_what_is_no_video_is_refused_with_the_servers_words(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "notes.mp4"
    path.write_text("not a video\n" * 100)
    for wait in ("2", "0"):
        monkeypatch.setattr(client, "_WAIT", {"wait": wait})
        with Client(url) as asked, pytest.raises(ServerError, match="can not be read") as raised:
            asked.score_video(path)
        assert raised.value.status == 422


def test_estimates_of_a_server_without_estimators(url: str, video: Path) -> None:
    with Client(url) as asked, pytest.raises(ServerError) as raised:
        asked.estimate_video(video)
    assert raised.value.status == 404


def test_refusals_come_through(url: str, clips: list[np.ndarray], video: Path) -> None:
    with Client(url) as asked:
        for status, call in (
            (404, lambda: asked.score_clips(clips, "nonesuch")),
            (422, lambda: asked.encode_clips([np.zeros((500, 8, 8, 3), np.uint8)])),
            (422, lambda: asked.embed_video(video, window_seconds=-1)),
        ):
            with pytest.raises(ServerError) as raised:
                call()
            assert raised.value.status == status


def test_tokens_open_the_server(open_door: Callable[..., Door], tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("t" * 32 + "\n")
    file.chmod(0o600)
    with listening(open_door(), token_file=file) as url:
        with Client.from_token_file(url, file) as asked:
            assert asked.encode_text(["a smile"]).shape[0] == 1
        for token in (None, "u" * 32):
            with Client(url, token=token) as asked, pytest.raises(ServerError) as raised:
                asked.models()
            assert raised.value.status == 401


def test_a_small_server_serves_a_hurried_client(
    open_door: Callable[..., Door], embedder: Embedder
) -> None:
    frames = np.random.default_rng(5).integers(0, 256, size=(1200, 16, 16, 3), dtype=np.uint8)
    door = open_door(max_waiting_frames=600)
    config = ClientConfig(requests_at_once=3, patience_seconds=60)
    with listening(door) as url, Client(url, config=config) as asked:
        found = asked.encode_frames(frames)
    np.testing.assert_allclose(found, embedder.encode_frames(frames), atol=1e-6)
    assert b'status="429"' in door.metrics.text()


def test_an_upload_that_is_too_large_is_told_so(
    open_door: Callable[..., Door], video: Path
) -> None:
    large = video.read_bytes() * 3
    path = video.with_name("large.mp4")
    path.write_bytes(large)
    with listening(open_door(max_video_bytes=len(large) // 2)) as url, Client(url) as asked:
        with pytest.raises(ServerError, match="at most") as raised:
            asked.embed_video(path)
        assert raised.value.status == 413
