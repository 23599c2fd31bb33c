"""The published EmoCLIP in plain tensor arithmetic, from its description, and random states of it.

Nothing here calls the package or open_clip: it is the independent answer that imports are
compared with.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

State = dict[str, Tensor]
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Size:
    """Numbers that fix every shape of a checkpoint."""

    image: int = 32
    patch: int = 16
    vision_width: int = 128
    vision_layers: int = 2
    embed: int = 32
    context: int = 12
    vocabulary: int = 49408
    text_width: int = 64
    text_layers: int = 1
    temporal_layers: int = 2
    temporal_inner: int = 8 * 24
    temporal_mlp: int = 40
    positions: int = 20


FULL = Size(
    image=224,
    patch=32,
    vision_width=768,
    vision_layers=12,
    embed=512,
    context=77,
    text_width=512,
    text_layers=12,
    temporal_inner=8 * 2048,
    temporal_mlp=512,
    positions=1024,
)


def random_state(size: Size, *, seed: int, text: bool = True) -> State:
    """A state dict in the full form, without the text tower if asked."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int, scale: float | None = None) -> Tensor:
        fan_in = shape[-1] if scale is None else 1
        return torch.randn(*shape, generator=generator) * (scale or 1 / math.sqrt(fan_in))

    def norm(name: str, width: int) -> State:
        return {
            f"{name}.weight": 1 + draw(width, scale=0.1),
            f"{name}.bias": draw(width, scale=0.1),
        }

    def linear(name: str, out: int, into: int) -> State:
        return {f"{name}.weight": draw(out, into), f"{name}.bias": draw(out, scale=0.02)}

    def clip_block(name: str, width: int) -> State:
        return {
            f"{name}.attn.in_proj_weight": draw(3 * width, width),
            f"{name}.attn.in_proj_bias": draw(3 * width, scale=0.02),
            **linear(f"{name}.attn.out_proj", width, width),
            **norm(f"{name}.ln_1", width),
            **linear(f"{name}.mlp.c_fc", 4 * width, width),
            **linear(f"{name}.mlp.c_proj", width, 4 * width),
            **norm(f"{name}.ln_2", width),
        }

    w, visual = size.vision_width, "backbone.visual"
    state: State = {
        "logit_scale": torch.tensor(3.7),
        "backbone.logit_scale": torch.tensor(4.6),
        f"{visual}.class_embedding": draw(w, scale=0.3),
        f"{visual}.positional_embedding": draw((size.image // size.patch) ** 2 + 1, w, scale=0.3),
        f"{visual}.proj": draw(w, size.embed, scale=1 / math.sqrt(w)),
        f"{visual}.conv1.weight": draw(
            w, 3, size.patch, size.patch, scale=1 / math.sqrt(3) / size.patch
        ),
        **norm(f"{visual}.ln_pre", w),
        **norm(f"{visual}.ln_post", w),
    }
    for i in range(size.vision_layers):
        state |= clip_block(f"{visual}.transformer.resblocks.{i}", w)
    if text:
        t = size.text_width
        state |= {
            "backbone.positional_embedding": draw(size.context, t, scale=0.3),
            "backbone.token_embedding.weight": draw(size.vocabulary, t, scale=0.3),
            "backbone.text_projection": draw(t, size.embed, scale=1 / math.sqrt(t)),
            **norm("backbone.ln_final", t),
        }
        for i in range(size.text_layers):
            state |= clip_block(f"backbone.transformer.resblocks.{i}", t)
    d = size.embed
    state |= {
        "temporal.cls_token": draw(1, 1, d, scale=0.3),
        "temporal.pos_embedding": draw(1, size.positions, d, scale=0.3),
    }
    for i in range(size.temporal_layers):
        layer = f"temporal.temporal_transformer.layers.{i}"
        state |= {
            **norm(f"{layer}.0.fn.norm", d),
            f"{layer}.0.fn.fn.to_qkv.weight": draw(3 * size.temporal_inner, d),
            **linear(f"{layer}.0.fn.fn.to_out.0", d, size.temporal_inner),
            **norm(f"{layer}.1.fn.norm", d),
            **linear(f"{layer}.1.fn.fn.net.0", size.temporal_mlp, d),
            **linear(f"{layer}.1.fn.fn.net.3", d, size.temporal_mlp),
        }
    return state


def downstream(state: State) -> State:
    """The same weights as the regressor's state: image tower and temporal part alone."""
    out = {k: v for k, v in state.items() if k.startswith("temporal.")}
    for name, value in state.items():
        if name.startswith("backbone.visual."):
            out["backbone." + name.removeprefix("backbone.visual.")] = value
    return out


def _norm(x: Tensor, s: State, name: str) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred / torch.sqrt((centred * centred).mean(-1, keepdim=True) + 1e-5)
    return scaled * s[f"{name}.weight"] + s[f"{name}.bias"]


def _linear(x: Tensor, s: State, name: str) -> Tensor:
    return x @ s[f"{name}.weight"].T + s[f"{name}.bias"]


def _attention(qkv: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    """Softmax attention of one sequence, head by head; qkv is (t, 3 * inner)."""
    q, k, v = qkv.chunk(3, dim=-1)
    width = q.shape[-1] // heads
    out = []
    for h in range(heads):
        part = slice(h * width, (h + 1) * width)
        weights = q[:, part] @ k[:, part].T / math.sqrt(width)
        if mask is not None:
            weights = weights + mask
        out.append(torch.softmax(weights, dim=-1) @ v[:, part])
    return torch.cat(out, dim=-1)


def _clip_block(x: Tensor, s: State, name: str, mask: Tensor | None = None) -> Tensor:
    n = _norm(x, s, f"{name}.ln_1")
    qkv = n @ s[f"{name}.attn.in_proj_weight"].T + s[f"{name}.attn.in_proj_bias"]
    mixed = _attention(qkv, x.shape[-1] // 64, mask)
    x = x + _linear(mixed, s, f"{name}.attn.out_proj")
    hidden = _linear(_norm(x, s, f"{name}.ln_2"), s, f"{name}.mlp.c_fc")
    hidden = hidden * torch.sigmoid(1.702 * hidden)  # QuickGELU
    return x + _linear(hidden, s, f"{name}.mlp.c_proj")


def encode_picture(picture: Tensor, s: State, size: Size) -> Tensor:
    """One picture (3, side, side), uint8, as (embed,), not normalised."""
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (CLIP_MEAN, CLIP_STD))
    x = (picture.float() / 255 - mean) / std
    visual, p, rows = "backbone.visual", size.patch, size.image // size.patch
    patches = [
        x[:, i * p : (i + 1) * p, j * p : (j + 1) * p].reshape(-1)
        for i in range(rows)
        for j in range(rows)
    ]
    kernel = s[f"{visual}.conv1.weight"].reshape(size.vision_width, -1)
    tokens = torch.cat([s[f"{visual}.class_embedding"][None], torch.stack(patches) @ kernel.T])
    tokens = _norm(tokens + s[f"{visual}.positional_embedding"], s, f"{visual}.ln_pre")
    for i in range(size.vision_layers):
        tokens = _clip_block(tokens, s, f"{visual}.transformer.resblocks.{i}")
    return _norm(tokens[0], s, f"{visual}.ln_post") @ s[f"{visual}.proj"]


def encode_tokens(tokens: Tensor, s: State, size: Size) -> Tensor:
    """One text's token ids (context,) as (embed,), normalised; the end token has the largest id."""
    x = s["backbone.token_embedding.weight"][tokens] + s["backbone.positional_embedding"]
    mask = torch.full((size.context, size.context), float("-inf")).triu(1)
    for i in range(size.text_layers):
        x = _clip_block(x, s, f"backbone.transformer.resblocks.{i}", mask)
    out = _norm(x, s, "backbone.ln_final")[tokens.argmax()] @ s["backbone.text_projection"]
    return out / out.norm()


def encode_clip(frames: Tensor, s: State, size: Size) -> Tensor:
    """One clip (t, 3, side, side), uint8, as (embed,), normalised."""
    vectors = torch.stack([encode_picture(f, s, size) for f in frames])
    x = torch.cat([s["temporal.cls_token"][0], vectors])
    x = x + s["temporal.pos_embedding"][0, : len(x)]
    for i in range(size.temporal_layers):
        layer = f"temporal.temporal_transformer.layers.{i}"
        qkv = _norm(x, s, f"{layer}.0.fn.norm") @ s[f"{layer}.0.fn.fn.to_qkv.weight"].T
        x = x + _linear(_attention(qkv, 8), s, f"{layer}.0.fn.fn.to_out.0")
        h = _linear(_norm(x, s, f"{layer}.1.fn.norm"), s, f"{layer}.1.fn.fn.net.0")
        h = 0.5 * h * (1 + torch.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3)))
        x = x + _linear(h, s, f"{layer}.1.fn.fn.net.3")
    return x[0] / x[0].norm()
