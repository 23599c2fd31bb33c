"""Model folders and the Embedder: strict loading, and the documented shapes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file

from emoclip_clinical import Embedder, InputError, load_model
from emoclip_clinical.core.config import ModelConfig, TowerConfig
from emoclip_clinical.core.model import build_model, resolve_device
from emoclip_clinical.core.training import train
from emoclip_clinical.core.training_config import TrainingConfig
from emoclip_clinical.file_hashes import file_sha256
from emoclip_clinical.records import PromptSet


@pytest.fixture
def folder(small_model: ModelConfig, tmp_path: Path) -> Path:
    train(
        [],
        model=small_model,
        training=TrainingConfig(epochs=0),
        folder=tmp_path / "small",
        state_folder=tmp_path / "state",
        seed=0,
    )
    return tmp_path / "small"


@pytest.fixture
def embedder(folder: Path) -> Embedder:
    return load_model(folder, device="cpu")


def _frames(n: int, seed: int = 0, size: int = 64) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


def test_a_clip_is_embedded_alike_alone_and_beside_longer_ones(embedder: Embedder) -> None:
    clips = [_frames(3, 1), _frames(9, 2), _frames(1, 3, size=90)]
    together = embedder.encode_clips(clips)
    assert together.shape == (3, 32)
    assert together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
    alone = np.concatenate([embedder.encode_clips([clip]) for clip in clips])
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_frames_and_text_equal_open_clip_called_by_hand(
    embedder: Embedder, small_model: ModelConfig, folder: Path
) -> None:
    assert small_model.tower.definition is not None
    clip = open_clip.CLIP(**small_model.tower.definition).eval()
    tensors = load_file(folder / "model.safetensors")
    clip.load_state_dict(
        {k.removeprefix("clip."): v for k, v in tensors.items() if k.startswith("clip.")}
    )
    frames = _frames(4)
    mean, std = (
        torch.tensor(x).view(3, 1, 1)
        for x in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    )
    pictures = (torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255 - mean) / std
    tokens = open_clip.SimpleTokenizer(context_length=24)(["a broad smile", "raised brows"])
    with torch.inference_mode():
        expected_frames = clip.encode_image(pictures).numpy()
        expected_text = clip.encode_text(tokens, normalize=True).numpy()
    np.testing.assert_allclose(embedder.encode_frames(frames), expected_frames, atol=1e-5)
    np.testing.assert_allclose(
        embedder.encode_text(["a broad smile", "raised brows"]), expected_text, atol=1e-6
    )


def test_classes_are_averaged_sentences_and_compounds_averaged_classes(embedder: Embedder) -> None:
    prompts = PromptSet(
        "two",
        {"joy": ("a smile", "raised cheeks"), "fear": ("wide eyes",)},
        {"mix": ("joy", "fear")},
    )
    classes, compounds = embedder.encode_prompts(prompts)
    sentences = embedder.encode_text(["a smile", "raised cheeks", "wide eyes"])
    joy = sentences[:2].mean(0) / np.linalg.norm(sentences[:2].mean(0))
    mix = (joy + sentences[2]) / np.linalg.norm(joy + sentences[2])
    np.testing.assert_allclose(classes, [joy, sentences[2]], atol=1e-6)
    np.testing.assert_allclose(compounds, [mix], atol=1e-6)
    scores = embedder.score([_frames(5)], prompts)
    assert scores.shape == (1, 3)
    assert np.all(np.abs(scores) <= 1)


def test_weights_that_the_card_does_not_describe_are_refused(folder: Path) -> None:
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(InputError, match="SHA-256"):
        load_model(folder)


def test_every_tensor_that_does_not_fit_is_listed(folder: Path) -> None:
    weights = folder / "model.safetensors"
    tensors = load_file(weights)
    tensors["extra"] = tensors.pop("temporal.cls_token")
    tensors["temporal.positions"] = tensors["temporal.positions"][:, :3].contiguous()
    infinite = next(name for name in sorted(tensors) if "visual" in name)
    tensors[infinite].view(-1)[0] = float("inf")
    save_file(tensors, weights)
    card = json.loads((folder / "model.json").read_text())
    card["weights_sha256"] = file_sha256(weights)
    (folder / "model.json").write_text(json.dumps(card))
    with pytest.raises(InputError) as caught:
        load_model(folder)
    text = str(caught.value)
    assert len(caught.value.faults) == 4
    assert f"tensor {infinite} holds values that are not finite" in text
    assert "tensor temporal.cls_token is missing" in text
    assert "unexpected tensor extra" in text
    assert "temporal.positions must have shape (1, 40, 32), got (1, 3, 32)" in text


def test_what_is_no_model_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"a model folder holds model\.safetensors and model\.json"
    ):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("tower", "message"),
    [
        (TowerConfig(name="ViT-B-33"), "did you mean ViT-B-32"),
        (TowerConfig(pretrained="opena"), "pretrained must be none, a file, or one of"),
        (TowerConfig(name="mine", definition={"embed_dim": 3}), "must be none, got 'openai'"),
        (
            TowerConfig(name="mine", definition={"embed_dim": 3}, pretrained="none"),
            "lacks text_cfg, vision_cfg",
        ),
    ],
)
def test_towers_that_can_not_be_had(tower: TowerConfig, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_model(ModelConfig(tower=tower), seed=0)


def test_devices() -> None:
    assert resolve_device("cpu").type == "cpu"
    with pytest.raises(InputError, match=r"device must be auto, cpu, cuda or .*got 'tpu'"):
        resolve_device("tpu")
    with pytest.raises(InputError, match="got 'cuda:x'"):
        resolve_device("cuda:x")
    with pytest.raises(InputError, match=r"no GPU|GPUs here count from 0"):
        resolve_device("cuda:99")
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="no GPU"):
            resolve_device("cuda")
