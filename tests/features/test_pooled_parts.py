"""Pooling again from the parts: no video is read, and nothing differs from a fresh run."""

from __future__ import annotations

import json
from typing import get_args

import pandas as pd
import pytest

from emoclip_clinical.features.config import ExtractionConfig
from emoclip_clinical.features.extract import extract
from emoclip_clinical.features.pooling_config import PoolingStatistic
from emoclip_clinical.features.prompt_sets import load_prompt_set

WHOLE = ExtractionConfig(face="whole_frame")
ALL = ExtractionConfig(face="whole_frame", pooling=get_args(PoolingStatistic))
TABLES = ("segments.parquet", "embeddings.parquet", "interviews.parquet", "features.json")


@pytest.fixture(scope="module")
def videos(tmp_path_factory, make_video, lively):
    folder = tmp_path_factory.mktemp("videos")
    for seed, name in enumerate(("sub-01", "sub-02")):
        images = lively(100 + 20 * seed, seed=seed)
        times = [40 * i for i in range(len(images))]
        make_video(folder / f"{name}.mp4", images=images, milliseconds=times)
    return folder


def run(videos, embedder, prompts, output, config):
    return extract([videos], embedder=embedder, config=config, prompt_sets=prompts, output=output)


def test_other_statistics_read_no_video_again(videos, embedder, prompts, tmp_path):
    run(videos, embedder, [prompts], tmp_path / "again", WHOLE)
    before = pd.read_parquet(tmp_path / "again" / "interviews.parquet")
    embedder.n_encoded = 0
    assert run(videos, embedder, [prompts], tmp_path / "again", ALL).n_kept == 2
    assert embedder.n_encoded == 0
    run(videos, embedder, [prompts], tmp_path / "fresh", ALL)
    for name in TABLES:
        again, fresh = (tmp_path / folder / name for folder in ("again", "fresh"))
        assert again.read_bytes() == fresh.read_bytes()
    after = pd.read_parquet(tmp_path / "again" / "interviews.parquet")
    pd.testing.assert_frame_equal(after[before.columns], before)
    described = json.loads((tmp_path / "again" / "features.json").read_text())
    assert described["pooling"]["statistics"] == list(get_args(PoolingStatistic))
    assert set(described["pooled_features"]) <= set(after.columns)
    assert {"expressivity", "q90_cosine_two__smile", "mean_embedding_007"} <= set(after.columns)


def test_pooled_rows_are_those_of_the_segment_table(videos, embedder, prompts, tmp_path):
    run(videos, embedder, [prompts], tmp_path / "f", ALL)
    segments = pd.read_parquet(tmp_path / "f" / "segments.parquet")
    interviews = pd.read_parquet(tmp_path / "f" / "interviews.parquet").set_index("interview")
    for name, rows in segments.groupby("interview"):
        scores = rows["cosine_two__rest"].astype(float)
        assert interviews.loc[name, "mean_cosine_two__rest"] == pytest.approx(scores.mean())
        middles = rows["onset"] + rows["duration"] / 2
        speed = (scores.diff().abs() / middles.diff()).mean()
        assert interviews.loc[name, "change_cosine_two__rest"] == pytest.approx(speed)
        for column in ("sharpness", "brightness"):
            assert interviews.loc[name, column] == pytest.approx(rows[column].median())
        assert pd.isna(interviews.loc[name, "FaceRectHeight"])


def test_several_prompt_sets_cost_no_further_frames(videos, embedder, prompts, tmp_path):
    other = load_prompt_set("clinical")
    run(videos, embedder, [prompts], tmp_path / "one", WHOLE)
    n_encoded, embedder.n_encoded = embedder.n_encoded, 0
    run(videos, embedder, [prompts, other], tmp_path / "both", WHOLE)
    assert embedder.n_encoded == n_encoded
    one, both = (
        pd.read_parquet(tmp_path / folder / "segments.parquet") for folder in ("one", "both")
    )
    pd.testing.assert_frame_equal(both[one.columns], one)
    assert both[f"cosine_clinical__{next(iter(other.classes))}"].notna().all()


def test_other_thresholds_make_the_parts_anew(videos, embedder, prompts, tmp_path):
    run(videos, embedder, [prompts], tmp_path / "f", WHOLE)
    strict = ExtractionConfig(face="whole_frame", quality={"minimum_sharpness": 1e9})
    result = run(videos, embedder, [prompts], tmp_path / "f", strict)
    assert result.n_kept == 0
    assert {outcome.status for outcome in result.interviews} == {"low_coverage"}
    segments = pd.read_parquet(tmp_path / "f" / "segments.parquet")
    assert set(segments["status"]) == {"low_coverage"}
    assert segments["reason"].str.startswith("blurred: ").all()
    assert segments["sharpness"].notna().all()
    assert segments.filter(regex="^(emotion|cosine)_").isna().all(axis=None)
