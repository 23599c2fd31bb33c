"""Threads, shards and Ray give the same bytes as one process, also with a real model."""

from __future__ import annotations

import functools
import json
import multiprocessing
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from emoclip_clinical import load_model
from emoclip_clinical.core.checkpoint import save_checkpoint
from emoclip_clinical.core.model import build_model
from emoclip_clinical.features.config import ExtractionConfig
from emoclip_clinical.features.extract import extract
from emoclip_clinical.features.interviews import Interview
from emoclip_clinical.features.precision import choose_precision, cosines
from emoclip_clinical.features.scale_out import ScaleOut, parse_scale
from emoclip_clinical.features.shards import Shard, parse_shard
from emoclip_clinical.records import InputError, InterviewKey, PromptSet

TABLES = ("segments.parquet", "embeddings.parquet", "interviews.parquet", "features.json")
CONFIG = ExtractionConfig(face="whole_frame", stride_seconds=0.64, batch_frames=8)
PROMPTS = PromptSet(name="two", classes={"smile": ("a smile",), "frown": ("a frown",)})


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory, small_model):
    folder = tmp_path_factory.mktemp("model")
    save_checkpoint(folder, built=build_model(small_model, seed=0), config=small_model, card={})
    return folder


@pytest.fixture(scope="module")
def cohort(tmp_path_factory, make_video, lively):
    folder = tmp_path_factory.mktemp("cohort")
    for seed, count in enumerate((90, 50, 70, 40, 65)):
        make_video(
            folder / f"sub-{seed}.mp4",
            images=lively(count, seed=seed),
            milliseconds=[40 * i for i in range(count)],
        )
    return folder


def run(cohort, model_folder, output, **settings):
    return extract(
        [cohort],
        embedder=load_model(model_folder, device="cpu"),
        config=settings.pop("config", CONFIG),
        prompt_sets=[PROMPTS],
        output=output,
        **settings,
    )


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in TABLES}


@pytest.fixture(scope="module")
def whole(cohort, model_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    run(cohort, model_folder, folder, scale=ScaleOut(workers=1))
    return bytes_of(folder)


@pytest.mark.parametrize("workers", [2, 5])
def test_workers(cohort, model_folder, whole, tmp_path, workers):
    run(cohort, model_folder, tmp_path, scale=ScaleOut(workers=workers))
    assert bytes_of(tmp_path) == whole


def test_batches_and_further_devices(cohort, model_folder, whole, tmp_path):
    load = functools.partial(load_model, model_folder)
    scale = ScaleOut(workers=3, load=load, devices=("cpu",))
    run(cohort, model_folder, tmp_path, scale=scale)
    assert bytes_of(tmp_path) == whole
    with pytest.raises(InputError, match=r"ScaleOut\.load"):
        run(cohort, model_folder, tmp_path, scale=ScaleOut(devices=("cpu",)))


def test_shards_one_after_the_other(cohort, model_folder, whole, tmp_path):
    first = run(cohort, model_folder, tmp_path, scale=ScaleOut(shard=Shard(1, 2)))
    assert [o.key.name for o in first.interviews] == ["sub-0", "sub-2", "sub-4"]
    assert not (tmp_path / "segments.parquet").exists()
    with pytest.raises(InputError) as caught:
        run(cohort, model_folder, tmp_path, scale=ScaleOut(merge_only=True))
    assert [fault.split(":")[0] for fault in caught.value.faults] == ["sub-1", "sub-3"]
    run(cohort, model_folder, tmp_path, scale=ScaleOut(shard=Shard(2, 2)))
    merged = run(cohort, model_folder, tmp_path, scale=ScaleOut(merge_only=True))
    assert (len(merged.interviews), merged.n_kept) == (5, 5)
    assert bytes_of(tmp_path) == whole
    # A video that changed since is not merged with what was read of it.
    other = Path(shutil.copytree(cohort, tmp_path / "videos"))
    shutil.copy(other / "sub-0.mp4", other / "sub-1.mp4")
    with pytest.raises(InputError, match="sub-1: not extracted"):
        run(other, model_folder, tmp_path, scale=ScaleOut(merge_only=True))


def _shard(number, cohort, model_folder, output):
    run(cohort, model_folder, output, scale=ScaleOut(shard=Shard(number, 3)))


def test_shards_at_the_same_time(cohort, model_folder, whole, tmp_path):
    context = multiprocessing.get_context("fork" if os.name == "posix" else "spawn")
    jobs = [
        context.Process(target=_shard, args=(i, cohort, model_folder, tmp_path)) for i in (1, 2, 3)
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert [job.exitcode for job in jobs] == [0, 0, 0]
    run(cohort, model_folder, tmp_path, scale=ScaleOut(merge_only=True))
    assert bytes_of(tmp_path) == whole


def test_shards_keep_out_who_would_write_the_same(cohort, model_folder, tmp_path):
    def meanwhile(*_):
        for scale in (
            ScaleOut(shard=Shard(1, 2)),
            ScaleOut(shard=Shard(1, 3)),
            ScaleOut(),
        ):
            with pytest.raises(InputError, match="another extract"):
                run(cohort, model_folder, tmp_path, scale=scale)
        asked.append(True)

    asked = []
    run(cohort, model_folder, tmp_path, scale=ScaleOut(shard=Shard(1, 2)), progress=meanwhile)
    assert asked


def test_shard_numbers():
    things = tuple(Interview(InterviewKey(f"sub-{i:02}"), Path()) for i in range(11))
    for total in (1, 2, 3, 11, 20):
        parts = [Shard(i, total).of(things) for i in range(1, total + 1)]
        assert sorted(x.key for part in parts for x in part) == [x.key for x in things]
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert parse_shard(" 2/8 ") == Shard(2, 8)
    for text in ("0/3", "4/3", "1", "a/b", "1/0", "-1/2"):
        with pytest.raises(InputError, match="i/n"):
            parse_shard(text)


def test_contradictions_are_listed_together():
    with pytest.raises(InputError) as caught:
        parse_scale(workers=0, engine="spark", shard="1/2", merge=True)
    assert len(caught.value.faults) == 3


@pytest.mark.slow
def test_ray(cohort, model_folder, whole, tmp_path, monkeypatch):
    ray = pytest.importorskip("ray", reason="the optional package ray is not installed")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    ray.init(num_cpus=2, num_gpus=0, include_dashboard=False, logging_level="error")
    try:
        scale = ScaleOut(workers=2, engine="ray", load=functools.partial(load_model, model_folder))
        result = run(cohort, model_folder, tmp_path, scale=scale)
    finally:
        ray.shutdown()
    assert (result.n_kept, len(result.interviews)) == (0, 5)
    assert bytes_of(tmp_path) == whole


def test_ray_that_is_missing_says_what_to_install(cohort, model_folder, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    load = functools.partial(load_model, model_folder)
    with pytest.raises(InputError, match=r"emoclip-clinical\[ray\]"):
        run(cohort, model_folder, tmp_path, scale=ScaleOut(engine="ray", load=load))


def test_tables_are_read_by_pandas_alone(cohort, model_folder, tmp_path):
    result = run(cohort, model_folder, tmp_path)
    assert result.n_failed == 0
    segments = pd.read_parquet(tmp_path / "segments.parquet")
    embeddings = pd.read_parquet(tmp_path / "embeddings.parquet")
    keys = ["participant_id", "session_id", "interview", "segment", "onset", "duration"]
    usable = segments.loc[segments["status"] == "ok", keys].reset_index(drop=True)
    pd.testing.assert_frame_equal(embeddings[keys], usable)
    assert embeddings["embedding"].notna().all()
    vectors = np.stack(embeddings["embedding"])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


class TestPrecision:
    def interviews(self, cohort):
        paths = sorted(cohort.glob("*.mp4"))
        return [Interview(InterviewKey(path.stem), path) for path in paths]

    def choose(self, embedder, interviews, wanted="auto"):
        return choose_precision(embedder, interviews, wanted=wanted, stall_seconds=30)

    def test_without_hardware_it_is_float32(self, cohort, model_folder, monkeypatch):
        model = load_model(model_folder, device="cpu")
        monkeypatch.setattr(type(model), "has_fast_bfloat16", False)
        assert self.choose(model, self.interviews(cohort)).precision == "float32"

    def test_with_hardware_it_is_checked_on_real_frames(
        self, cohort, model_folder, monkeypatch, tmp_path
    ):
        model = load_model(model_folder, device="cpu")
        monkeypatch.setattr(type(model), "has_fast_bfloat16", True)
        interviews = self.interviews(cohort)
        choice = self.choose(model, interviews)
        twin = load_model(model_folder, device="cpu", precision="bfloat16")
        rng = np.random.default_rng(0)
        frames = rng.integers(0, 256, size=(4, 3, 64, 64), dtype=np.uint8)
        np.testing.assert_array_equal(
            model.variant(precision="bfloat16").encode_prepared(frames),
            twin.encode_prepared(frames),
        )
        assert choice.nearness is not None
        near = choice.nearness.smallest_cosine >= 0.999
        assert choice.precision == ("bfloat16" if near else "float32")
        # What can be read decides; with nothing to read, nothing is risked.
        broken = Interview(InterviewKey("sub-"), tmp_path / "missing.mp4")
        assert self.choose(model, [broken, *interviews]) == choice
        assert self.choose(model, [broken]).precision == "float32"
        assert "no frame" in self.choose(model, [broken]).reason

    def test_what_is_further_off_is_not_taken(self, cohort, model_folder, monkeypatch):
        model = load_model(model_folder, device="cpu")
        monkeypatch.setattr(type(model), "has_fast_bfloat16", True)
        monkeypatch.setattr("emoclip_clinical.features.precision.SMALLEST_COSINE", 1.1)
        choice = self.choose(model, self.interviews(cohort))
        assert choice.precision == "float32"
        assert "further off" in choice.reason

    def test_it_is_written_down_and_parts_never_mix(self, cohort, model_folder, tmp_path):
        video = cohort / "sub-3.mp4"
        full = CONFIG.model_copy(update={"precision": "float32"})
        run(video, model_folder, tmp_path, config=full)
        written = json.loads((tmp_path / "features.json").read_text())
        assert written["model"]["precision"] == "float32"
        exact = np.stack(pd.read_parquet(tmp_path / "embeddings.parquet")["embedding"])
        half = CONFIG.model_copy(update={"precision": "bfloat16"})
        assert run(video, model_folder, tmp_path, config=half).n_kept == 0
        written = json.loads((tmp_path / "features.json").read_text())
        assert written["model"]["precision"] == "bfloat16"
        near = np.stack(pd.read_parquet(tmp_path / "embeddings.parquet")["embedding"])
        assert not np.array_equal(exact, near)
        assert cosines(exact, near).min() > 0.99
