"""Towers of several kinds against open_clip called by hand, and their preprocessing."""

from __future__ import annotations

import copy
import logging
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import numpy as np
import open_clip
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from emoclip_clinical import InputError, load_model
from emoclip_clinical.core import hub
from emoclip_clinical.core.checkpoint import save_checkpoint
from emoclip_clinical.core.config import ModelConfig, TemporalConfig, TowerConfig
from emoclip_clinical.core.model import build_model
from emoclip_clinical.core.preprocessing import Preprocessing, Resize, normalise, prepare
from emoclip_clinical.core.tokenizer import NEEDS_TRANSFORMERS, Tokenizer
from emoclip_clinical.core.towers import build_towers

VIT = {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16}
TEXT = {"context_length": 16, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1}
SIGLIP_TEXT = {
    **TEXT,
    "no_causal_mask": True,
    "proj_bias": True,
    "pool_type": "last",
    "norm_kwargs": {"eps": 1e-6},
}
DEFINITIONS: dict[str, dict[str, Any]] = {
    "CLIP": {"embed_dim": 24, "quick_gelu": True, "vision_cfg": VIT, "text_cfg": TEXT},
    "CustomTextCLIP": {
        "embed_dim": 24,
        "custom_text": True,
        "vision_cfg": VIT,
        "text_cfg": TEXT,
    },
    "SigLIP": {
        "embed_dim": 32,
        "init_logit_bias": -10,
        "custom_text": True,
        "vision_cfg": {
            "image_size": 32,
            "timm_model_name": "test_vit",
            "timm_model_pretrained": False,
            "timm_pool": "avg",
            "timm_proj": "linear",
        },
        "text_cfg": SIGLIP_TEXT,
    },
}


def _model_config(kind: str, **tower: Any) -> ModelConfig:
    return ModelConfig(
        name="small",
        tower=TowerConfig(name=kind, definition=DEFINITIONS[kind], pretrained="none", **tower),
        temporal=TemporalConfig(heads=2, head_width=8, mlp_width=16, positions=33),
    )


@pytest.mark.parametrize("kind", DEFINITIONS)
def test_a_saved_model_embeds_as_open_clip_does(kind: str, tmp_path: Path) -> None:
    config = _model_config(kind)
    built = build_model(config, seed=3)
    save_checkpoint(tmp_path, built=built, config=config, card={})
    model = load_model(tmp_path, device="cpu")
    settings = copy.deepcopy(DEFINITIONS[kind])
    custom = settings.pop("custom_text", False)
    by_hand = (open_clip.CustomTextCLIP if custom else open_clip.CLIP)(**settings).eval()
    state = {
        k.removeprefix("clip."): v
        for k, v in built.model.state_dict().items()
        if k.startswith("clip.")
    }
    faults = by_hand.load_state_dict(state, strict=False)
    assert faults.missing_keys == (["logit_bias"] if kind == "SigLIP" else [])
    assert faults.unexpected_keys == []
    frames = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    pictures = normalise(torch.from_numpy(frames).permute(0, 3, 1, 2), built.preprocessing)
    tokens = open_clip.SimpleTokenizer(context_length=16)(["a smile", "a frown"])
    with torch.inference_mode():
        expected = by_hand.encode_image(pictures).numpy()
        texts = by_hand.encode_text(tokens, normalize=True).numpy()
    np.testing.assert_allclose(model.encode_frames(frames), expected, atol=1e-6)
    np.testing.assert_allclose(model.encode_text(["a smile", "a frown"]), texts, atol=1e-6)


@pytest.mark.parametrize("kind", DEFINITIONS)
def test_without_weights_only_what_no_checkpoint_holds_has_values(kind: str) -> None:
    model = build_model(_model_config(kind), seed=0, load_weights=False).model
    assert {p.device.type for p in model.parameters()} == {"meta"}
    assert {b.device.type for b in model.buffers()} <= {"cpu"}
    # The hook is gone again.
    assert torch.nn.Linear(2, 2).weight.device.type == "cpu"


def test_an_architecture_that_runs_while_it_is_built_can_be_loaded_into() -> None:
    clip = build_towers(TowerConfig(name="ViTamin-S"), load_weights=False).clip
    assert not any(t.is_meta for t in (*clip.parameters(), *clip.buffers()))


def test_a_borrowed_text_tower_needs_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *a, **k: None)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="settings of 'roberta-base' are not on this machine"):
        build_towers(TowerConfig(name="roberta-ViT-B-32", pretrained="none"))


def test_without_text_tower_nothing_of_it_is_kept() -> None:
    model = build_model(_model_config("CLIP", text=False), seed=0).model
    names = {name.split(".")[1] for name in model.state_dict() if name.startswith("clip.")}
    assert names == {"visual", "logit_scale"}
    with pytest.raises(InputError, match="no text tower"):
        model.encode_text(torch.zeros(1, 16, dtype=torch.long))


@pytest.mark.parametrize(
    ("name", "side", "mean", "mode", "interpolation", "context", "width"),
    [
        ("ViT-B-32-quickgelu", 224, 0.48145466, "shortest", "bicubic", 77, 512),
        ("ViT-B-16", 224, 0.48145466, "shortest", "bicubic", 77, 512),
        ("ViT-L-14-336", 336, 0.48145466, "shortest", "bicubic", 77, 768),
        ("ViT-B-16-SigLIP-256", 256, 0.5, "squash", "bicubic", 64, 768),
        ("PE-Core-T-16-384", 384, 0.5, "squash", "bilinear", 32, 512),
        ("MobileCLIP-S1", 256, 0.0, "shortest", "bilinear", 77, 512),
    ],
)
def test_architectures_by_name_bring_their_own_preprocessing(
    name: str, side: int, mean: float, mode: str, interpolation: str, context: int, width: int
) -> None:
    towers = build_towers(TowerConfig(name=name), load_weights=False)
    pretrained = build_towers(TowerConfig(name=name, pretrained="none"), load_weights=False)
    assert towers.preprocessing == pretrained.preprocessing
    found = towers.preprocessing
    assert (found.image_size_pixels, found.mean[0]) == (side, mean)
    assert (found.resize.mode, found.resize.interpolation) == (mode, interpolation)
    assert (towers.tokenizer.context_length, towers.width) == (context, width)


@pytest.mark.parametrize("mode", ["shortest", "squash", "longest"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("shape", [(90, 131), (131, 90), (40, 30)])
def test_resizing_is_open_clips_to_two_grey_levels(
    mode: str, interpolation: str, shape: tuple[int, int]
) -> None:
    rng = np.random.default_rng(1)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    frame = np.array(coarse.resize(shape[::-1], Image.Resampling.BICUBIC))
    zero, one = (0.0,) * 3, (1.0,) * 3
    config = PreprocessCfg(
        size=48, mean=zero, std=one, resize_mode=mode, interpolation=interpolation, fill_color=7
    )
    theirs = image_transform_v2(config, is_train=False)(Image.fromarray(frame)).numpy() * 255
    resize = Resize(mode=mode, interpolation=interpolation, fill=7)
    ours = prepare(frame, image_size_pixels=48, resize=resize)
    assert np.abs(ours.astype(float) - theirs).max() <= 2.01
    assert np.abs(ours.astype(float) - theirs).mean() < 0.1


def test_the_faithful_way_is_the_published_one_but_for_rounding() -> None:
    rng = np.random.default_rng(2)
    coarse = Image.fromarray(rng.integers(60, 200, (12, 16, 3), dtype=np.uint8))
    frame = np.array(coarse.resize((130, 97), Image.Resampling.BICUBIC))
    config = ModelConfig(
        faithful=True, tower=TowerConfig(name="CLIP", definition=DEFINITIONS["CLIP"],
                                         pretrained="none")
    )  # fmt: skip
    preprocessing = build_model(config, seed=0, load_weights=False).preprocessing
    assert not preprocessing.resize.antialias
    ours = prepare(frame, image_size_pixels=32, resize=preprocessing.resize)
    # Normalise, resize the shorter side without antialiasing, crop: then back to grey levels.
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (preprocessing.mean, preprocessing.std))
    published = (torch.from_numpy(frame).permute(2, 0, 1).float() / 255 - mean) / std
    published = torch.nn.functional.interpolate(
        published[None], size=(32, int(32 * 130 / 97)), mode="bicubic", align_corners=False
    )[0]
    left = round((published.shape[-1] - 32) / 2)
    published = (published[..., left : left + 32] * std + mean) * 255
    # torch rounds after each of the two passes of its 8-bit resize.
    assert np.abs(ours - published.numpy()).max() <= 1.05


def test_preprocessing_survives_the_card() -> None:
    one = Preprocessing(
        32, (0.1, 0.2, 0.3), (1.0, 2.0, 3.0), Resize("squash", "bilinear", False, 9)
    )
    assert Preprocessing.from_card(one.to_card()) == one
    old = {"image_size_pixels": 8, "mean": [0, 0, 0], "std": [1, 1, 1], "resize": "shorter side"}
    assert Preprocessing.from_card(old).resize == Resize()
    with pytest.raises(InputError, match="must hold image_size_pixels"):
        Preprocessing.from_card({"mean": [0]})
    with pytest.raises(InputError, match="shortest, squash, longest"):
        Resize(mode="stretch")


def test_weights_of_another_activation_are_refused() -> None:
    with pytest.raises(InputError, match="name the tower ViT-B-32-quickgelu"):
        build_towers(TowerConfig(name="ViT-B-32", pretrained="openai"))


def test_a_file_of_another_architecture_is_refused(tmp_path: Path) -> None:
    torch.save({"visual.proj": torch.zeros(2, 2)}, tmp_path / "w.pt")
    with pytest.raises(InputError, match=r"w\.pt can not be loaded"):
        build_towers(TowerConfig(name="ViT-S-32-alt", pretrained=str(tmp_path / "w.pt")))


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    towers = build_towers(TowerConfig(name="ViT-S-32-alt", pretrained="none"))
    state = towers.clip.state_dict()
    state["visual.conv1.weight"][0, 0, 0, 0] = float("nan")
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(InputError, match=r"w\.pt: tensor visual\.conv1\.weight .* not finite"):
        build_towers(TowerConfig(name="ViT-S-32-alt", pretrained=str(tmp_path / "w.pt")))


def test_without_a_network_the_message_comes_at_once_and_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def unreachable(*args: object, **kwargs: object) -> None:
        raise OSError("no such host")

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *a, **k: None)
    monkeypatch.setattr(hub, "get_session", lambda: SimpleNamespace(head=unreachable))
    started = time.monotonic()
    with caplog.at_level(logging.DEBUG), pytest.raises(InputError) as caught:
        hub.fetch_weights("ViT-B-32-quickgelu", "openai")
    assert time.monotonic() - started < 10
    assert len(str(caught.value).splitlines()) == 1
    assert "does not answer (OSError)" in str(caught.value)
    assert "--pretrained none" in str(caught.value)
    assert [r for r in caplog.records if r.name.startswith("huggingface_hub")] == []


def test_cached_weights_are_found_without_a_network(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = []

    def look(repository: str, file: str) -> str | None:
        asked.append((repository, file))
        return str(tmp_path / file) if file.endswith(".bin") else None

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", look)
    found = hub.fetch_weights("ViT-B-32-quickgelu", "openai")
    assert found == tmp_path / "open_clip_pytorch_model.bin"
    assert asked[0][1] == "open_clip_model.safetensors"


def test_a_vocabulary_that_needs_transformers_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    tokenizer = Tokenizer({"hf_tokenizer_name": "timm/ViT-B-16-SigLIP", "context_length": 64})
    assert tokenizer.describe()["vocabulary"] == "timm/ViT-B-16-SigLIP"
    with pytest.raises(InputError) as caught:
        tokenizer(["a smile"])
    assert str(caught.value) == NEEDS_TRANSFORMERS


def test_a_hub_vocabulary_travels_in_the_model_folder(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is not installed")
    words = {"<pad>": 0, "</s>": 1, "<unk>": 2, "a": 3, "smile": 4}
    core = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<unk>"))
    core.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", unk_token="<unk>", eos_token="</s>"
    )
    fast.save_pretrained(tmp_path / "given")
    settings = {"hf_tokenizer_name": "someone/words", "context_length": 5}
    first = Tokenizer(settings, folder=tmp_path / "given")
    assert first(["a smile", "a frown"]).tolist() == [[3, 4, 0, 0, 0], [3, 2, 0, 0, 0]]
    first.save(tmp_path / "model" / "tokenizer")
    again = Tokenizer(settings).at(tmp_path / "model" / "tokenizer")
    assert again(["smile a"]).tolist() == [[4, 3, 0, 0, 0]]
