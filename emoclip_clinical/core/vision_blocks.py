"""The parts of open_clip's vision transformers, for use alone: the same vectors for less work.

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
    """Return an image tower of `PlainBlock` and `PlainPatches`, which make a leaner ONNX network.

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
    plain = _with_blocks(visual, [*map(PlainBlock, blocks[:-1]), last])
    return with_part(plain, "conv1", _plain_patches(visual))


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


class PlainPatches(nn.Module):
    """The first layer, as the product of matrices that it is: a row of pixels for each patch.

    Parameters
    ----------
    convolution : Conv2d
        Whose windows lie side by side; its weights are used as they are.
    grid_size : tuple of int
        Rows and columns of patches.
    """

    def __init__(self, convolution: nn.Conv2d, *, grid_size: tuple[int, int]) -> None:
        super().__init__()
        self.convolution = convolution
        self.grid_size = grid_size

    def forward(self, pictures: Tensor) -> Tensor:
        """Map pictures (n, c, height, width) to (n, d, rows, columns) of patches."""
        weight, (height, width) = self.convolution.weight, self.convolution.kernel_size
        n_channels, rows, columns = weight.shape[1], *self.grid_size
        patches = pictures.reshape(-1, n_channels, rows, height, columns, width)
        pixels = patches.permute(0, 2, 4, 1, 3, 5)
        pixels = pixels.reshape(-1, rows * columns, n_channels * height * width)
        vectors = functional.linear(pixels, weight.flatten(1), self.convolution.bias)
        return vectors.transpose(1, 2).reshape(-1, len(weight), rows, columns)


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


def _plain_patches(visual: Any) -> nn.Module:
    return PlainPatches(visual.conv1, grid_size=visual.grid_size)


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
