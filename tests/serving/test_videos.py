"""Frames and videos over HTTP against the model itself, and against `extract`."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from starlette.testclient import TestClient

from emoclip_clinical.core.embedder import Embedder
from emoclip_clinical.features.config import ExtractionConfig
from emoclip_clinical.features.extract import extract
from emoclip_clinical.features.prompt_sets import load_prompt_sets
from emoclip_clinical.features.scores import encode_prompt_sets, score_embeddings
from emoclip_clinical.records import PromptSet
from emoclip_clinical.serving.door import Door

JSON = "application/json"
ARROW = "application/vnd.apache.arrow.stream"
NPY = "application/x-npy"
FORMS = (JSON, ARROW, NPY)


@pytest.fixture(scope="module", autouse=True)
def _ready(door: Door) -> None:
    """Not a part of what is waited for."""
    door.reader.ready()


def npy(frames: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, frames)
    return file.getvalue()


def table_of(response) -> pa.Table:
    assert response.status_code == 200, response.text
    if response.headers["content-type"] == ARROW:
        return pa.ipc.open_stream(response.content).read_all()
    return pa.Table.from_pylist(response.json()["rows"])


def embeddings_of(response) -> np.ndarray:
    assert response.status_code == 200, response.text
    if response.headers["content-type"] == NPY:
        return np.load(io.BytesIO(response.content), allow_pickle=False)
    rows = table_of(response)["embedding"].to_pylist()
    return np.array([row for row in rows if row is not None], dtype=np.float32)


@pytest.fixture(scope="module")
def clips() -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (3, 6, 50, 72, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory, write_video: Callable[..., Path]) -> Path:
    """Eight seconds of changing noise, at 10 pictures a second."""
    rng = np.random.default_rng(1)
    small = rng.integers(0, 256, (80, 6, 9, 3)).astype(np.float64)
    mixed = (small[:-1] + small[1:]) / 2
    frames = np.repeat(np.repeat(mixed, 16, axis=1), 16, axis=2).astype(np.uint8)
    return write_video(tmp_path_factory.mktemp("films") / "sub-01.mp4", frames, fps=10)


@pytest.mark.parametrize("accept", FORMS)
def test_clips_are_embedded_as_by_the_model(
    client: TestClient, embedder: Embedder, clips: np.ndarray, accept: str
) -> None:
    headers = {"Content-Type": NPY, "Accept": accept}
    response = client.post("/v1/embeddings/video", content=npy(clips), headers=headers)
    expected = embedder.encode_clips(list(clips))
    np.testing.assert_allclose(embeddings_of(response), expected, rtol=0, atol=1e-6)
    one = client.post("/v1/embeddings/video", content=npy(clips[1]), headers=headers)
    np.testing.assert_allclose(embeddings_of(one), expected[1:2], rtol=0, atol=1e-6)


@pytest.mark.parametrize("accept", FORMS)
def test_frames_are_embedded_as_by_the_model(
    client: TestClient, embedder: Embedder, clips: np.ndarray, accept: str
) -> None:
    response = client.post(
        "/v1/embeddings/video?unit=frame",
        content=npy(clips[0]),
        headers={"Content-Type": NPY, "Accept": accept},
    )
    expected = embedder.encode_frames(clips[0])
    np.testing.assert_allclose(embeddings_of(response), expected, rtol=0, atol=1e-6)


def test_a_form_is_as_good_as_a_body(
    client: TestClient, embedder: Embedder, clips: np.ndarray
) -> None:
    response = client.post("/v1/embeddings/video", files={"frames": ("x", npy(clips), NPY)})
    expected = embedder.encode_clips(list(clips))
    np.testing.assert_allclose(embeddings_of(response), expected, rtol=0, atol=1e-6)
    assert response.json()["model"] == {"name": "small", "hash": embedder.model_hash}


def test_clips_are_scored_as_by_features(
    client: TestClient, embedder: Embedder, clips: np.ndarray
) -> None:
    response = client.post(
        "/v1/scores?prompts=mafw_compounds", content=npy(clips), headers={"Content-Type": NPY}
    )
    prompts = encode_prompt_sets(embedder, load_prompt_sets(("mafw_compounds",)))
    expected = score_embeddings(
        embedder.encode_clips(list(clips)), prompts, temperature=embedder.temperature
    )
    table = table_of(response)
    assert table.column_names == list(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(table[name].to_numpy(), values, rtol=0, atol=1e-6)


def test_prompts_of_ones_own(client: TestClient, embedder: Embedder, clips: np.ndarray) -> None:
    inline = {
        "name": "mine",
        "classes": {"smile": ["a smile", "a grin"], "rest": ["a face"]},
        "compounds": {"both": ["smile", "rest"]},
    }
    parts = {"prompts": ("p", json.dumps(inline), JSON), "frames": ("f", npy(clips), NPY)}
    response = client.post("/v1/scores", files=parts, headers={"Accept": ARROW})
    cosines = embedder.score(
        list(clips),
        PromptSet(
            "mine",
            {"smile": ("a smile", "a grin"), "rest": ("a face",)},
            {"both": ("smile", "rest")},
        ),
    )
    table = table_of(response)
    for i, name in enumerate(
        ("cosine_mine__smile", "cosine_mine__rest", "cosine_mine_compounds__both")
    ):
        np.testing.assert_allclose(table[name].to_numpy(), cosines[:, i], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("prompts", "status", "said"),
    [
        ("{", 400, "not valid JSON"),
        ('{"name": "secret name", "classes": {}}', 422, "name"),
        ('{"name": "a", "classes": {"b": ["x"], "c": [" "]}}', 422, "classes"),
        (
            '{"name": "a", "classes": {"b": ["x"], "c": ["y"]}, "compounds": {"d": ["b", "zz"]}}',
            422,
            "compound",
        ),
        ('{"name": "a", "classes": {"b": ["x"], "c": ["y"]}, "more": 1}', 422, "*"),
    ],
)
def test_unsound_prompts(
    client: TestClient, clips: np.ndarray, prompts: str, status: int, said: str
) -> None:
    parts = {"prompts": ("p", prompts, JSON), "frames": ("f", npy(clips), NPY)}
    response = client.post("/v1/scores", files=parts)
    assert response.status_code == status
    assert said in response.json()["detail"]
    assert "secret" not in response.text


def extracted(film: Path, embedder: Embedder, folder: Path, config: ExtractionConfig):
    extract(
        [film],
        embedder=embedder,
        config=config,
        prompt_sets=load_prompt_sets(("basic_seven",)),
        output=folder,
    )
    vectors = pq.read_table(folder / "embeddings.parquet")
    return pq.read_table(folder / "segments.parquet"), vectors


def compare(segments: pa.Table, vectors: pa.Table, scores, embeddings) -> None:
    scored, embedded = table_of(scores), table_of(embeddings)
    assert {"participant_id", "session_id", "interview"}.isdisjoint(scored.column_names)
    wanted = segments.drop_columns(["participant_id", "session_id", "interview"])
    assert scored.schema.remove_metadata() == wanted.schema.remove_metadata()
    for name in wanted.column_names:
        expected, got = wanted[name].to_pylist(), scored[name].to_pylist()
        kind = wanted.schema.field(name).type
        if pa.types.is_floating(kind):
            assert [x is None for x in got] == [x is None for x in expected], name
            numbers = [(a, b) for a, b in zip(got, expected, strict=True) if b is not None]
            # Scores to 1e-6; what is measured in pictures and seconds to as many digits.
            rtol = 0 if kind == pa.float32() else 1e-5
            np.testing.assert_allclose(*np.array(numbers).reshape(-1, 2).T, rtol=rtol, atol=1e-6)
        else:
            assert got == expected, name
    rows = embedded["embedding"].to_pylist()
    assert [row is not None for row in rows] == [s == "ok" for s in wanted["status"].to_pylist()]
    got = np.array([row for row in rows if row is not None])
    np.testing.assert_allclose(got, np.array(vectors["embedding"].to_pylist()), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "settings", [{}, {"sample_fps": 4.0, "window_seconds": 1.5, "stride_seconds": 0.5}]
)
def test_a_video_is_read_as_extract_reads_it(
    client: TestClient, embedder: Embedder, film: Path, tmp_path: Path, settings: dict[str, float]
) -> None:
    config = ExtractionConfig(face="whole_frame", precision="float32", **settings)
    expected = extracted(film, embedder, tmp_path, config)
    sent = {"content": film.read_bytes(), "params": settings}
    headers = {"Content-Type": "video/mp4", "Accept": ARROW}
    scores = client.post("/v1/scores", headers=headers, **sent)
    embeddings = client.post("/v1/embeddings/video", headers=headers, **sent)
    compare(*expected, scores, embeddings)
    matrix = client.post("/v1/embeddings/video", headers={**headers, "Accept": NPY}, **sent)
    np.testing.assert_allclose(
        embeddings_of(matrix), np.array(expected[1]["embedding"].to_pylist()), rtol=0, atol=1e-6
    )
    about = client.post("/v1/scores", headers={"Content-Type": "video/mp4"}, **sent).json()
    assert about["video"]["status"] == "ok"
    assert about["video"]["n_ok"] == len(expected[1])
    assert about["settings"]["face"] == "whole_frame"


@pytest.mark.parametrize("name", ["pyfeat_face_noface.mov", "cremad_1001_DFA_HAP_XX.flv"])
def test_a_face_is_found_as_extract_finds_it(
    client: TestClient, embedder: Embedder, assets: Path, tmp_path: Path, name: str
) -> None:
    film = tmp_path / f"sub-01{Path(name).suffix}"
    film.write_bytes((assets / "videos" / name).read_bytes())
    expected = extracted(
        film, embedder, tmp_path / "features", ExtractionConfig(precision="float32")
    )
    sent = {"content": film.read_bytes(), "params": {"face": "detect"}}
    headers = {"Content-Type": "application/octet-stream", "Accept": ARROW}
    compare(
        *expected,
        client.post("/v1/scores", headers=headers, **sent),
        client.post("/v1/embeddings/video", headers=headers, **sent),
    )
