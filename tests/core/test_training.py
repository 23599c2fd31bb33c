"""Training: it learns, repeats itself to the bit, and goes on where it was interrupted."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from emoclip_clinical import InputError, load_model
from emoclip_clinical.core.clips import Clip
from emoclip_clinical.core.config import ModelConfig, TowerConfig
from emoclip_clinical.core.evaluation.zero_shot import classify
from emoclip_clinical.core.model import derived_seed
from emoclip_clinical.core.training import NOTHING_TO_RESUME, train
from emoclip_clinical.core.training_config import OptimiserConfig, TrainingConfig
from emoclip_clinical.records import PromptSet

SHADES = {"dark": 40, "middle": 120, "bright": 210}
QUICK = OptimiserConfig(learning_rate=3e-3)
TWO_STAGES = TrainingConfig(
    frame_epochs=8, epochs=4, batch_clips=6, frame_optimiser=QUICK, optimiser=QUICK, threads=1
)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory, write_video: Callable[..., Path]) -> list[Clip]:
    """Grey clips whose captions say how bright they are."""
    folder = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(0)
    made = []
    for i in range(24):
        shade = list(SHADES)[i % 3]
        frames = SHADES[shade] + rng.normal(0, 12, (6, 64, 64, 3))
        path = write_video(folder / f"{i}.mp4", frames.clip(0, 255).astype(np.uint8), fps=6)
        split = "train" if i < 15 else "validation" if i < 18 else "test"
        made.append(Clip(path, f"a {shade} picture", shade, f"g{i}", split, f"row {i + 2}"))
    return made


def _train(
    clips: list[Clip], model: ModelConfig, folder: Path, **changes: object
) -> dict[str, object]:
    arguments = {"training": TWO_STAGES, "seed": 3, "device": "cpu", **changes}
    train(clips, model=model, folder=folder, state_folder=folder / "state", **arguments)  # type: ignore[arg-type]
    return json.loads((folder / "model.json").read_text())  # type: ignore[no-any-return]


def test_it_learns_what_captions_say(
    clips: list[Clip], small_model: ModelConfig, tmp_path: Path
) -> None:
    card = _train(clips, small_model, tmp_path)
    curve = card["epochs"]
    assert isinstance(curve, list)
    assert [e["stage"] for e in curve] == ["frames"] * 8 + ["clips"] * 4
    assert curve[7]["training_loss"] < curve[0]["training_loss"]
    assert card["vocabulary"] == ["a", "bright", "dark", "middle", "picture"]
    learned = [c.path.read_bytes() for c in clips if c.split != "test"]
    assert card["training_clips"] == sorted({sha256(b).hexdigest()[:16] for b in learned})
    prompts = PromptSet("shades", {s: (f"a {s} picture",) for s in SHADES})
    held_out = [c for c in clips if c.split == "test"]
    result = classify(load_model(tmp_path, device="cpu"), held_out, prompts)
    assert result.uar == 1.0
    assert result.chance == pytest.approx(1 / 3)


def test_same_seed_same_bytes_and_another_seed_others(
    clips: list[Clip], small_model: ModelConfig, tmp_path: Path
) -> None:
    for name, seed in (("one", 3), ("two", 3), ("other", 4)):
        _train(clips, small_model, tmp_path / name, seed=seed)
    one, two, other = (
        (tmp_path / n / "model.safetensors").read_bytes() for n in ("one", "two", "other")
    )
    assert one == two
    assert one != other
    assert (tmp_path / "one/model.json").read_text() == (tmp_path / "two/model.json").read_text()


@pytest.mark.parametrize("towers", ["frozen", "trained"])
@pytest.mark.parametrize("stop", [("frames", 3), ("frames", 8), ("clips", 2)])
def test_an_interrupted_training_ends_in_the_same_weights(
    clips: list[Clip],
    small_model: ModelConfig,
    tmp_path: Path,
    towers: str,
    stop: tuple[str, int],
) -> None:
    training = TWO_STAGES.model_copy(update={"towers": towers})
    _train(clips, small_model, tmp_path / "whole", training=training)

    stage, epoch = stop

    def interrupt(task: str, done: int, total: int) -> None:
        per_epoch = total // (8 if stage == "frames" else 4)
        if task == f"train {stage}" and done > epoch * per_epoch:
            raise KeyboardInterrupt
        if stop == ("frames", 8) and task in ("encode clips", "train clips"):
            raise KeyboardInterrupt

    broken = tmp_path / "broken"
    with pytest.raises(KeyboardInterrupt):
        _train(clips, small_model, broken, training=training, progress=interrupt)
    assert not (broken / "model.json").exists()
    _train(clips, small_model, broken, training=training, resume=True)
    whole, resumed = (
        load_file(tmp_path / "whole/model.safetensors"),
        load_file(broken / "model.safetensors"),
    )
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert not (broken / "state" / "state.pt").exists()


def test_resume_without_an_interrupted_training_says_so(
    clips: list[Clip], small_model: ModelConfig, tmp_path: Path
) -> None:
    training = TrainingConfig(epochs=1, batch_clips=6, threads=1)
    where = {"folder": tmp_path, "state_folder": tmp_path / "state"}
    done = train(
        clips, model=small_model, training=training, seed=3, device="cpu", resume=True, **where
    )
    assert done.warnings == (NOTHING_TO_RESUME,)
    assert "began from the start" not in (tmp_path / "model.json").read_text()


def test_resume_refuses_other_settings(
    clips: list[Clip], small_model: ModelConfig, tmp_path: Path
) -> None:
    def interrupt(task: str, done: int, total: int) -> None:
        if task == "train frames" and done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _train(clips, small_model, tmp_path, progress=interrupt)
    with pytest.raises(InputError, match="other settings, seed or clips"):
        _train(clips, small_model, tmp_path, seed=99, resume=True)
    for junk in (b"", b"junk, and more of it"):
        (tmp_path / "state" / "state.pt").write_bytes(junk)
        with pytest.raises(InputError, match=r"can not be read .* without --resume"):
            _train(clips, small_model, tmp_path, resume=True)


def test_frozen_towers_stay_as_they_were(
    clips: list[Clip], small_model: ModelConfig, tmp_path: Path
) -> None:
    from emoclip_clinical.core.model import build_model

    card = _train(
        clips, small_model, tmp_path, training=TWO_STAGES.model_copy(update={"frame_epochs": 0})
    )
    before = build_model(small_model, seed=derived_seed(3, 0)).model.state_dict()
    after = load_file(tmp_path / "model.safetensors")
    changed = {n for n in before if not torch.equal(before[n], after[n])}
    trained = card["trained_tensors"]
    assert isinstance(trained, list)
    assert changed <= set(trained)
    assert all(n.startswith("temporal.") or n == "clip.logit_scale" for n in trained)
    assert any(n.startswith("temporal.blocks.0.attention") for n in changed)


def test_cached_frames_give_the_losses_of_frames_encoded_each_time(
    clips: list[Clip], small_model: ModelConfig, tmp_path: Path
) -> None:
    definition = dict(small_model.tower.definition or {})
    definition["vision_cfg"] = {
        "image_size": 64,
        "patch_size": 32,
        "layers": 1,
        "width": 32,
        "head_width": 16,
    }
    tower = TowerConfig(name="tiny-vit", definition=definition, pretrained="none")
    model = small_model.model_copy(update={"tower": tower})
    # Without batch norm, and at a rate of nothing, the two ways must see the same vectors.
    still = OptimiserConfig(learning_rate=1e-12, weight_decay=0.0)
    curves = []
    for towers in ("frozen", "trained"):
        training = TrainingConfig(
            epochs=2, towers=towers, optimiser=still, batch_clips=5, threads=1
        )
        epochs = _train(clips, model, tmp_path / towers, training=training)["epochs"]
        assert isinstance(epochs, list)
        curves.append([[e["training_loss"], e["validation_loss"]] for e in epochs])
    np.testing.assert_allclose(curves[0], curves[1], atol=1e-4)


def test_an_untrained_model_needs_no_clips(small_model: ModelConfig, tmp_path: Path) -> None:
    card = _train([], small_model, tmp_path, training=TrainingConfig(epochs=0))
    assert card["trained_tensors"] == []
    assert load_model(tmp_path, device="cpu").encode_text(["a face"]).shape == (1, 32)


def test_a_single_clip_is_too_few(
    clips: list[Clip], small_model: ModelConfig, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="at least two clips of split train, got 1"):
        _train(clips[:1], small_model, tmp_path)
