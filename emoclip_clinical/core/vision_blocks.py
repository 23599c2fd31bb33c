"""The blocks of open_clip's vision transformers, for use alone: the same vectors for less work.

open_clip computes every token to the end, and most of its towers then keep the class token. What
the last block does to the others goes nowhere: without it a picture's vector is the same but for
rounding, and one of ViT-B/32's twelve blocks costs a sixth of the others.
"""

from __future__ import annotations

import copy
from typing import Any, TypeVar

from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

_Module = TypeVar("_Module", bound=nn.Module)


def without_unused_tokens(visual: nn.Module) -> nn.Module:
    """Return an image tower whose last block makes the class token alone.

    Parameters
    ----------
    visual : Module
        Any image tower, for use and not for training.

    Returns
    -------
    Module
        Sharing every weight with `visual`; or `visual` itself, where it is none of open_clip's
        transformers, or takes more than the class token from its last block.
    """
    blocks = _plain_blocks(visual)
    if not blocks or not _takes_class_token(visual):
        return visual
    return _with_blocks(visual, [*blocks[:-1], PlainBlock(blocks[-1], class_token_only=True)])


def in_plain_operations(visual: nn.Module) -> nn.Module:
    """Return an image tower whose blocks are `PlainBlock`, which make a leaner ONNX network.

    Parameters
    ----------
    visual : Module
        Any image tower, for use and not for training.

    Returns
    -------
    Module
        As `without_unused_tokens` does, where `visual` is one of open_clip's transformers; or
        `visual` itself.
    """
    blocks = _plain_blocks(visual)
    if not blocks:
        return visual
    last = PlainBlock(blocks[-1], class_token_only=_takes_class_token(visual))
    return _with_blocks(visual, [*map(PlainBlock, blocks[:-1]), last])


class PlainBlock(nn.Module):
    """A block whose attention is spelled out.

    `nn.MultiheadAttention` puts tokens before pictures and splits its weights while it runs, all
    of which an exported network would repeat with each picture.

    Parameters
    ----------
    block : ResidualAttentionBlock
        Its weights are used as they are.
    class_token_only : bool
        Whether only the first token is wanted; it attends to all of them.
    """

    def __init__(self, block: ResidualAttentionBlock, *, class_token_only: bool = False) -> None:
        super().__init__()
        self.block = block
        self.class_token_only = class_token_only

    def forward(self, tokens: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        """Map tokens (n, t, d) to as many, or to (n, 1, d)."""
        assert attn_mask is None, "pictures have no mask"
        block = self.block
        asked = asking = block.ln_1(tokens)
        if self.class_token_only:
            tokens, asking = tokens[:, :1], asked[:, :1]
        tokens = tokens + block.ls_1(_attend(block.attn, asking, asked))
        out: Tensor = tokens + block.ls_2(block.mlp(block.ln_2(tokens)))
        return out


def _attend(attention: nn.MultiheadAttention, asking: Tensor, asked: Tensor) -> Tensor:
    weights, biases = attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3)
    by_head = (
        functional.linear(part, weight, bias)
        .unflatten(2, (attention.num_heads, attention.head_dim))
        .transpose(1, 2)
        for part, weight, bias in zip((asking, asked, asked), weights, biases, strict=True)
    )
    seen = functional.scaled_dot_product_attention(*by_head)
    out: Tensor = attention.out_proj(seen.transpose(1, 2).flatten(2))
    return out


def _plain_blocks(visual: Any) -> list[nn.Module]:
    """Return the blocks of a transformer that is as open_clip makes it; none of any other tower."""
    # A subclass may compute anything.
    if type(visual) is not VisionTransformer:
        return []
    blocks = list(visual.transformer.resblocks)
    plain = all(
        type(block) is ResidualAttentionBlock and type(block.attn) is nn.MultiheadAttention
        for block in blocks
    )
    return blocks if plain else []


def _takes_class_token(visual: Any) -> bool:
    return visual.attn_pool is None and visual.pool_type == "tok" and not visual.output_tokens


def _with_blocks(visual: Any, blocks: list[nn.Module]) -> nn.Module:
    transformer = with_part(visual.transformer, "resblocks", nn.ModuleList(blocks))
    tower: nn.Module = with_part(visual, "transformer", transformer)
    return tower


def with_part(module: _Module, name: str, part: nn.Module) -> _Module:
    """Return a module that shares every part with another one but the one named."""
    twin = copy.copy(module)
    # A copied module shares its table of parts with the original.
    twin._modules = {**module._modules, name: part}
    return twin
