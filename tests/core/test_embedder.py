"""The Embedder's batches, precision and refusals."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch

from emoclip_clinical import Embedder, InputError, load_model
from emoclip_clinical.core.checkpoint import load_checkpoint, save_checkpoint
from emoclip_clinical.core.config import ModelConfig, TemporalConfig, TowerConfig
from emoclip_clinical.core.model import build_model

DEFINITION = {
    "embed_dim": 64,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 128, "patch_size": 16},
    "text_cfg": {"context_length": 8, "width": 64, "heads": 1, "layers": 1},
}


def _folder(path: Path, kind: Literal["transformer", "mean", "first_frame"]) -> Path:
    config = ModelConfig(
        name="small",
        tower=TowerConfig(name="vit", definition=DEFINITION, pretrained="none"),
        temporal=TemporalConfig(kind=kind, heads=2, head_width=8, mlp_width=16, positions=33),
    )
    save_checkpoint(path, built=build_model(config, seed=0), config=config, card={})
    return path


def _clips(*lengths: int, side: int = 40) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (t, side, side, 3), dtype=np.uint8) for t in lengths]


def _counted(embedder: Embedder) -> list[int]:
    sizes: list[int] = []
    embedder._model.clip.visual.register_forward_hook(
        lambda _m, args, _o: sizes.append(len(args[0]))
    )
    return sizes


def test_batches_are_filled_across_clips(tmp_path: Path) -> None:
    checkpoint = load_checkpoint(_folder(tmp_path, "transformer"))
    embedder = Embedder(checkpoint, device="cpu", batch_frames=4)
    clips = _clips(3, 1, 7, 2)
    sizes = _counted(embedder)
    together = embedder.encode_clips(clips)
    assert sizes == [4, 4, 4, 1]
    alone = np.concatenate([embedder.encode_clips([clip]) for clip in clips])
    np.testing.assert_allclose(together, alone, atol=1e-6)


@pytest.mark.parametrize("kind", ["mean", "first_frame"])
def test_baselines_are_what_their_name_says(
    kind: Literal["mean", "first_frame"], tmp_path: Path
) -> None:
    embedder = load_model(_folder(tmp_path, kind), device="cpu")
    clips = _clips(3, 40)  # longer than a transformer of 33 positions could take
    for clip, embedding in zip(clips, embedder.encode_clips(clips), strict=True):
        vectors = embedder.encode_frames(clip)
        expected = vectors.mean(axis=0) if kind == "mean" else vectors[0]
        np.testing.assert_allclose(embedding, expected / np.linalg.norm(expected), atol=1e-6)


def test_bfloat16_is_near_float32_and_is_only_in_the_image_tower(tmp_path: Path) -> None:
    folder = _folder(tmp_path, "transformer")
    exact, fast = (load_model(folder, device="cpu", precision=p) for p in ("float32", "bfloat16"))
    clips = _clips(3, 9)
    cosines = (exact.encode_clips(clips) * fast.encode_clips(clips)).sum(axis=1)
    assert cosines.min() > 0.9999
    assert not np.array_equal(exact.encode_clips(clips), fast.encode_clips(clips))
    assert fast.encode_clips(clips).dtype == np.float32
    np.testing.assert_array_equal(exact.encode_text(["a smile"]), fast.encode_text(["a smile"]))
    with pytest.raises(InputError, match="float32, bfloat16 or int8, got 'float16'"):
        load_model(folder, device="cpu", precision="float16")


def test_every_clip_that_is_none_is_listed(tmp_path: Path) -> None:
    embedder = load_model(_folder(tmp_path, "transformer"), device="cpu")
    good, long = _clips(2, 33)
    with pytest.raises(InputError) as caught:
        embedder.encode_clips([good, good[:0], long, good.astype(float), good[0]])
    assert [fault.split(",")[0] for fault in caught.value.faults] == [
        "clip 1: it needs at least one frame",
        "clip 2: it may have at most 32 sampled frames",
        "clip 3: it must be uint8 of shape (n_frames",
        "clip 4: it must be uint8 of shape (n_frames",
    ]
    assert embedder.encode_clips([]).shape == (0, 64)
    assert embedder.encode_frames(good[:0]).shape == (0, 64)
    assert embedder.encode_text([]).shape == (0, 64)
    with pytest.raises(InputError, match="a list of strings, got the string"):
        embedder.encode_text("a smile")
    with pytest.raises(InputError, match="got int at position 1"):
        embedder.encode_text(["a smile", 3])  # type: ignore[list-item]


def test_loading_copies_no_weight_and_changes_no_random_state(tmp_path: Path) -> None:
    folder = _folder(tmp_path, "transformer")
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, second = load_model(folder, device="cpu"), load_model(folder, device="cpu")
    assert torch.equal(torch.rand(3), expected)
    clips = _clips(4)
    np.testing.assert_array_equal(first.encode_clips(clips), second.encode_clips(clips))


@pytest.mark.slow
def test_loading_the_default_towers_takes_little_more_memory_than_importing(
    tmp_path: Path,
) -> None:
    config = ModelConfig(tower=TowerConfig(pretrained="none"))
    save_checkpoint(tmp_path, built=build_model(config, seed=0), config=config, card={})
    code = """
import resource, sys
from emoclip_clinical import load_model

def peak_mebibytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

before = peak_mebibytes()
load_model(sys.argv[1], device="cpu")
print(peak_mebibytes() - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    weights = (tmp_path / "model.safetensors").stat().st_size / 2**20
    assert weights > 600
    assert float(done.stdout) < weights + 100


def test_files_of_a_model_folder_are_for_the_same_people(tmp_path: Path) -> None:
    umask = os.umask(0o027)
    try:
        _folder(tmp_path, "mean")
    finally:
        os.umask(umask)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir() if path.is_file()} == {0o640}


@pytest.mark.parametrize("name", ["model.safetensors", "model.json"])
def test_says_what_may_not_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    _folder(tmp_path, "mean")
    before = Path.open

    def refuse(path: Path, *args: Any, **more: Any) -> Any:
        # Permissions do not hold root back, who may run this test.
        if path.name == name:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return before(path, *args, **more)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match=f"{name} can not be read: Permission denied"):
        load_checkpoint(tmp_path)
