"""Pooling anew from a features folder: extract's own bits, and what leaving segments out does."""

from __future__ import annotations

import json
from typing import get_args

import numpy as np
import pandas as pd
import pytest

from emoclip_clinical.features.config import ExtractionConfig
from emoclip_clinical.features.extract import extract
from emoclip_clinical.features.pooling_config import PoolingStatistic, PoolingWeights
from emoclip_clinical.features.repooling import open_pooled_folder
from emoclip_clinical.records import InputError


@pytest.fixture(scope="module")
def videos(tmp_path_factory, make_video, lively):
    folder = tmp_path_factory.mktemp("videos")
    for seed, name in enumerate(("sub-01", "sub-02_ses-1")):
        images = lively(170 + 40 * seed, seed=seed, height=32, width=48)
        times = [40 * i for i in range(len(images))]
        make_video(folder / f"{name}.mp4", images=images, milliseconds=times)
    return folder


@pytest.mark.parametrize("weights", get_args(PoolingWeights))
def test_without_exclusions_it_gives_extracts_own_bits(
    videos, embedder, prompts, tmp_path, weights
):
    config = ExtractionConfig(
        face="whole_frame", pooling=get_args(PoolingStatistic), pooling_weights=weights
    )
    extract([videos], embedder=embedder, config=config, prompt_sets=[prompts], output=tmp_path)
    folder = open_pooled_folder(tmp_path)
    table = pd.read_parquet(tmp_path / "interviews.parquet").set_index("interview")
    assert len(table) == 2
    for name, row in table.iterrows():
        segments = folder.segments(name)
        assert len(segments.onset) == row["n_ok"]
        pooled = folder.pool(segments.scored)
        assert tuple(pooled) == folder.names
        made = np.array([np.nan if v is None else v for v in pooled.values()])
        assert made.tobytes() == row[list(folder.names)].to_numpy(dtype=np.float64).tobytes()


def test_a_segment_that_is_left_out_has_no_share(videos, embedder, prompts, tmp_path):
    config = ExtractionConfig(face="whole_frame")
    extract([videos], embedder=embedder, config=config, prompt_sets=[prompts], output=tmp_path)
    folder = open_pooled_folder(tmp_path)
    segments = folder.segments("sub-01", left_out={1})
    rows = pd.read_parquet(tmp_path / "segments.parquet").query("interview == 'sub-01'")
    rest = rows[rows["segment"] != 1]
    assert segments.onset.tolist() == rest["onset"].tolist()
    pooled = folder.pool(segments.scored)
    smile = rest["cosine_two__smile"].astype(float)
    assert pooled["mean_cosine_two__smile"] == pytest.approx(smile.mean())
    assert pooled["sd_cosine_two__smile"] == pytest.approx(smile.std())
    vectors = pd.read_parquet(tmp_path / "embeddings.parquet").query("interview == 'sub-01'")
    kept = np.stack(vectors[vectors["segment"] != 1]["embedding"].tolist()).astype(float)
    assert pooled["sd_embedding"] == pytest.approx(np.sqrt(kept.var(axis=0, ddof=1).sum()))
    assert folder.pool(folder.segments("sub-01", left_out=set(rows["segment"])).scored) == (
        dict.fromkeys(folder.names)
    )


def test_a_folder_of_another_version_is_refused(tmp_path):
    with pytest.raises(InputError) as caught:
        open_pooled_folder(tmp_path)
    assert len(caught.value.faults) == 3
    for name in ("segments.parquet", "embeddings.parquet"):
        (tmp_path / name).touch()
    (tmp_path / "features.json").write_text(json.dumps({"pooled_features": ["mean_x"]}))
    with pytest.raises(InputError, match="run extract again"):
        open_pooled_folder(tmp_path)
