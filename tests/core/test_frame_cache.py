"""The cache of frame vectors: exact, checked, bounded, shared."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from emoclip_clinical.core.clips import Clip
from emoclip_clinical.core.config import ModelConfig
from emoclip_clinical.core.frame_cache import FrameCache, entry_key
from emoclip_clinical.core.training import train
from emoclip_clinical.core.training_config import TrainingConfig

GIGA = 1e9


def _vectors(seed: int, n: int = 10) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 32)).astype(np.float16)


def _entry_bytes(n: int = 10) -> int:
    return 16 + n * 32 * 2 + 32


def test_what_is_kept_is_found_by_another_process_s_cache(tmp_path: Path) -> None:
    key = entry_key(clip="a", view=-1)
    assert FrameCache(tmp_path, gigabytes=1).get(key) is None
    assert FrameCache(tmp_path, gigabytes=1).put(key, _vectors(0))
    found = FrameCache(tmp_path, gigabytes=1).get(key)
    assert found is not None
    np.testing.assert_array_equal(found, _vectors(0))
    assert not found.flags.writeable
    assert FrameCache(tmp_path, gigabytes=1).get(entry_key(clip="a", view=0)) is None


@pytest.mark.parametrize("damage", ["truncated", "empty", "flipped", "foreign"])
def test_damaged_entries_are_removed_and_made_again(tmp_path: Path, damage: str) -> None:
    key = entry_key(clip="a")
    FrameCache(tmp_path, gigabytes=1).put(key, _vectors(0))
    (path,) = (p for p in tmp_path.rglob("*") if p.is_file())
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[100] ^= 1
    path.write_bytes(
        {"truncated": content[:-5], "empty": b"", "flipped": content, "foreign": b"x" * 99}[damage]
    )
    cache = FrameCache(tmp_path, gigabytes=1)
    assert cache.get(key) is None
    assert not path.exists()
    assert cache.put(key, _vectors(0))
    np.testing.assert_array_equal(FrameCache(tmp_path, gigabytes=1).get(key), _vectors(0))


def test_the_oldest_unused_entries_go_first(tmp_path: Path) -> None:
    room = 4.5 * _entry_bytes() / GIGA
    keys = [entry_key(clip=i) for i in range(4)]
    first = FrameCache(tmp_path, gigabytes=room)
    for i, key in enumerate(keys):
        assert first.put(key, _vectors(i))
        (path,) = tmp_path.glob(f"??/{key}.frames")
        os.utime(path, (1000 + i, 1000 + i))
    second = FrameCache(tmp_path, gigabytes=room)
    assert second.get(keys[0]) is not None  # used: now the newest
    assert second.put(entry_key(clip="new"), _vectors(9))
    assert [second.get(k) is not None for k in keys] == [True, False, True, True]
    assert sum(p.stat().st_size for p in tmp_path.rglob("*.frames")) <= room * GIGA


def test_what_this_process_uses_stays_and_nothing_more_is_taken(tmp_path: Path) -> None:
    cache = FrameCache(tmp_path, gigabytes=2.5 * _entry_bytes() / GIGA)
    assert cache.put("aa", _vectors(0))
    assert cache.put("bb", _vectors(1))
    assert not cache.put("cc", _vectors(2))
    np.testing.assert_array_equal(cache.get("aa"), _vectors(0))


def test_readers_and_writers_at_once_see_whole_entries_only(tmp_path: Path) -> None:
    key = entry_key(clip="shared")
    expected = _vectors(0, n=2000)
    wrong: list[str] = []

    def work() -> None:
        for _ in range(20):
            cache = FrameCache(tmp_path, gigabytes=1)
            found = cache.get(key)
            if found is None:
                cache.put(key, expected)
            elif not np.array_equal(found, expected):
                wrong.append("differs")

    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(work) for _ in range(4)]:
            done.result()
    assert not wrong
    assert not list(tmp_path.rglob("*.part"))


def _curve(clips: list[Clip], model: ModelConfig, folder: Path, **changes: object) -> np.ndarray:
    cache_folder = changes.pop("cache_folder", None)
    seen = changes.pop("seen", None)
    training = TrainingConfig.model_validate(
        {"epochs": 3, "batch_clips": 4, "threads": 1, **changes}
    )
    trained = train(
        clips,
        model=model,
        training=training,
        folder=folder,
        state_folder=folder / "state",
        seed=2,
        device="cpu",
        cache_folder=cache_folder,  # type: ignore[arg-type]
        progress=lambda task, done, total: seen.append(task) if seen is not None else None,  # type: ignore[attr-defined]
    )
    return np.array([[e.training_loss, e.validation_loss] for e in trained.epochs], dtype=float)


def test_cached_training_has_the_loss_of_uncached_training(
    shade_clips: list[Clip], vit_model: ModelConfig, tmp_path: Path
) -> None:
    uncached = _curve(shade_clips, vit_model, tmp_path / "off", cache_frame_vectors=False)
    in_memory = _curve(shade_clips, vit_model, tmp_path / "memory")
    cold_tasks: list[str] = []
    warm_tasks: list[str] = []
    cache = {"cache_folder": tmp_path / "frames"}
    cold = _curve(shade_clips, vit_model, tmp_path / "cold", seen=cold_tasks, **cache)
    _curve(shade_clips, vit_model, tmp_path / "warm", seen=warm_tasks, **cache)
    np.testing.assert_allclose(in_memory, uncached, atol=1e-4)
    np.testing.assert_allclose(cold, uncached, atol=1e-4)
    assert "encode clips" in cold_tasks
    assert "encode clips" not in warm_tasks
    assert (tmp_path / "cold/model.safetensors").read_bytes() == (
        tmp_path / "warm/model.safetensors"
    ).read_bytes()


def test_a_cache_that_is_too_small_changes_nothing_but_warns(
    shade_clips: list[Clip], vit_model: ModelConfig, tmp_path: Path
) -> None:
    whole = _curve(shade_clips, vit_model, tmp_path / "whole", cache_folder=tmp_path / "a")
    small = _curve(
        shade_clips,
        vit_model,
        tmp_path / "small",
        cache_folder=tmp_path / "b",
        cache_gigabytes=1e-6,
        memory_megabytes=0,
    )
    np.testing.assert_array_equal(small, whole)
    assert "encoded in every epoch" in (tmp_path / "small/model.json").read_text()


def test_views_are_encoded_once_and_drawn_by_epoch(
    shade_clips: list[Clip], vit_model: ModelConfig, tmp_path: Path
) -> None:
    varied = {
        "augmentation": {"rotation_degrees": 6, "horizontal_flip": True},
        "augmentation_views": 3,
        "cache_folder": tmp_path / "frames",
    }
    once = _curve(shade_clips, vit_model, tmp_path / "once", **varied)
    again = _curve(shade_clips, vit_model, tmp_path / "again", **varied)
    plain = _curve(shade_clips, vit_model, tmp_path / "plain", cache_folder=tmp_path / "frames")
    np.testing.assert_array_equal(once, again)
    assert not np.array_equal(once[:, 0], plain[:, 0])
    # Three views of 11 training clips, 3 plain validation clips, then 11 plain training clips.
    assert len(list((tmp_path / "frames").rglob("*.frames"))) == 3 * 11 + 3 + 11


def test_towers_with_equal_weights_that_compute_otherwise_share_nothing(
    shade_clips: list[Clip], vit_model: ModelConfig, tmp_path: Path
) -> None:
    definition = dict(vit_model.tower.definition or {})
    curves = {}
    for pool in ("tok", "avg"):
        vision = {**definition["vision_cfg"], "pool_type": pool}
        tower = vit_model.tower.model_copy(
            update={"definition": {**definition, "vision_cfg": vision}}
        )
        model = vit_model.model_copy(update={"tower": tower})
        curves[pool] = _curve(shade_clips, model, tmp_path / pool, cache_folder=tmp_path / "frames")
    alone = _curve(shade_clips, model, tmp_path / "alone", cache_folder=tmp_path / "own")
    np.testing.assert_array_equal(curves["avg"], alone)
    assert not np.array_equal(curves["tok"], curves["avg"])
