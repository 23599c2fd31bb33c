"""What trains, at which rate, and which epoch is kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from sklearn.metrics import accuracy_score, recall_score

from emoclip_clinical import InputError, load_model
from emoclip_clinical.core.adapters import add_adapters, merge_adapters
from emoclip_clinical.core.clip_reading import Sampling, read_frames
from emoclip_clinical.core.clips import Clip
from emoclip_clinical.core.config import ModelConfig
from emoclip_clinical.core.model import EmoCLIP, build_model, derived_seed
from emoclip_clinical.core.optimisation import Stepper, Trainable
from emoclip_clinical.core.trained_tensors import choose_tensors
from emoclip_clinical.core.training import is_trained, train
from emoclip_clinical.core.training_config import OptimiserConfig, TrainingConfig
from emoclip_clinical.core.training_selection import Selector, recalls_of
from emoclip_clinical.records import PromptSet

SHADES = PromptSet(
    "shades", {s: (f"the {s} face", f"a {s} nose") for s in ("dark", "middle", "bright")}
)
BASE: dict[str, Any] = {"epochs": 2, "batch_clips": 5, "threads": 1}


def _train(clips: list[Clip], model: ModelConfig, folder: Path, **settings: Any) -> dict[str, Any]:
    prompts = settings.pop("prompts", None)
    train(
        clips,
        model=model,
        training=TrainingConfig.model_validate(BASE | settings),
        folder=folder,
        state_folder=folder / "state",
        seed=3,
        device="cpu",
        prompts=prompts,
    )
    card: dict[str, Any] = json.loads((folder / "model.json").read_text())
    return card


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def _untrained(model: ModelConfig) -> EmoCLIP:
    return build_model(model, seed=derived_seed(3, 0)).model


def test_towers_train_whole_and_what_is_listed_is_what_changes(
    shade_clips: list[Clip], vit_model: ModelConfig, tmp_path: Path
) -> None:
    # A caption has fewer words than positions, and tokens that it lacks get no gradient; decay
    # moves all that is trained.
    card = _train(shade_clips, vit_model, tmp_path, towers="trained")
    before, after = _untrained(vit_model).state_dict(), _weights(tmp_path)
    changed = {n for n in before if not torch.equal(before[n], after[n])}
    assert changed == set(card["trained_tensors"])
    assert card["n_trained_values"] == sum(before[n].numel() for n in card["trained_tensors"])
    for name in ("clip.token_embedding.weight", "clip.ln_final.weight", "clip.text_projection"):
        assert name in changed


def test_faithful_towers_keep_what_the_official_code_keeps(
    shade_clips: list[Clip], vit_model: ModelConfig, tmp_path: Path
) -> None:
    card = _train(
        shade_clips,
        vit_model,
        tmp_path,
        towers="trained",
        faithful=True,
        select="last",
        optimiser={"name": "sgd", "learning_rate": 1e-3, "tower_learning_rate": 1e-6},
    )
    before, after = _untrained(vit_model).state_dict(), _weights(tmp_path)
    for name in ("clip.token_embedding.weight", "clip.ln_final.weight", "clip.text_projection"):
        assert name not in card["trained_tensors"]
        assert torch.equal(before[name], after[name])
    # At 1e-6 an update is below what half precision resolves: nothing but the rounding is left.
    linear = "clip.visual.transformer.resblocks.0.mlp.c_fc.weight"
    assert torch.equal(after[linear], before[linear].half().float())
    norm = "clip.visual.transformer.resblocks.0.ln_1.bias"
    assert not torch.equal(after[norm], before[norm])


def test_layers_further_from_the_output_train_more_slowly(vit_model: ModelConfig) -> None:
    training = TrainingConfig(
        towers="trained",
        optimiser=OptimiserConfig(learning_rate=1.0, tower_learning_rate=0.1, layer_decay=0.5),
    )
    chosen = choose_tensors(_untrained(vit_model), stage="clips", training=training)
    rate = {t.name: t.learning_rate for t in chosen}
    assert rate["temporal.cls_token"] == rate["clip.logit_scale"] == 1.0
    for name, power in {
        "clip.visual.proj": 0,
        "clip.visual.ln_post.weight": 0,
        "clip.visual.transformer.resblocks.1.ln_1.weight": 1,
        "clip.visual.transformer.resblocks.0.ln_1.weight": 2,
        "clip.visual.conv1.weight": 3,
        "clip.visual.class_embedding": 3,
        "clip.visual.positional_embedding": 3,
        "clip.visual.ln_pre.weight": 3,
        "clip.text_projection": 0,
        "clip.ln_final.weight": 0,
        "clip.transformer.resblocks.1.mlp.c_fc.weight": 1,
        "clip.token_embedding.weight": 3,
        "clip.positional_embedding": 3,
    }.items():
        assert rate[name] == pytest.approx(0.1 * 0.5**power), name


def test_rates_follow_the_papers_steps_and_the_cosine() -> None:
    def rates(**settings: Any) -> list[float]:
        parameter = torch.nn.Parameter(torch.zeros(2, 2))
        config = OptimiserConfig.model_validate({"learning_rate": 1.0} | settings)
        stepper = Stepper(
            [Trainable("w", parameter, 1.0)], config=config, n_epochs=6, steps_per_epoch=2
        )
        seen = []
        for _ in range(12):
            seen.append(stepper.learning_rate)
            parameter.grad = torch.zeros(2, 2)
            stepper.step()
        return seen

    steps = rates(schedule="steps", step_epochs=(2, 4), warmup_fraction=0.0)
    assert steps == pytest.approx([1.0] * 4 + [0.1] * 4 + [0.01] * 4)
    cosine = rates(schedule="cosine", warmup_fraction=0.25)
    assert cosine[:3] == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert cosine[3:] == pytest.approx([0.5 * (1 + np.cos(np.pi * k / 9)) for k in range(9)])


def test_adapters_are_merged_into_a_plain_model(
    shade_clips: list[Clip], vit_model: ModelConfig, tmp_path: Path
) -> None:
    pytest.importorskip("peft")
    card = _train(shade_clips, vit_model, tmp_path, towers="lora", lora_rank=2)
    assert all(
        ".lora_" in n or n.startswith("temporal.") or n == "clip.logit_scale"
        for n in card["trained_tensors"]
    )
    before, after = _untrained(vit_model).state_dict(), _weights(tmp_path)
    assert before.keys() == after.keys()
    changed = {n for n in before if not torch.equal(before[n], after[n])}
    merged = set(card["adapters_merged_into"])
    assert {n for n in changed if n.startswith("clip.")} - {"clip.logit_scale"} == merged
    assert "clip.visual.transformer.resblocks.0.attn.in_proj_weight" in merged
    assert load_model(tmp_path, device="cpu").encode_text(["a"]).shape == (1, 32)


def test_merged_adapters_compute_what_they_computed_apart(vit_model: ModelConfig) -> None:
    pytest.importorskip("peft")
    model = _untrained(vit_model)
    pictures = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    plain = model.encode_frames(pictures)
    add_adapters(model, rank=2, alpha=4.0, seed=0)
    torch.testing.assert_close(model.encode_frames(pictures), plain)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if ".lora_B" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) / 10
    apart = model.encode_frames(pictures)
    assert not torch.allclose(apart, plain, atol=1e-3)
    merge_adapters(model)
    torch.testing.assert_close(model.encode_frames(pictures), apart, atol=1e-5, rtol=1e-4)


def test_chunks_give_the_gradients_of_the_whole_batch(
    shade_clips: list[Clip], vit_model: ModelConfig, tmp_path: Path
) -> None:
    still = {"towers": "trained", "optimiser": {"name": "sgd", "learning_rate": 0.1}}
    for name, settings in {"whole": {}, "chunks": {"chunk_clips": 2}}.items():
        _train(shade_clips, vit_model, tmp_path / name, **still, **settings)
    whole, chunks = _weights(tmp_path / "whole"), _weights(tmp_path / "chunks")
    for name, tensor in whole.items():
        torch.testing.assert_close(chunks[name], tensor, atol=1e-5, rtol=1e-4, msg=name)


def test_chunks_are_refused_with_batch_normalisation(
    shade_clips: list[Clip], small_model: ModelConfig, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"batch normalisation; these train: clip\.visual"):
        _train(shade_clips, small_model, tmp_path, towers="trained", chunk_clips=2)
    _train(shade_clips, small_model, tmp_path, chunk_clips=2)  # frozen, they do no harm


def test_selector_keeps_the_best_and_stops() -> None:
    training = TrainingConfig(select="validation_loss", patience_epochs=2)
    selector = Selector(training)
    for epoch, loss in enumerate([3.0, 1.0, 2.0, 1.5], start=1):
        assert not selector.stops
        selector.look(epoch, loss, lambda e=epoch: {"w": torch.tensor(float(e))})  # type: ignore[misc]
    assert selector.stops
    assert float(selector.best_tensors["w"]) == 2.0
    chosen = selector.selected("clips", 10)
    assert (chosen.epoch, chosen.value, chosen.stopped_early) == (2, 1.0, True)


def test_the_best_epochs_weights_are_kept(
    shade_clips: list[Clip], vit_model: ModelConfig, tmp_path: Path
) -> None:
    # Captions of other clips teach what is wrong for validation clips, whose loss soon rises.
    # Without warm-up and decay, a training that ends with the best epoch has the same weights.
    hot = {
        "captions": "shuffled",
        "optimiser": {"learning_rate": 0.02, "schedule": "constant", "warmup_fraction": 0.0},
        "epochs": 6,
    }
    card = _train(
        shade_clips,
        vit_model,
        tmp_path / "chosen",
        select="validation_loss",
        patience_epochs=2,
        **hot,
    )
    losses = [e["validation_loss"] for e in card["epochs"]]
    best = int(np.argmin(losses)) + 1
    assert best < 6
    assert len(losses) == min(6, best + 2)
    assert card["selected"]["epoch"] == best
    assert card["selected"]["stopped_early"] == (len(losses) < 6)
    _train(shade_clips, vit_model, tmp_path / "short", **(hot | {"epochs": best}))
    chosen, short = _weights(tmp_path / "chosen"), _weights(tmp_path / "short")
    assert all(torch.equal(chosen[name], short[name]) for name in short)


def test_test_clips_choose_only_when_faithful_and_say_so(
    shade_clips: list[Clip], vit_model: ModelConfig, tmp_path: Path
) -> None:
    with pytest.raises(ValidationError, match="which only faithful: true may"):
        TrainingConfig(select="test_war")
    with pytest.raises(InputError, match="select: test_war needs a prompt set"):
        _train(shade_clips, vit_model, tmp_path, faithful=True)
    card = _train(shade_clips, vit_model, tmp_path, faithful=True, prompts=SHADES)
    assert card["selected"]["rule"] == "test_war"
    assert card["selected"]["by_test_data"] is True
    assert any("chosen by the accuracy on TEST clips" in w for w in card["warnings"])
    scores = [e["score"] for e in card["epochs"]]
    assert card["selected"]["value"] == max(scores)
    # Zero-shot accuracy of the kept model, by the public API.
    model = load_model(tmp_path, device="cpu")
    sampling = Sampling(model.sample_fps, model.frames_per_clip, 64)
    test = [c for c in shade_clips if c.split == "test"]
    clips = [read_frames(c.path, sampling).transpose(0, 2, 3, 1) for c in test]
    guessed = model.score(clips, SHADES).argmax(axis=1)
    true = [list(SHADES.classes).index(c.label) for c in test]
    assert accuracy_score(true, guessed) == pytest.approx(max(scores))


def test_validation_uar_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    true, guess = rng.integers(1, 4, 50), rng.integers(0, 5, 50)
    uar, war = recalls_of(true, guess)
    assert uar == pytest.approx(
        recall_score(true, guess, labels=np.unique(true), average="macro", zero_division=0)
    )
    assert war == pytest.approx(accuracy_score(true, guess))


def test_a_part_of_the_training_clips_validates(
    shade_clips: list[Clip], vit_model: ModelConfig, tmp_path: Path
) -> None:
    learned = [c for c in shade_clips if c.split == "train"]
    card = _train(
        learned,
        vit_model,
        tmp_path,
        validation_fraction=0.3,
        select="validation_uar",
        prompts=SHADES,
    )
    assert card["n_training_clips"] + card["n_validation_clips"] == len(learned)
    assert card["n_validation_clips"] >= 2
    assert all(0 <= e["score"] <= 1 for e in card["epochs"])


def test_bfloat16_keeps_weights_and_loss_in_float32(
    shade_clips: list[Clip], vit_model: ModelConfig, tmp_path: Path
) -> None:
    exact = _train(shade_clips, vit_model, tmp_path / "exact", towers="trained")
    rough = _train(shade_clips, vit_model, tmp_path / "rough", towers="trained", precision="bf16")
    assert {t.dtype for t in _weights(tmp_path / "rough").values()} == {torch.float32}
    ours, theirs = (c["epochs"][0]["training_loss"] for c in (exact, rough))
    assert ours != theirs
    assert ours == pytest.approx(theirs, abs=0.05)


def test_a_trained_model_is_recognised_whatever_has_no_influence(
    shade_clips: list[Clip], vit_model: ModelConfig, tmp_path: Path
) -> None:
    _train(shade_clips, vit_model, tmp_path)
    asked = {"clips": shade_clips, "model": vit_model, "seed": 3}
    same = TrainingConfig.model_validate(BASE | {"save_every_steps": 7, "cache_gigabytes": 2})
    other = TrainingConfig.model_validate(BASE | {"captions": "context"})
    assert is_trained(tmp_path, training=same, **asked)  # type: ignore[arg-type]
    assert not is_trained(tmp_path, training=other, **asked)  # type: ignore[arg-type]
