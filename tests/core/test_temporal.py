"""The temporal part against plain tensor arithmetic, its mask, and the published geometry."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError

from emoclip_clinical.core.config import ModelConfig, TemporalConfig
from emoclip_clinical.core.temporal import TemporalTransformer, build_temporal
from emoclip_clinical.records import InputError

CONFIG = TemporalConfig(layers=2, heads=3, head_width=5, mlp_width=11, positions=9)


@pytest.fixture
def transformer() -> TemporalTransformer:
    torch.manual_seed(0)
    return TemporalTransformer(8, CONFIG).double().eval()


def _by_hand(weights: dict[str, torch.Tensor], frames: torch.Tensor) -> torch.Tensor:
    """One clip without padding, from the description of the method, head by head."""
    x = torch.cat([weights["cls_token"][0], frames]) + weights["positions"][0, : len(frames) + 1]

    def norm(v: torch.Tensor, name: str) -> torch.Tensor:
        centred = v - v.mean(-1, keepdim=True)
        scaled = centred / torch.sqrt(centred.pow(2).mean(-1, keepdim=True) + 1e-5)
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    for layer in range(CONFIG.layers):
        block = f"blocks.{layer}"
        n = norm(x, f"{block}.attention_norm")
        qkv = n @ weights[f"{block}.attention.to_qkv.weight"].T
        q, k, v = qkv.chunk(3, dim=-1)
        heads = []
        for h in range(CONFIG.heads):
            part = slice(h * CONFIG.head_width, (h + 1) * CONFIG.head_width)
            weight = torch.softmax(q[:, part] @ k[:, part].T / math.sqrt(CONFIG.head_width), dim=-1)
            heads.append(weight @ v[:, part])
        attention = f"{block}.attention.to_out"
        x = (
            x
            + torch.cat(heads, -1) @ weights[f"{attention}.weight"].T
            + weights[f"{attention}.bias"]
        )
        n = norm(x, f"{block}.mlp_norm")
        hidden = n @ weights[f"{block}.mlp.0.weight"].T + weights[f"{block}.mlp.0.bias"]
        inner = math.sqrt(2 / math.pi) * (hidden + 0.044715 * hidden.pow(3))
        gelu = 0.5 * hidden * (1 + torch.tanh(inner))
        x = x + gelu @ weights[f"{block}.mlp.3.weight"].T + weights[f"{block}.mlp.3.bias"]
    return x[0]


def test_equals_the_method_written_out(transformer: TemporalTransformer) -> None:
    frames = torch.randn(1, 6, 8, dtype=torch.float64)
    ours = transformer(frames, torch.ones(1, 6, dtype=torch.bool))[0]
    expected = _by_hand(dict(transformer.state_dict()), frames[0])
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-12)


def test_padding_has_no_influence_even_when_it_is_nan(transformer: TemporalTransformer) -> None:
    short = torch.randn(1, 3, 8, dtype=torch.float64)
    alone = transformer(short, torch.ones(1, 3, dtype=torch.bool))
    padded = torch.full((2, 7, 8), float("nan"), dtype=torch.float64)
    padded[0, :3] = short[0]
    padded[1] = torch.randn(7, 8, dtype=torch.float64)
    valid = torch.zeros(2, 7, dtype=torch.bool)
    valid[0, :3] = True
    valid[1] = True
    torch.testing.assert_close(transformer(padded, valid)[0], alone[0], rtol=0, atol=1e-12)


def test_refuses_clips_that_are_empty_or_too_long(transformer: TemporalTransformer) -> None:
    with pytest.raises(InputError, match="at most 8 sampled frames, got 9"):
        transformer(torch.zeros(1, 9, 8).double(), torch.ones(1, 9, dtype=torch.bool))
    with pytest.raises(InputError, match="at least one frame"):
        transformer(torch.zeros(1, 2, 8).double(), torch.zeros(1, 2, dtype=torch.bool))


def test_the_mean_and_the_first_frame_look_at_valid_frames_alone() -> None:
    frames = torch.full((3, 4, 2), float("nan"))
    valid = torch.zeros(3, 4, dtype=torch.bool)
    frames[0, 0], valid[0, 0] = torch.tensor([1.0, 2.0]), True
    frames[1, 2], valid[1, 2] = torch.tensor([3.0, 4.0]), True
    frames[1, 3], valid[1, 3] = torch.tensor([5.0, 10.0]), True
    frames[2], valid[2] = torch.arange(8.0).view(4, 2), True
    mean = build_temporal(2, TemporalConfig(kind="mean"))
    first = build_temporal(2, TemporalConfig(kind="first_frame"))
    assert mean(frames, valid).tolist() == [[1, 2], [4, 7], [3, 4]]
    assert first(frames, valid).tolist() == [[1, 2], [3, 4], [0, 1]]
    for baseline in (mean, first):
        assert list(baseline.parameters()) == []
        with pytest.raises(InputError, match="at least one frame"):
            baseline(frames, torch.zeros(3, 4, dtype=torch.bool))


def test_faithful_is_the_published_geometry_to_the_tensor() -> None:
    config = ModelConfig(faithful=True)
    with torch.device("meta"):
        shapes = {
            k: tuple(v.shape) for k, v in build_temporal(512, config.temporal).state_dict().items()
        }
    block = {
        "attention_norm.weight": (512,),
        "attention_norm.bias": (512,),
        "attention.to_qkv.weight": (3 * 8 * 2048, 512),
        "attention.to_out.weight": (512, 8 * 2048),
        "attention.to_out.bias": (512,),
        "mlp_norm.weight": (512,),
        "mlp_norm.bias": (512,),
        "mlp.0.weight": (512, 512),
        "mlp.0.bias": (512,),
        "mlp.3.weight": (512, 512),
        "mlp.3.bias": (512,),
    }
    assert shapes == {
        "cls_token": (1, 1, 512),
        "positions": (1, 1024, 512),
        **{f"blocks.{i}.{name}": shape for i in range(2) for name, shape in block.items()},
    }


def test_settings_that_contradict_faithful_are_refused() -> None:
    asked = {"layers": 4, "heads": 8, "mlp_width": 2048}
    with pytest.raises(ValidationError) as caught:
        ModelConfig(faithful=True, temporal=TemporalConfig(**asked))
    assert "temporal.layers must be 2 or left out with faithful: true, got 4" in str(caught.value)
    assert "temporal.mlp_width must be 512 or left out" in str(caught.value)
    config = ModelConfig(faithful=True)
    assert ModelConfig.model_validate(config.model_dump(mode="json")) == config
    with pytest.raises(ValidationError, match=r"at most temporal\.positions - 1 = 31, got 32"):
        ModelConfig(temporal=TemporalConfig(positions=32))
    assert ModelConfig(temporal=TemporalConfig(kind="mean", positions=32)).frames_per_clip == 32
