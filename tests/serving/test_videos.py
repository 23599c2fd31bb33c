"""Frames and videos over HTTP against the model itself, and against `extract`."""

from __future__ import annotations

import asyncio
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
from emoclip_clinical.serving import encoding
from emoclip_clinical.serving.app import make_app
from emoclip_clinical.serving.door import Door
from emoclip_clinical.serving.routes import videos

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


def test_what_is_wrong_with_prompts_is_told_by_places(
    client: TestClient, clips: np.ndarray, film: Path
) -> None:
    classes = {
        "secret_a": ["a", "A secret  smile"],
        "secret_b": ["b"],
        "secret_c": ["a SECRET smile", "a secret smile"],
        # To Python that is white space, to the schema's pattern it is not.
        "secret_d": ["\x1c"],
        "secret_e": ["b", "b"],
    }
    pairs = {"secret_x": ["secret_a", "secret_b"], "secret_y": ["secret_a", "secret_a"]}
    prompts = ("p", json.dumps({"name": "own", "classes": classes, "compounds": pairs}), JSON)
    for name, sent in (
        ("frames", ("f", npy(clips), NPY)),
        ("video", ("v", film.read_bytes(), "video/mp4")),
    ):
        answer = client.post("/v1/scores", files={"prompts": prompts, name: sent})
        assert answer.status_code == 422
        assert answer.json()["faults"] == [
            "class 3 (from 0) has an empty sentence",
            "classes 0 and 2 (from 0) have a sentence in common; each class needs its own",
            "classes 1 and 4 (from 0) have a sentence in common; each class needs its own",
            "compound 1 (from 0) names a class more than once",
        ]
        assert "secret" not in answer.text


def own_prompts(n_classes: int, compounds: dict[str, list[str]]) -> str:
    classes = {f"c{i}": [f"a face {i}"] for i in range(n_classes)}
    return json.dumps({"name": "own", "classes": classes, "compounds": compounds})


def tiny_clips(n: int) -> bytes:
    return npy(np.arange(n * 3, dtype=np.uint32).astype(np.uint8).reshape(n, 1, 1, 1, 3))


def test_parts_of_compounds_count_as_texts(client: TestClient, door: Door, film: Path) -> None:
    # The limit is 1,024 texts.
    for n_compounds, status in ((511, 200), (512, 413)):
        pairs = {f"x{i}": ["c0", "c1"] for i in range(n_compounds)}
        prompts = ("p", own_prompts(2, pairs), JSON)
        answer = client.post(
            "/v1/scores", files={"prompts": prompts, "frames": ("f", tiny_clips(1), NPY)}
        )
        assert answer.status_code == status, answer.text
    assert answer.json()["faults"] == [
        "prompts may have at most 1024 sentences and parts of compounds together, got 2 and 1024"
    ]
    long = ("p", own_prompts(2, {"x": ["c0", "c1"] * 600}), JSON)
    video = ("v", film.read_bytes(), "video/mp4")
    answer = client.post("/v1/scores?wait=0", files={"prompts": long, "video": video})
    assert answer.status_code == 413
    assert door.jobs.pending == 0


def test_prompts_of_many_names_are_refused_before_they_are_read(
    client: TestClient, clips: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(content: bytes, model: type) -> None:
        raise AssertionError("it is read")

    # The most quotes that there may be: a class a sentence, and all of them of quotes.
    signs = [[('"', "\\")[i >> bit & 1] for bit in range(10)] for i in range(1024)]
    classes = {f"c{i}": ["".join(sentence)] for i, sentence in enumerate(signs)}
    sound = {
        "name": "own", "classes": classes, "language": "a", "author": "b", "date": "c",
        "compounds": {},
    }  # fmt: skip
    sent = {"frames": ("f", tiny_clips(1), NPY)}
    answer = client.post("/v1/scores", files={"prompts": ("p", json.dumps(sound), JSON), **sent})
    assert answer.status_code == 200, answer.text
    monkeypatch.setattr(videos, "parse_json", none)
    pairs = {f"x{i}": ["c0", "c1"] for i in range(20_000)}
    answer = client.post(
        "/v1/scores", files={"prompts": ("p", own_prompts(2, pairs), JSON), **sent}
    )
    assert answer.status_code == 413
    assert "at most 1024 sentences" in answer.json()["detail"]


def test_clips_times_columns_are_limited(open_door: Callable[..., Door]) -> None:
    door = open_door(max_scores=1024)
    # Two classes and a compound: two shares, and three cosines.
    prompts = ("p", own_prompts(2, {"x": ["c0", "c1"]}), JSON)
    with TestClient(make_app(door), base_url="http://localhost") as client:
        for n_clips, status in ((204, 200), (205, 413)):
            frames = ("f", tiny_clips(n_clips), NPY)
            answer = client.post("/v1/scores", files={"prompts": prompts, "frames": frames})
            assert answer.status_code == status, answer.text
        fault = "with these prompts a request may hold at most 204 clips, got 205"
        assert answer.json()["faults"] == [fault]
        # Embeddings are no scores.
        headers = {"Content-Type": NPY}
        answer = client.post("/v1/embeddings/video", content=tiny_clips(205), headers=headers)
        assert answer.status_code == 200


def test_segments_times_columns_are_limited(open_door: Callable[..., Door], film: Path) -> None:
    door = open_door(max_scores=1024)
    # 7 classes have 14 columns, so 73 segments; in 8 s begin 80 at 0.1 s.
    with TestClient(make_app(door), base_url="http://localhost") as client:
        sent = {"content": film.read_bytes(), "headers": {"Content-Type": "video/mp4"}}
        for address, status in (("/v1/scores", 413), ("/v1/embeddings/video", 200)):
            answer = client.post(f"{address}?stride_seconds=0.1&sample_fps=10", **sent)
            assert answer.status_code == status, answer.text
            if status == 413:
                assert "more than 73 segments" in answer.json()["detail"]


def test_too_many_columns_for_a_video_are_refused_before_it_is_read(
    open_door: Callable[..., Door], film: Path
) -> None:
    door = open_door(max_texts=100_000)
    compounds = {f"x{i}": ["c0", "c1"] for i in range(10_000)}
    parts = {
        "prompts": ("p", own_prompts(2, compounds), JSON),
        "video": ("v", film.read_bytes(), "video/mp4"),
    }
    with TestClient(make_app(door), base_url="http://localhost") as client:
        answer = client.post("/v1/scores?wait=0", files=parts)
    assert answer.status_code == 413
    # Two classes with two columns each, and as many for each compound.
    assert "make 20004" in answer.json()["detail"]


def test_the_event_loop_computes_no_scores(
    client: TestClient, clips: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_called = 0

    def elsewhere(function: Callable[..., object]) -> Callable[..., object]:
        def call(*given: object, **named: object) -> object:
            nonlocal n_called
            n_called += 1
            with pytest.raises(RuntimeError):
                asyncio.get_running_loop()
            return function(*given, **named)

        return call

    monkeypatch.setattr(videos, "score_table", elsewhere(videos.score_table))
    monkeypatch.setattr(encoding, "combine_prompts", elsewhere(encoding.combine_prompts))
    parts = {"prompts": ("p", own_prompts(2, {}), JSON), "frames": ("f", npy(clips), NPY)}
    assert client.post("/v1/scores", files=parts).status_code == 200
    assert n_called == 2


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
