"""Estimates over HTTP: what `predict` says of the same features, exactly, and its refusals."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from starlette.testclient import TestClient
from typer.testing import CliRunner

from emoclip_clinical.cli import app as command_line
from emoclip_clinical.core.embedder import Embedder
from emoclip_clinical.features.config import ExtractionConfig
from emoclip_clinical.features.extract import extract
from emoclip_clinical.features.prompt_sets import load_prompt_sets
from emoclip_clinical.records import InputError, Ratings
from emoclip_clinical.regression.config import RegressionConfig
from emoclip_clinical.regression.design import join
from emoclip_clinical.regression.estimator import fit_estimator, ridge_fit
from emoclip_clinical.regression.estimator_files import save_estimator
from emoclip_clinical.regression.features import read_features
from emoclip_clinical.serving.answers import written
from emoclip_clinical.serving.app import make_app
from emoclip_clinical.serving.config import ServingConfig
from emoclip_clinical.serving.door import Door
from emoclip_clinical.serving.estimates import SCHEMA, ServedEstimators, load_estimators
from emoclip_clinical.serving.jobs import Jobs
from emoclip_clinical.serving.plan import Address, ServerPlan
from emoclip_clinical.serving.problems import Problem
from emoclip_clinical.serving.server import open_door as open_server
from emoclip_clinical.serving.video_features import VideoFeatures, video_features
from tests.serving import hostile
from tests.serving.near import assert_near

EXTRACTION = ExtractionConfig(
    face="whole_frame",
    window_seconds=0.96,
    pooling=("mean", "sd", "spread", "embedding_mean"),
    precision="float32",
)
N_TRAINING, N_NEW = 10, 3
URL = "/v1/estimates"
ARROW_TYPE = {"Content-Type": "application/vnd.apache.arrow.stream"}
VIDEO_TYPE = {"Content-Type": "video/mp4"}


@dataclass(frozen=True)
class Cohort:
    """People of whom estimators were made, and new ones; all extracted with one model.

    Attributes
    ----------
    videos, features, new : Path
        Videos of the new people; features of the first, and of the new.
    estimators : mapping of str to Path
        By target.
    """

    study: Path
    videos: Path
    features: Path
    new: Path
    estimators: dict[str, Path]


def noise(seed: int, *, seconds: float = 4.0) -> np.ndarray:
    """Coarse noise that changes slowly from one colour field to another."""
    first, second = np.random.default_rng(seed).uniform(0, 255, size=(2, 6, 8, 3))
    shares = 0.5 + 0.5 * np.sin(np.arange(round(10 * seconds)) / 6 + seed)
    small = shares[:, None, None, None] * first + (1 - shares[:, None, None, None]) * second
    return small.astype(np.uint8).repeat(8, axis=1).repeat(8, axis=2)


def fit(folder: Path, features: Path, *, target: str, impute: Any = "none", **options: Any) -> Path:
    """Fit a small estimator to features, with ratings out of the air."""
    table = read_features(features, impute=impute, **options)
    values = np.random.default_rng(len(target)).uniform(1, 7, size=len(table.keys)).round()
    rated = Ratings(
        target, (target,), table.keys, values, 1.0, 7.0, table.excluded,
        pd.DataFrame(index=range(len(values))),
    )  # fmt: skip
    config = RegressionConfig(alphas=(1.0, 100.0))
    estimator = fit_estimator(
        join(table, rated), fit=ridge_fit(config, seed=0), kind="ridge", level=0.8, impute=impute,
        seed=0,
    )  # fmt: skip
    save_estimator(estimator, folder / target)
    return folder / target


@pytest.fixture(scope="module")
def cohort(
    tmp_path_factory: pytest.TempPathFactory,
    embedder: Embedder,
    write_video: Callable[..., Path],
) -> Cohort:
    study = tmp_path_factory.mktemp("cohort")
    for i in range(N_TRAINING):
        write_video(study / "old" / f"sub-a{i}.mp4", noise(i, seconds=2.5 + i % 3), fps=10)
    for i in range(N_NEW):
        write_video(study / "videos" / f"sub-b{i}_ses-1.mp4", noise(100 + i), fps=10)
    for source, output in (("old", "features"), ("videos", "new")):
        extract(
            [study / source],
            embedder=embedder,
            config=EXTRACTION,
            prompt_sets=load_prompt_sets(EXTRACTION.prompts),
            output=study / output,
        )
    features = study / "features"
    table = pd.read_parquet(features / "interviews.parquet")
    chosen = [c for c in table.columns if c.startswith(("mean_emotion", "sd_emotion"))]
    table[["participant_id", *chosen]].to_csv(study / "plain.csv", index=False)
    estimators = {
        "pooled": fit(study / "estimators", features, target="pooled"),
        "look": fit(study / "estimators", features / "embeddings.parquet", target="look"),
        "patient": fit(study / "estimators", features, target="patient", impute="median"),
        "plain": fit(study / "estimators", study / "plain.csv", target="plain"),
    }
    return Cohort(study, study / "videos", features, study / "new", estimators)


@pytest.fixture(scope="module")
def videos(embedder: Embedder) -> VideoFeatures:
    return video_features(
        embedder, extraction=EXTRACTION, prompts=load_prompt_sets(EXTRACTION.prompts)
    )


Open = Callable[..., TestClient]


@pytest.fixture
def serving(door: Door, cohort: Cohort, videos: VideoFeatures) -> Iterator[Open]:
    """Return a function that serves some of the cohort's estimators."""
    opened: list[TestClient] = []

    def start(*targets: str) -> TestClient:
        served = ServedEstimators(
            load_estimators([cohort.estimators[target] for target in targets]),
            model=door.model.about,
            videos=videos,
        )
        parts = {"estimators": served, "extraction": EXTRACTION, "jobs": Jobs(config=door.config)}
        client = TestClient(make_app(replace(door, **parts)), base_url="http://localhost")
        opened.append(client.__enter__())
        return opened[-1]

    yield start
    for client in opened:
        client.__exit__(None, None, None)


def predicted(cohort: Cohort, target: str, features: Path) -> dict[str, Any]:
    """Ask the command line."""
    arguments = ["predict", "--study", cohort.study, "--estimator", cohort.estimators[target],
                 "--features", features, "--output", cohort.study / "o.csv", "--json"]  # fmt: skip
    done = CliRunner().invoke(command_line, [str(a) for a in arguments])
    assert done.exit_code == 0, done.output
    record: dict[str, Any] = json.loads(done.stdout)
    return record


def settings(features: Path) -> dict[str, Any]:
    source: dict[str, Any] = json.loads((features / "features.json").read_text())
    return source


def rows_of(features: Path, *columns: str) -> list[dict[str, Any]]:
    """Return rows of interviews.parquet, JSON-ready: null for what is missing."""
    table = pd.read_parquet(features / "interviews.parquet")
    kept = table[list(columns)] if columns else table
    rows: list[dict[str, Any]] = json.loads(kept.to_json(orient="records", double_precision=15))
    exact = kept.to_dict("records")
    for row, values in zip(rows, exact, strict=True):
        row.update({k: v for k, v in values.items() if isinstance(v, float) and v == v})
    return rows


def same(answer: dict[str, Any], record: dict[str, Any]) -> None:
    assert answer["rows"] == record["predictions"]
    for name in ("notice", "target", "excluded", "warnings"):
        assert answer[name] == record[name]


def test_rows_of_extract_equal_predict_exactly(serving: Open, cohort: Cohort) -> None:
    client = serving("pooled")
    body = {"features": rows_of(cohort.new), "source": settings(cohort.new)}
    answer = client.post(URL, json=body)
    assert answer.status_code == 200, answer.text
    same(answer.json(), predicted(cohort, "pooled", cohort.new))
    assert answer.json()["model"].keys() == {"name", "hash"}
    assert "Research use only" in answer.json()["notice"]
    assert [row["participant_id"] for row in answer.json()["rows"]] == [
        "sub-b0",
        "sub-b1",
        "sub-b2",
    ]
    # A visit a row, without the columns that tell of recordings, says the same.
    columns = ["participant_id", "session_id", *settings(cohort.new)["pooled_features"]]
    body["features"] = rows_of(cohort.new, *columns)
    same(client.post(URL, params={"target": "pooled"}, json=body).json(), answer.json() | {
        "predictions": answer.json()["rows"]})  # fmt: skip


def test_a_table_of_unknown_origin_equals_predict_exactly(
    serving: Open, cohort: Cohort, tmp_path: Path
) -> None:
    client = serving("plain")
    table = pd.read_parquet(cohort.new / "interviews.parquet")
    names = list(pd.read_csv(cohort.study / "plain.csv", nrows=0).columns)
    table[names].to_parquet(tmp_path / "new.parquet")
    record = predicted(cohort, "plain", tmp_path / "new.parquet")
    rows = rows_of(cohort.new, *names)
    for row in rows:
        row["remark"], row["shoe_size"] = "left aside", 41
    same(client.post(URL, json={"features": rows}).json(), record)
    answer = client.post(URL, json={"features": rows, "source": None},
                         headers={"Accept": "application/vnd.apache.arrow.stream"})  # fmt: skip
    with pa.ipc.open_stream(io.BytesIO(answer.content)) as stream:
        sent = stream.read_all()
    assert sent.to_pylist() == record["predictions"]
    assert json.loads(sent.schema.metadata[b"about"])["target"] == "plain"


def test_recordings_of_a_visit_are_averaged_as_predict_does(
    serving: Open, cohort: Cohort, tmp_path: Path
) -> None:
    table = pd.read_parquet(cohort.new / "interviews.parquet")
    table.loc[1, ["participant_id", "interview"]] = ["sub-b0", "sub-b0_ses-1_run-2"]
    table.loc[1, "n_ok"] = 1
    pooled = settings(cohort.new)["pooled_features"]
    table.loc[2, ["n_ok", *pooled]] = [0, *[np.nan] * len(pooled)]
    table.loc[2, ["status", "reason"]] = ["no_face", "none of 4 segments could be scored"]
    folder = tmp_path / "runs"
    folder.mkdir()
    table.to_parquet(folder / "interviews.parquet")
    (folder / "features.json").write_text(json.dumps(settings(cohort.new)))
    client = serving("pooled")
    body = {"features": rows_of(folder), "source": settings(folder)}
    answer = client.post(URL, json=body).json()
    same(answer, predicted(cohort, "pooled", folder))
    assert len(answer["rows"]) == len(answer["excluded"]) == 1
    assert "none of 4 segments" in answer["excluded"][0]["reason"]
    body["features"][1]["interview"] = body["features"][0]["interview"]
    refused = client.post(URL, json=body)
    assert refused.status_code == 422
    assert refused.json()["faults"] == [
        "rows 1 and 2 of features are of the same recording; each is wanted once"
    ]


def arrow_body(table: pd.DataFrame, said: dict[str, Any] | bytes | None = None) -> bytes:
    made = pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata(None)
    if said is not None:
        source = said if isinstance(said, bytes) else json.dumps(said).encode()
        made = made.replace_schema_metadata({"source": source})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, made.schema) as writer:
        writer.write_table(made)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def test_arrow_tables_equal_predict_exactly(serving: Open, cohort: Cohort) -> None:
    client = serving("pooled", "plain")
    table = pd.read_parquet(cohort.new / "interviews.parquet")

    def post(target: str, body: bytes) -> Any:
        return client.post(URL, params={"target": target}, content=body, headers=ARROW_TYPE)

    answer = post("pooled", arrow_body(table, settings(cohort.new)))
    same(answer.json(), predicted(cohort, "pooled", cohort.new))
    assert len(post("plain", arrow_body(table)).json()["rows"]) == N_NEW
    refused = post("pooled", arrow_body(table))
    assert "come from extract, these do not" in refused.json()["detail"]
    table.loc[1, settings(cohort.new)["pooled_features"][0]] = np.inf
    refused = post("pooled", arrow_body(table, settings(cohort.new)))
    assert refused.status_code == 422
    assert refused.json()["faults"][0].endswith("holds an infinite value (row 2)")
    for body in (arrow_body(table, b"[1"), arrow_body(table, b"[" * 10_000),
                 arrow_body(table, b"7"), arrow_body(table[:0]),
                 arrow_body(table.drop(columns="participant_id")), b"no stream"):  # fmt: skip
        assert post("plain", body).status_code == 422


OTHER_TYPES = {
    "date": pa.array([date(2024, 1, 2)] * N_NEW),
    "moment": pa.array([datetime(2024, 1, 2, 3)] * N_NEW),
    "length": pa.array([timedelta(seconds=1)] * N_NEW),
    "decimal": pa.array([Decimal("1.5")] * N_NEW),
    "bytes": pa.array([b"x"] * N_NEW),
    "words": pa.array([["a"]] * N_NEW),
    "uneven": pa.array([[0.5] * (1 + i) for i in range(N_NEW)]),
    "object": pa.array([{"a": 1}] * N_NEW),
    "hash": pa.array([2**64 - 1] * N_NEW, pa.uint64()),
}


def test_columns_of_other_types_are_left_aside_unless_they_are_needed(
    serving: Open, cohort: Cohort, tmp_path: Path
) -> None:
    client = serving("pooled", "patient", "plain")
    table = pa.Table.from_pandas(
        pd.read_parquet(cohort.new / "interviews.parquet"), preserve_index=False
    ).replace_schema_metadata({"source": json.dumps(settings(cohort.new))})
    more = table
    for name, column in OTHER_TYPES.items():
        more = more.append_column(name, column)
    folder = tmp_path / "more"
    folder.mkdir()
    pq.write_table(more.replace_schema_metadata(None), folder / "interviews.parquet")
    (folder / "features.json").write_text(json.dumps(settings(cohort.new)))

    def post(content: pa.Table, target: str = "pooled") -> Any:
        body = hostile.arrow(content)
        return client.post(URL, params={"target": target}, content=body, headers=ARROW_TYPE)

    same(post(more).json(), predicted(cohort, "pooled", folder))

    def instead(column: str, kind: str) -> pa.Table:
        return table.set_column(table.column_names.index(column), column, OTHER_TYPES[kind])

    feature = settings(cohort.new)["pooled_features"][0]
    for kind in OTHER_TYPES:
        for target in ("pooled", "patient"):
            refused = post(instead(feature, kind), target)
            assert refused.status_code == 422, kind
            assert feature in refused.json()["detail"]
    for column in ("participant_id", "session_id", "interview", "n_ok", "status"):
        refused = post(instead(column, "date"))
        assert refused.status_code == 422, column
        assert refused.json()["faults"][0].startswith(f"column {column!r} must hold numbers, text")
    nothing = pa.table({"date": OTHER_TYPES["date"]})
    assert "no column can be read as numbers" in post(nothing).json()["detail"]


def of_segments(features: Path, **change: pa.Array) -> pa.Table:
    """Return embeddings.parquet, with what made it, as Arrow reads it."""
    table = pq.read_table(features / "embeddings.parquet")
    for name, column in change.items():
        table = table.set_column(table.column_names.index(name), name, column)
    return table.replace_schema_metadata({"source": json.dumps(settings(features))})


def test_embeddings_of_extract_equal_predict_exactly(
    serving: Open, cohort: Cohort, tmp_path: Path
) -> None:
    client = serving("look")
    plain = of_segments(cohort.new)
    vectors = [v.as_py() for v in plain["embedding"]]
    lists = {
        "plain": plain,
        "list": of_segments(cohort.new, embedding=pa.array(vectors, pa.list_(pa.float32()))),
        "double": of_segments(
            cohort.new, embedding=pa.array([[x / 3 for x in v] for v in vectors])
        ),
        # Without a vector a segment is left out, and so is a visit that has no other.
        "missing": of_segments(
            cohort.new,
            embedding=pa.array(
                [None if i == 1 else v for i, v in enumerate(vectors[:-4])] + [None] * 4,
                pa.list_(pa.float32(), len(vectors[0])),
            ),
        ),
    }
    for name, table in lists.items():
        folder = tmp_path / name
        folder.mkdir()
        pq.write_table(table, folder / "embeddings.parquet")
        (folder / "features.json").write_text(json.dumps(settings(cohort.new)))
        record = predicted(cohort, "look", folder / "embeddings.parquet")
        for content in (hostile.arrow(table), hostile.arrow(table, compression="zstd")):
            answer = client.post(URL, content=content, headers=ARROW_TYPE)
            assert answer.status_code == 200, (name, answer.text)
            same(answer.json(), record)
        assert len(answer.json()["rows"]) == N_NEW - (name == "missing")
    as_frame = arrow_body(plain.to_pandas(), settings(cohort.new))
    same(
        client.post(URL, content=as_frame, headers=ARROW_TYPE).json(),
        predicted(cohort, "look", cohort.new / "embeddings.parquet"),
    )


def test_embeddings_that_are_refused(serving: Open, cohort: Cohort) -> None:
    client = serving("look", "pooled")
    table, source = of_segments(cohort.new), settings(cohort.new)
    vectors = [v.as_py() for v in table["embedding"]]

    def faults(**body: Any) -> list[str]:
        headers = ARROW_TYPE if "content" in body else {}
        answer = client.post(URL, params={"target": "look"}, headers=headers, **body)
        assert answer.status_code == 422, answer.text
        found: list[str] = answer.json()["faults"]
        return found

    uneven = pa.array([vectors[0][:5], *vectors[1:]])
    (fault,) = faults(content=hostile.arrow(of_segments(cohort.new, embedding=uneven)))
    assert fault.endswith("must hold lists of one length")
    infinite = pa.array([vectors[0], [float("inf"), *vectors[1][1:]], *vectors[2:]])
    assert faults(content=hostile.arrow(of_segments(cohort.new, embedding=infinite))) == [
        "features: column 'embedding' holds an infinite value (row 2)"
    ]
    narrow = pa.array([v[:5] for v in vectors])
    assert "numeric feature columns are not there: 'embedding_005'" in faults(
        content=hostile.arrow(of_segments(cohort.new, embedding=narrow))
    )[0]  # fmt: skip
    key = {"participant_id": "sub-b0"}
    (fault,) = faults(json={"features": [{**key, "embedding": vectors[0]}], "source": source})
    assert "as an Arrow stream with a column 'embedding'" in fault
    (fault,) = faults(json={"features": [{**key, "embedding": 0.5}], "source": source})
    assert "must hold lists of numbers" in fault
    (fault,) = faults(json={"features": rows_of(cohort.new), "source": source})
    assert "rows of embeddings.parquet were wanted" in fault
    bad = table.set_column(0, "participant_id", pa.array(["a/b secret"] * len(vectors)))
    assert "row 1 of features: participant_id" in faults(content=hostile.arrow(bad))[0]
    assert "secret" not in str(faults(content=hostile.arrow(bad)))


@pytest.mark.parametrize("target", ["pooled", "look", "patient"])
def test_a_video_equals_extract_and_predict(serving: Open, cohort: Cohort, target: str) -> None:
    client = serving(target)
    features = cohort.new / "embeddings.parquet" if target == "look" else cohort.new
    record = predicted(cohort, target, features)
    for i, wanted in enumerate(record["predictions"][:2]):
        video = (cohort.videos / f"sub-b{i}_ses-1.mp4").read_bytes()
        if i == 0:
            answer = client.post(URL, content=video, headers=VIDEO_TYPE)
        else:
            answer = client.post(URL, files={"video": video})
        assert answer.status_code == 200, answer.text
        (row,) = answer.json()["rows"]
        assert row.keys() == wanted.keys() - {"participant_id", "session_id"}
        # Other people's, which a video can not tell by its rounded features.
        assert (row.pop("in_training"), wanted["in_training"]) == (None, False)
        for name, value in row.items():
            near = isinstance(value, float)
            assert value == (pytest.approx(wanted[name], abs=1e-6) if near else wanted[name])
        said = answer.json()
        assert (said["video"]["status"], said["video"]["n_ok"]) == ("ok", 4)
        assert said["settings"]["window_seconds"] == 0.96
        assert said["excluded"] == []
        assert "sub-" not in answer.text


@pytest.mark.slow
def test_a_face_is_found_as_extract_finds_it(
    door: Door, embedder: Embedder, assets: Path, tmp_path: Path
) -> None:
    extraction = EXTRACTION.model_copy(update={"face": "detect", "pooling": ("mean",)})
    prompts = load_prompt_sets(extraction.prompts)
    *old, new = sorted((assets / "videos").glob("cremad_*.flv"))
    # Some twice, since five films are too few for an estimator.
    for output, films in {"features": [*old, *old[:3]], "new": [new]}.items():
        folder = tmp_path / f"of_{output}"
        folder.mkdir()
        for i, film in enumerate(films):
            shutil.copy(film, folder / f"sub-{output}{i}_ses-1.flv")
        extract([folder], embedder=embedder, config=extraction, prompt_sets=prompts,
                output=tmp_path / output)  # fmt: skip
    estimator = fit(tmp_path / "estimators", tmp_path / "features", target="pooled")
    cohort = Cohort(tmp_path, tmp_path / "of_new", tmp_path / "features", tmp_path / "new",
                    {"pooled": estimator})  # fmt: skip
    videos = video_features(embedder, extraction=extraction, prompts=prompts)
    served = ServedEstimators(load_estimators([estimator]), model=door.model.about, videos=videos)
    parts = {"estimators": served, "extraction": extraction, "jobs": Jobs(config=door.config)}
    with TestClient(make_app(replace(door, **parts)), base_url="http://localhost") as client:
        answer = client.post(URL, content=new.read_bytes(), headers={"Content-Type": "video/x-flv"})
        nobody = client.post(
            URL, content=(assets / "videos" / "pyfeat_no_face.mp4").read_bytes(), headers=VIDEO_TYPE
        )
    assert answer.status_code == 200, answer.text
    assert answer.json()["settings"]["face"] == "detect"
    assert answer.json()["video"]["n_people"] == 1
    (row,) = answer.json()["rows"]
    (wanted,) = predicted(cohort, "pooled", cohort.new)["predictions"]
    for name in ("predicted", "low", "high"):
        assert row[name] == pytest.approx(wanted[name], abs=1e-6)
    assert nobody.status_code == 422
    assert "no_face: none of 4 segments could be scored" in nobody.text


def test_videos_that_can_not_be_estimated(
    serving: Open, cohort: Cohort, write_video: Callable[..., Path], tmp_path: Path
) -> None:
    client = serving("plain", "pooled")
    video = (cohort.videos / "sub-b0_ses-1.mp4").read_bytes()

    def faults(content: bytes, *, status: int = 422, **query: str) -> list[str]:
        answer = client.post(URL, params=query, content=content, headers=VIDEO_TYPE)
        assert answer.status_code == status, answer.text
        found: list[str] = answer.json()["faults"]
        return found

    other = faults(video, target="plain")
    assert "only for features" in other[0]
    assert "unknown origin" in other[1]
    assert faults(video, target="pooled", sample_fps="3")
    assert faults(video, target="unheard_of", status=404)
    assert "the video can not be read" in faults(b"no video" * 99, target="pooled")[0]
    # One segment has no deviation, which this estimator needs.
    one = write_video(tmp_path / "short.mp4", noise(0, seconds=0.8), fps=10).read_bytes()
    assert "the video: no visit has a value in every" in faults(one, target="pooled")[0]
    npy = {"Content-Type": "application/x-npy"}
    frames = client.post(URL, params={"target": "pooled"}, content=b"", headers=npy)
    assert frames.status_code == 415
    for wait in ("-1", "NaN", "inf", "x"):
        assert faults(video, target="pooled", wait=wait)


def test_a_video_may_become_a_job(serving: Open, cohort: Cohort) -> None:
    client = serving("pooled")
    video = (cohort.videos / "sub-b0_ses-1.mp4").read_bytes()
    answer = client.post(URL, params={"wait": 0}, content=video, headers=VIDEO_TYPE)
    assert answer.status_code == 202
    where = answer.headers["location"]
    while client.get(where).json()["state"] in ("waiting", "running"):
        pass
    made = client.get(f"{where}/result").json()
    # Frames of the two may share batches in another way, which moves the last bits.
    assert_near(made, client.post(URL, content=video, headers=VIDEO_TYPE).json())


def test_training_rows_and_rows_out_of_range_are_flagged(serving: Open, cohort: Cohort) -> None:
    client = serving("pooled")
    rows = rows_of(cohort.features)[:2]
    rows[1] = {n: v * 1e3 if n.startswith("mean_") else v for n, v in rows[1].items()}
    answer = client.post(URL, json={"features": rows, "source": settings(cohort.features)}).json()
    assert [row["in_training"] for row in answer["rows"]] == [True, False]
    assert [row["out_of_range"] for row in answer["rows"]] == [False, True]
    assert all(1 <= row["low"] <= row["high"] <= 7 for row in answer["rows"])
    assert any("too good" in warning for warning in answer["warnings"])
    assert any("out of range" in warning for warning in answer["warnings"])


def test_missing_values_follow_the_estimator(serving: Open, cohort: Cohort, tmp_path: Path) -> None:
    client = serving("pooled", "patient")
    pooled = settings(cohort.new)["pooled_features"]
    table = pd.read_parquet(cohort.new / "interviews.parquet")
    table.loc[1, pooled[3]] = np.nan
    folder = tmp_path / "holes"
    folder.mkdir()
    table.to_parquet(folder / "interviews.parquet")
    (folder / "features.json").write_text(json.dumps(settings(cohort.new)))
    body = {"features": rows_of(folder), "source": settings(folder)}
    for target, n_rows in (("pooled", 2), ("patient", 3)):
        answer = client.post(URL, params={"target": target}, json=body).json()
        same(answer, predicted(cohort, target, folder))
        assert len(answer["rows"]) == n_rows
    assert [row["n_imputed"] for row in answer["rows"]] == [0, 1, 0]
    # Left out of a row altogether it is missing, too.
    del body["features"][1][pooled[3]]
    same(client.post(URL, params={"target": "patient"}, json=body).json(), answer | {
        "predictions": answer["rows"]})  # fmt: skip
    for row in body["features"]:
        row.pop(pooled[3], None)
    refused = client.post(URL, params={"target": "patient"}, json=body)
    assert refused.status_code == 422
    assert refused.json()["faults"] == [
        f"features: there is no numeric feature column {pooled[3]!r}"
    ]


def test_features_of_another_making_are_refused(serving: Open, cohort: Cohort) -> None:
    client = serving("pooled", "plain")
    source = settings(cohort.new)
    other = {
        **source,
        "model": {**source["model"], "hash": "f" * 64},
        "sampling": {**source["sampling"], "sample_fps": 3.5},
    }
    rows = rows_of(cohort.new)
    refused = client.post(
        URL, params={"target": "pooled"}, json={"features": rows, "source": other}
    )
    assert refused.status_code == 422
    assert [fault.split(":")[0] for fault in refused.json()["faults"]] == [
        "these features were made with another model",
        "these features were made with another sampling.sample_fps",
    ]
    none = client.post(URL, params={"target": "pooled"}, json={"features": rows})
    assert none.status_code == 422
    assert "come from extract, these do not" in none.json()["detail"]
    known = client.post(URL, params={"target": "plain"}, json={"features": rows, "source": source})
    assert known.status_code == 422
    assert "unknown origin" in known.json()["detail"]


def test_no_part_of_a_foreign_source_is_repeated(serving: Open, cohort: Cohort) -> None:
    client, source = serving("pooled"), settings(cohort.new)
    other = {
        **source,
        "model": {**source["model"], "hash": "ANNA-SMITH-1970", "anna": 1},
        "prompts": [{"name": "anna", "hash": "smith"}],
        "secret-anna": {"path": "/home/anna"},
        "sampling": "anna",
        "pooling": {**source["pooling"], "statistics": {"anna": "smith"}},
    }
    answer = client.post(URL, json={"features": rows_of(cohort.new), "source": other})
    assert answer.status_code == 422
    faults = answer.json()["faults"]
    assert len(faults) == 6
    assert "anna" not in answer.text.lower()
    assert "smith" not in answer.text.lower()
    # What the estimator was fitted to is the server's own, and helps.
    fitted = f"another model: the estimator was fitted to {source['model']['hash'][:12]}..."
    assert sum(fault.endswith(fitted) for fault in faults) == 1
    assert sum("an entry of source.model that it has not" in fault for fault in faults) == 1
    assert sum("an entry of source that it has not" in fault for fault in faults) == 1
    many = {**source, **{f"anna{i}": i for i in range(20_000)}}
    answer = client.post(URL, json={"features": rows_of(cohort.new), "source": many})
    assert len(answer.content) < 1000


def test_no_reason_and_no_column_of_a_client_is_repeated(serving: Open, cohort: Cohort) -> None:
    client, source, rows = serving("pooled"), settings(cohort.new), rows_of(cohort.new)
    rows[0] |= {"n_ok": 0, "status": "anna", "reason": "/home/anna smith.mp4"}
    answer = client.post(URL, json={"features": rows, "source": source})
    assert answer.status_code == 200, answer.text
    assert answer.json()["excluded"] == [
        {"participant_id": "sub-b0", "session_id": "ses-1",
         "reason": "no usable features (no usable segment)"}
    ]  # fmt: skip
    for row in rows:
        row |= {"n_ok": 0, "status": "failed", "reason": "anna"}
    answer = client.post(URL, json={"features": rows, "source": source})
    assert answer.json()["faults"] == [
        "features: no visit can be used: no usable features (failed)"
    ]
    rows = rows_of(cohort.new)
    for row in rows:
        row["anna"] = "smith"
    named = {**source, "pooled_features": [*source["pooled_features"], "anna", "anna"]}
    answer = client.post(URL, json={"features": rows, "source": named})
    assert answer.status_code == 422
    assert "must hold numbers" in answer.json()["detail"]
    assert "anna" not in answer.text
    # A number there does no harm, as it does none to predict.
    for row in rows:
        row["anna"] = 0.5
    assert client.post(URL, json={"features": rows, "source": named}).status_code == 200


@pytest.mark.parametrize("values", [(True, True, True), (True, 0.3, 0.2), (False, None, False)])
def test_a_truth_value_is_no_number(
    serving: Open, cohort: Cohort, values: tuple[object, ...]
) -> None:
    names = list(pd.read_csv(cohort.study / "plain.csv", nrows=0).columns)
    rows = rows_of(cohort.new, *names)
    for row, value in zip(rows, values, strict=True):
        row[names[1]], row["smoker"] = value, True
    answer = serving("plain").post(URL, json={"features": rows})
    assert answer.status_code == 422
    assert answer.json()["faults"] == [f"features: there is no numeric feature column {names[1]!r}"]


def test_a_key_that_stands_twice_is_refused(serving: Open, cohort: Cohort) -> None:
    client = serving("plain")
    text = json.dumps({"features": rows_of(cohort.new), "source": None})
    row = text.replace('"n_ok"', '"secret": 0.1, "secret": 0.3, "n_ok"', 2)
    top = text.replace('"source"', '"source": null, "source"')
    deep = text.replace('"source": null', '"source": {"a": {"b": [{"secret": 1, "secret": 2}]}}')
    for body, faults in (
        (row, ["features.0: a key stands twice", "features.1: a key stands twice"]),
        (top, ["the body: a key stands twice"]),
        (deep, ["the body: a key stands twice in 1 places"]),
    ):
        answer = client.post(URL, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 422
        assert answer.json()["faults"] == faults


def test_a_query_key_that_stands_twice_is_refused(serving: Open, cohort: Cohort) -> None:
    client = serving("plain", "pooled")
    for path in (URL, "/v1/scores", "/v1/embeddings/video"):
        answer = client.post(
            f"{path}?wait=1&secret=1&wait=2&secret=2", content=b"", headers=VIDEO_TYPE
        )
        assert answer.status_code == 422
        assert answer.json()["faults"] == [
            "query.wait: wanted once, got twice",
            "query.*: wanted once, got twice",
        ]
    answer = client.post(f"{URL}?target=plain&target=pooled", json={"features": []})
    assert answer.json()["faults"] == ["query.target: wanted once, got twice"]


@pytest.fixture
def narrow(open_door: Callable[..., Door], cohort: Cohort, videos: VideoFeatures) -> Iterator[Open]:
    """Return a function that serves the estimator `plain` within limits."""
    opened: list[TestClient] = []

    def start(**limits: object) -> TestClient:
        door = open_door(**limits)
        served = ServedEstimators(
            load_estimators([cohort.estimators["plain"]]), model={}, videos=videos
        )
        client = TestClient(make_app(replace(door, estimators=served)), base_url="http://localhost")
        opened.append(client.__enter__())
        return opened[-1]

    yield start
    for client in opened:
        client.__exit__(None, None, None)


def test_more_rows_than_allowed_are_refused_before_they_are_looked_at(
    narrow: Open, cohort: Cohort
) -> None:
    client = narrow(max_rows=N_NEW)
    names = list(pd.read_csv(cohort.study / "plain.csv", nrows=0).columns)
    rows = rows_of(cohort.new, *names)
    assert client.post(URL, json={"features": rows}).status_code == 200
    answer = client.post(URL, json={"features": [*rows, {"secret": []}]})
    assert answer.status_code == 413
    assert answer.json()["faults"] == ["features: at most 3 rows were wanted, got 4"]
    table = pd.read_parquet(cohort.new / "interviews.parquet")[names]
    fits, more = arrow_body(table), arrow_body(pd.concat([table, table]))
    assert client.post(URL, content=fits, headers=ARROW_TYPE).status_code == 200
    answer = client.post(URL, content=more, headers=ARROW_TYPE)
    assert answer.status_code == 413
    assert answer.json()["faults"] == ["at most 3 rows were wanted, got more"]


@pytest.mark.parametrize("column", ["zeros", "nulls", "text"])
def test_millions_of_rows_in_a_small_stream(narrow: Open, column: str) -> None:
    n_rows = 3_500_000
    made = {
        "zeros": lambda: pa.array(np.zeros(n_rows, dtype=np.int64)),
        "nulls": lambda: pa.nulls(n_rows),
        "text": lambda: pa.array(["a"] * n_rows).dictionary_encode(),
    }[column]()
    content = hostile.arrow(pa.table({"participant_id": made}), compression="zstd")
    began = time.process_time()
    answer = narrow().post(URL, content=content, headers=ARROW_TYPE)
    assert answer.status_code == 413
    assert len(answer.content) < 1000
    assert time.process_time() - began < 20


def test_a_fault_of_many_rows_names_the_first(serving: Open, cohort: Cohort) -> None:
    rows = [{"participant_id": "a"} for _ in range(3000)]
    answer = serving("plain").post(URL, json={"features": rows})
    assert answer.status_code == 422
    first = " and ".join(map(str, range(1, 11)))
    assert answer.json()["faults"] == [
        f"rows {first} and 2990 more of features are of the same visit; each is wanted once"
    ]


def test_a_full_desk_is_told_and_what_takes_long_is_ended(
    narrow: Open, cohort: Cohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = narrow(max_estimates=2, request_seconds=0.5)
    gone: list[float] = []

    def endless(*_: object, wanted: Callable[[], None], **__: object) -> None:
        try:
            while True:
                wanted()
                time.sleep(0.001)
        finally:
            gone.append(time.monotonic())

    monkeypatch.setattr(ServedEstimators, "estimate_rows", endless)
    body = {"features": rows_of(cohort.new)}
    with ThreadPoolExecutor(5) as clients:
        answers = list(clients.map(lambda _: client.post(URL, json=body), range(5)))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [429, 429, 429, 504, 504]
    assert all(a.headers["Retry-After"] == "5" for a in answers if a.status_code == 429)
    assert client.get("/healthz").status_code == 200
    hostile.until(lambda: len(gone) == 2)


def test_one_who_hangs_up_ends_the_estimate(
    serving: Open, cohort: Cohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serving("plain")
    begun, ended = threading.Event(), threading.Event()

    def endless(*_: object, wanted: Callable[[], None], **__: object) -> None:
        begun.set()
        try:
            while True:
                wanted()
                time.sleep(0.001)
        finally:
            ended.set()

    monkeypatch.setattr(ServedEstimators, "estimate_rows", endless)
    body = json.dumps({"features": rows_of(cohort.new)}).encode()
    sent: list[Any] = []

    async def hang_up() -> None:
        messages = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Any:
            if messages:
                return messages.pop(0)
            while not begun.is_set():
                await asyncio.sleep(0.01)
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http", "method": "POST", "path": URL, "raw_path": URL.encode(),
            "query_string": b"", "root_path": "", "scheme": "http", "http_version": "1.1",
            "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
        }  # fmt: skip
        await client.app(scope, receive, send)

    asyncio.run(hang_up())
    assert ended.wait(5)
    assert sent[0]["status"] == 499


def test_rows_that_share_no_column_are_not_laid_out(serving: Open, cohort: Cohort) -> None:
    rows = [{"participant_id": str(i), f"of_{i}": i} for i in range(2000)]
    answer = serving("pooled").post(URL, json={"features": rows})
    assert answer.status_code == 413
    (fault,) = answer.json()["faults"]
    assert fault.startswith("features: 2000 rows with 2002 different columns between them")


def test_a_row_of_endless_width_is_not_laid_out(serving: Open, cohort: Cohort) -> None:
    row = {"participant_id": "a", **{f"x{i}": 1 for i in range(300_000)}}
    began = time.process_time()
    answer = serving("plain").post(URL, json={"features": [row]})
    assert answer.status_code == 413
    assert answer.json()["faults"] == [
        "features: at most 20000 different columns fit, got 300002"
    ]  # the session's column is one of them
    assert time.process_time() - began < 10


def test_each_name_of_a_target_is_taken() -> None:
    fitted: Any = [SimpleNamespace(target=t) for t in ("panss.negative_symptoms", "bnss.total")]
    videos: Any = SimpleNamespace(differences=lambda _: ())
    served = ServedEstimators(fitted, model={}, videos=videos)
    for name in ("negative_symptoms", "panss.negative_symptoms", "Negative_Symptoms"):
        assert served.choose(name).fitted is fitted[0]
    assert served.choose("bnss.total").fitted is fitted[1]
    with pytest.raises(Problem, match="no estimator of this target"):
        served.choose("total")  # of which scale?


def test_targets(serving: Open, cohort: Cohort) -> None:
    client = serving("pooled", "plain")
    body = {"features": rows_of(cohort.new), "source": settings(cohort.new)}
    unknown = client.post(URL, params={"target": "panss.total"}, json=body)
    assert unknown.status_code == 404
    assert unknown.json()["faults"] == [
        "there is no estimator of this target; there are: pooled, plain"
    ]
    unnamed = client.post(URL, json=body)
    assert unnamed.status_code == 422
    assert "pooled, plain" in unnamed.json()["detail"]
    described = client.get("/v1/models").json()["estimators"]
    assert [one["target"] for one in described] == ["pooled", "plain"]
    assert described[0] | {"n_features": 0} == {
        "target": "pooled", "n_subjects": N_TRAINING, "minimum": 1.0, "maximum": 7.0, "level": 0.8,
        "n_features": 0, "for_videos": True,
        "notice": "Research use only. Not a medical device. Not for diagnosis or treatment "
        "decisions.",
    }  # fmt: skip
    assert [one["for_videos"] for one in described] == [True, False]


def test_a_server_without_estimators(client: TestClient) -> None:
    answer = client.post(URL, json={"features": [{"participant_id": "a"}]})
    assert (answer.status_code, answer.json()["detail"]) == (404, "this server has no estimator")


@pytest.mark.parametrize(
    ("change", "status", "fault"),
    [
        ({"mean_happy_secret": [1]}, 422, "features.0.*: a finite number"),
        ({"participant_id": 7}, 422, "features.0.participant_id: Input should be a valid string"),
        ({"participant_id": "../etc/secret"}, 422, "row 1 of features: participant_id"),
        ({"session_id": "a/secret"}, 422, "row 1 of features: participant_id"),
        ({"participant_id": ""}, 422, "row 1 of features: participant_id"),
        ({"participant_id": "b1"}, 422, "rows 1 and 2 of features are of the same visit"),
    ],
)
def test_faulty_rows(
    serving: Open, cohort: Cohort, change: dict[str, Any], status: int, fault: str
) -> None:
    client = serving("plain")
    names = list(pd.read_csv(cohort.study / "plain.csv", nrows=0).columns)
    rows = rows_of(cohort.new, *names)
    rows[0] |= change
    answer = client.post(URL, json={"features": rows})
    assert answer.status_code == status
    assert answer.json()["faults"][0].startswith(fault)
    assert "secret" not in answer.text


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 400])
def test_numbers_that_are_none(serving: Open, cohort: Cohort, number: str) -> None:
    client = serving("plain")
    names = list(pd.read_csv(cohort.study / "plain.csv", nrows=0).columns)
    rows = rows_of(cohort.new, *names)
    text = json.dumps({"features": rows}).replace(json.dumps(rows[1][names[1]]), number)
    answer = client.post(URL, content=text, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["faults"] == [
        "features.1.*: a finite number, text, a truth value or null was wanted"
    ]


def test_text_where_a_number_is_needed(serving: Open, cohort: Cohort) -> None:
    names = list(pd.read_csv(cohort.study / "plain.csv", nrows=0).columns)
    rows = rows_of(cohort.new, *names)
    rows[2][names[1]] = "much"
    answer = serving("plain").post(URL, json={"features": rows})
    assert answer.status_code == 422
    assert answer.json()["faults"] == [f"features: there is no numeric feature column {names[1]!r}"]


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
CELLS = st.none() | st.booleans() | st.text(max_size=4) | NUMBERS


@pytest.fixture(scope="module")
def served(cohort: Cohort, videos: VideoFeatures) -> ServedEstimators:
    return ServedEstimators(
        load_estimators(list(cohort.estimators.values())), model={}, videos=videos
    )


@given(data=st.data())
@hypothesis_settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_is_sent_is_estimated_or_refused(
    cohort: Cohort, served: ServedEstimators, data: st.DataObject
) -> None:
    source, rows = settings(cohort.new), rows_of(cohort.new)
    for part in data.draw(st.lists(st.sampled_from([*source, "other"]), max_size=2)):
        source[part] = data.draw(JSON_VALUES)
    for name in data.draw(st.lists(st.sampled_from([*rows[0], "other"]), max_size=4)):
        rows[data.draw(st.integers(0, N_NEW - 1))][name] = data.draw(CELLS)
    for name in data.draw(st.lists(st.sampled_from(list(rows[0])), max_size=2)):
        for row in rows:
            row.pop(name, None)
    one = served.choose(data.draw(st.sampled_from(list(cohort.estimators))))
    sent = data.draw(st.sampled_from([source, {}]))
    try:
        answer = served.estimate_rows(one, pd.DataFrame(rows), source=sent)
    except InputError:
        return
    assert answer.table.schema.equals(SCHEMA)
    assert json.loads(written(answer, "application/json"))["rows"]


def test_estimators_that_do_not_go_together(cohort: Cohort, videos: VideoFeatures, tmp_path: Path):
    def load(*folders: Path) -> ServedEstimators:
        return ServedEstimators(load_estimators(folders), model={}, videos=videos)

    pooled = cohort.estimators["pooled"]
    with pytest.raises(InputError, match="two estimators are of pooled"):
        load(pooled, cohort.estimators["plain"], pooled)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "estimator.json").write_text("{}")
    with pytest.raises(InputError) as caught:
        load(tmp_path / "nowhere", pooled, broken)
    assert len(caught.value.faults) == 2
    assert load(pooled, cohort.estimators["look"], cohort.estimators["patient"]).warnings == ()


def test_a_server_computes_as_the_features_of_its_estimators_were_made(
    cohort: Cohort, embedder: Embedder, model_folder: Path, tmp_path: Path
) -> None:
    half = EXTRACTION.model_copy(update={"precision": "bfloat16"})
    prompts = load_prompt_sets(EXTRACTION.prompts)
    extract(
        [cohort.study / "old"],
        embedder=embedder,
        config=half,
        prompt_sets=prompts,
        output=tmp_path / "half",
    )
    halved = fit(tmp_path / "estimators", tmp_path / "half", target="halved")
    full, plain = cohort.estimators["pooled"], cohort.estimators["plain"]

    def served(*estimators: Path, settings: str = "auto", asked: str = "auto") -> tuple[str, int]:
        plan = ServerPlan(
            address=Address(port=0),
            model_folder=model_folder,
            estimators=estimators,
            extraction=EXTRACTION.model_copy(update={"precision": settings}),
            own_prompts=prompts,
            other_prompts=(),
            config=ServingConfig(),
            precision=asked,
        )
        with open_server(plan) as opened:
            told = () if opened.estimators is None else opened.estimators.warnings
            about_precision = [warning for warning in told if "model.precision" in warning]
            return opened.model.embedder.precision, len(about_precision)

    assert served() == ("float32", 0)
    assert served(full, plain) == ("float32", 0)
    assert served(halved, plain) == ("bfloat16", 0)
    # What was asked for counts first, then the protocol; where two differ, one is refused.
    assert served(halved, settings="float32") == ("float32", 1)
    assert served(halved, settings="float32", asked="bfloat16") == ("bfloat16", 0)
    assert served(halved, full) == ("float32", 1)


def test_every_difference_to_the_servers_videos_is_told(cohort: Cohort, embedder: Embedder) -> None:
    other = EXTRACTION.model_copy(update={"window_seconds": 2.0, "pooling": ("mean",)})
    videos = video_features(
        embedder, extraction=other, prompts=load_prompt_sets(("mafw_compounds",))
    )
    served = ServedEstimators(
        load_estimators([cohort.estimators["pooled"], cohort.estimators["plain"]]),
        model={},
        videos=videos,
    )
    told = [warning.split(": ", 1) for warning in served.warnings]
    assert {said for said, _ in told} == {
        "videos can not be estimated with the estimator of pooled, only features",
        "videos can not be estimated with the estimator of plain, only features",
    }
    differences = " ".join(why for _, why in told)
    for part in ("other prompt sets", "another sampling.window_seconds",
                 "another sampling.stride_seconds", "another pooling.statistics",
                 "unknown origin"):  # fmt: skip
        assert part in differences
