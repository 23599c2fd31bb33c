"""Towers that leave out what goes nowhere, against open_clip's own encode_image."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from open_clip.transformer import VisionTransformer
from torch import nn

from emoclip_clinical import load_model
from emoclip_clinical.core.checkpoint import save_checkpoint
from emoclip_clinical.core.config import ModelConfig, TowerConfig
from emoclip_clinical.core.image_tower import ImageTower
from emoclip_clinical.core.model import build_model
from emoclip_clinical.core.preprocessing import normalise
from emoclip_clinical.core.vision_blocks import (
    PlainBlock,
    in_plain_operations,
    without_unused_tokens,
)

TEXT = {"context_length": 8, "width": 64, "heads": 1, "layers": 1}
VIT = {"image_size": 32, "layers": 3, "width": 128, "patch_size": 8}
TAKE_THE_CLASS_TOKEN: dict[str, dict[str, Any]] = {
    "plain": VIT,
    "one block": {**VIT, "layers": 1},
    "scaled layers": {**VIT, "ls_init_value": 0.5},
    "norm after pooling": {**VIT, "final_ln_after_pool": True},
    "odd heads": {**VIT, "width": 192},
}
TAKE_ALL_TOKENS: dict[str, dict[str, Any]] = {
    "mean of tokens": {**VIT, "pool_type": "avg"},
    "pooled by attention": {**VIT, "attentional_pool": True, "attn_pooler_heads": 2},
}
OTHERS: dict[str, dict[str, Any]] = {
    "blocks of another kind": {**VIT, "qk_norm": True},
    "timm": {"image_size": 32, "timm_model_name": "test_vit", "timm_model_pretrained": False},
    "resnet": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 32, "patch_size": None},
}
PICTURES = torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def _clip(vision: dict[str, Any]) -> nn.Module:
    torch.manual_seed(0)
    clip: nn.Module = open_clip.CLIP(embed_dim=64, vision_cfg=vision, text_cfg=TEXT).eval()
    with torch.no_grad():
        # open_clip starts biases with zero and scales with one, which hides what is left out.
        for parameter in clip.visual.parameters():  # type: ignore[union-attr]
            parameter.add_(0.1 * torch.randn_like(parameter))
    return clip


def _cut(clip: nn.Module, way: Any) -> nn.Module:
    twin = copy.copy(clip)
    twin._modules = {**clip._modules, "visual": way(clip.visual)}
    return twin


@pytest.mark.parametrize("way", [without_unused_tokens, in_plain_operations])
@pytest.mark.parametrize("kind", TAKE_THE_CLASS_TOKEN)
def test_vectors_are_open_clips(kind: str, way: Any) -> None:
    clip = _clip(TAKE_THE_CLASS_TOKEN[kind])
    names = list(clip.state_dict())
    with torch.inference_mode():
        expected = clip.encode_image(PICTURES)
        cut = _cut(clip, way)
        found = cut.encode_image(PICTURES)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
        blocks = cut.visual.transformer.resblocks
        assert blocks[-1](torch.rand(2, 17, clip.visual.transformer.width)).shape[:2] == (2, 1)
    # It is a look at the same weights, and the tower is as it was.
    assert list(clip.state_dict()) == names
    assert {id(p) for p in cut.parameters()} == {id(p) for p in clip.parameters()}
    assert not any(isinstance(module, PlainBlock) for module in clip.modules())


@pytest.mark.parametrize("kind", TAKE_ALL_TOKENS)
def test_towers_that_take_all_tokens_get_them(kind: str) -> None:
    clip = _clip(TAKE_ALL_TOKENS[kind])
    assert without_unused_tokens(clip.visual) is clip.visual
    with torch.inference_mode():
        expected = clip.encode_image(PICTURES)
        found = _cut(clip, in_plain_operations).encode_image(PICTURES)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", OTHERS)
def test_other_towers_are_left_alone(kind: str) -> None:
    visual = _clip(OTHERS[kind]).visual
    assert without_unused_tokens(visual) is visual
    assert in_plain_operations(visual) is visual


class _Own(VisionTransformer):
    pass


def test_what_is_derived_from_a_known_tower_is_left_alone() -> None:
    visual = _clip(VIT).visual
    visual.output_tokens = True
    assert without_unused_tokens(visual) is visual
    visual.output_tokens = False
    assert without_unused_tokens(visual) is not visual
    visual.__class__ = _Own
    assert without_unused_tokens(visual) is visual


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("bfloat16", 0.02)])
def test_the_embedder_computes_what_open_clip_does(
    precision: str, tolerance: float, tmp_path: Path
) -> None:
    definition = {"embed_dim": 64, "vision_cfg": VIT, "text_cfg": TEXT}
    config = ModelConfig(
        name="small", tower=TowerConfig(name="vit", definition=definition, pretrained="none")
    )
    built = build_model(config, seed=0)
    save_checkpoint(tmp_path, built=built, config=config, card={})
    prepared = np.random.default_rng(0).integers(0, 256, (5, 3, 32, 32), dtype=np.uint8)
    with torch.inference_mode():
        pictures = normalise(torch.from_numpy(prepared), built.preprocessing)
        expected = built.model.encode_frames(pictures).numpy()
    found = load_model(tmp_path, device="cpu", precision=precision).encode_prepared(prepared)
    np.testing.assert_allclose(found, expected, atol=tolerance * abs(expected).max())


def test_a_compiled_tower_leaves_the_same_out(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[nn.Module] = []
    monkeypatch.setattr(nn.Module, "compile", lambda module, **_: compiled.append(module))
    definition = {"embed_dim": 64, "vision_cfg": VIT, "text_cfg": TEXT}
    tower = TowerConfig(name="vit", definition=definition, pretrained="none")
    built = build_model(ModelConfig(name="small", tower=tower), seed=0)
    exact = ImageTower(
        built.model,
        preprocessing=built.preprocessing,
        device=torch.device("cpu"),
        precision="float32",
        batch_frames=4,
    )
    prepared = np.random.default_rng(0).integers(0, 256, (5, 3, 32, 32), dtype=np.uint8)
    variant = exact.variant(precision="float32", compiled=True)
    np.testing.assert_array_equal(variant.encode(prepared), exact.encode(prepared))
    (visual,) = compiled
    assert visual is not built.model.clip.visual
    assert isinstance(visual.transformer.resblocks[-1], PlainBlock)
