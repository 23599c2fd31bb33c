"""int8 in an extraction: the check on real frames, and the same bytes however work is shared."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from emoclip_clinical import load_model
from emoclip_clinical.core.checkpoint import save_checkpoint
from emoclip_clinical.core.config import ModelConfig, TowerConfig
from emoclip_clinical.core.model import build_model
from emoclip_clinical.features.config import ExtractionConfig
from emoclip_clinical.features.extract import extract
from emoclip_clinical.features.interviews import Interview, find_interviews
from emoclip_clinical.features.precision import Nearness, choose_precision
from emoclip_clinical.features.scale_out import THIS_PROCESS, ScaleOut
from emoclip_clinical.features.shards import Shard
from emoclip_clinical.records import InputError, InterviewKey, PromptSet

ASSETS = Path(os.environ.get("EMOCLIP_ASSETS", "../shared/assets"))
CONFIG = ExtractionConfig(face="whole_frame", stride_seconds=0.64, batch_frames=8, precision="int8")
PROMPTS = PromptSet(name="two", classes={"smile": ("a smile",), "frown": ("a frown",)})
DEFINITION = {
    "embed_dim": 64,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 128, "patch_size": 8},
    "text_cfg": {"context_length": 8, "width": 64, "heads": 1, "layers": 1},
}
TABLES = ("segments.parquet", "embeddings.parquet", "interviews.parquet", "features.json")


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    tower = TowerConfig(name="vit", definition=DEFINITION, pretrained="none")
    config = ModelConfig(name="small", tower=tower)
    folder = tmp_path_factory.mktemp("model")
    save_checkpoint(folder, built=build_model(config, seed=0), config=config, card={})
    return folder


@pytest.fixture(scope="module")
def cohort(tmp_path_factory, make_video, lively):
    folder = tmp_path_factory.mktemp("cohort")
    for seed, count in enumerate((60, 50, 70)):
        make_video(
            folder / f"sub-{seed}.mp4",
            images=lively(count, seed=seed),
            milliseconds=[40 * i for i in range(count)],
        )
    return folder


def run(cohort, model_folder, output, *, scale=THIS_PROCESS, config=CONFIG):
    return extract(
        [cohort],
        embedder=load_model(model_folder, device="cpu"),
        config=config,
        prompt_sets=[PROMPTS],
        output=output,
        scale=scale,
    )


def bytes_of(folder):
    return {name: (folder / name).read_bytes() for name in TABLES}


@pytest.fixture(scope="module")
def whole(cohort, model_folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("whole")
    run(cohort, model_folder, output)
    return output


def vectors_of(folder):
    return np.stack(pd.read_parquet(folder / "embeddings.parquet")["embedding"])


def test_it_is_near_float32_and_what_was_measured_is_written_down(
    cohort, model_folder, whole, tmp_path
):
    exact = CONFIG.model_copy(update={"precision": "float32"})
    run(cohort, model_folder, tmp_path, config=exact)
    # Vectors of a table have length one.
    cosines = (vectors_of(tmp_path) * vectors_of(whole)).sum(axis=1)
    assert 0.999 < cosines.min() < cosines.max() <= 1 + 1e-6
    assert not np.array_equal(vectors_of(tmp_path), vectors_of(whole))
    written = json.loads((whole / "features.json").read_text())
    assert written["model"]["precision"] == "int8"
    check = written["precision_check"]
    assert 0.999 <= check["smallest_cosine"] <= check["mean_cosine"] <= 1
    # Videos of 2.4, 2.0 and 2.8 seconds, looked at once a second.
    assert check["n_frames"] == 3 + 2 + 3
    other = json.loads((tmp_path / "features.json").read_text())
    assert other["settings_hash"] != written["settings_hash"]
    assert other["precision_check"]["mean_cosine"] is None


def test_threads_and_shards_give_the_same_bytes(cohort, model_folder, whole, tmp_path):
    run(cohort, model_folder, tmp_path / "threads", scale=ScaleOut(workers=2))
    assert bytes_of(tmp_path / "threads") == bytes_of(whole)
    for shard in (Shard(2, 2), Shard(1, 2)):
        run(cohort, model_folder, tmp_path / "shards", scale=ScaleOut(shard=shard))
    merged = run(cohort, model_folder, tmp_path / "shards", scale=ScaleOut(merge_only=True))
    assert merged.n_kept == 3
    assert bytes_of(tmp_path / "shards") == bytes_of(whole)


def test_a_run_that_was_cut_short_ends_with_the_same_bytes(cohort, model_folder, whole, tmp_path):
    features = Path(shutil.copytree(whole, tmp_path / "features"))
    for name in TABLES:
        (features / name).unlink()
    shutil.rmtree(features / "parts" / "sub-1")
    assert run(cohort, model_folder, features).n_kept == 2
    assert bytes_of(features) == bytes_of(whole)


def choose(model_folder, interviews):
    model = load_model(model_folder, device="cpu")
    return choose_precision(model, interviews, wanted="int8", stall_seconds=30)


@pytest.mark.parametrize("limit", ["MEAN_COSINE_INT8", "SMALLEST_COSINE_INT8"])
def test_what_does_not_agree_is_refused(limit, cohort, model_folder, monkeypatch, tmp_path):
    found = choose(model_folder, find_interviews([cohort])).nearness
    monkeypatch.setattr(f"emoclip_clinical.features.precision.{limit}", 1.5)
    with pytest.raises(InputError) as caught:
        run(cohort, model_folder, tmp_path / "features")
    text = str(caught.value)
    assert f"got {found.mean_cosine} and {found.smallest_cosine} over 8 frames" in text
    assert "set extraction.precision to float32" in text
    assert not (tmp_path / "features").exists()


def test_a_tower_whose_vectors_are_no_numbers_is_refused(cohort, model_folder, monkeypatch):
    nothing = Nearness(float("nan"), float("nan"), 8)
    monkeypatch.setattr("emoclip_clinical.features.precision._nearness", lambda *_, **__: nothing)
    with pytest.raises(InputError, match="got nan and nan"):
        choose(model_folder, find_interviews([cohort]))


def test_frames_come_from_the_whole_cohort(cohort, model_folder, tmp_path, monkeypatch):
    opened: list[str] = []
    sampler = "emoclip_clinical.features.precision.VideoSampler"
    real = __import__("emoclip_clinical.features.decoding", fromlist=["x"]).VideoSampler
    monkeypatch.setattr(sampler, lambda path, **k: opened.append(path.stem) or real(path, **k))
    longest = cohort / "sub-2.mp4"
    many = [
        Interview(InterviewKey(f"sub-{i:02}"), Path(shutil.copy(longest, tmp_path / f"{i:02}.mp4")))
        for i in range(16)
    ]
    (tmp_path / "04.mp4").write_bytes(b"no video")
    choice = choose(model_folder, many)
    # Three frames each: eleven interviews are needed beside the broken one.
    assert opened == ["00", "04", "08", "12", "01", "05", "09", "13", "02", "06", "10", "14"]
    assert dataclasses.asdict(choice.nearness)["n_frames"] == 32
    assert choose(model_folder, many[4:5]).nearness is None


def test_an_interview_that_can_not_be_read_in_any_way_is_passed_over(
    cohort, model_folder, monkeypatch
):
    def failing(self):
        raise KeyError(self.path)

    monkeypatch.setattr("emoclip_clinical.features.decoding.VideoSampler._frames", failing)
    assert choose(model_folder, find_interviews([cohort])).nearness is None


def test_what_contradicts_it_is_refused():
    with pytest.raises(ValidationError, match="compile_model must be false"):
        ExtractionConfig(precision="int8", compile_model=True)


@pytest.mark.skipif(not (ASSETS / "videos").is_dir(), reason="EMOCLIP_ASSETS has no videos")
def test_it_agrees_on_real_faces(model_folder):
    paths = sorted((ASSETS / "videos").glob("videoretalking_*.mp4"))
    interviews = [Interview(InterviewKey(path.stem), path) for path in paths]
    nearness = choose(model_folder, interviews).nearness
    assert nearness.n_frames >= 8
    assert nearness.mean_cosine >= 0.9995
