"""The temporal part: from the frame vectors of a clip to one vector."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from emoclip_clinical.core.config import TemporalConfig
from emoclip_clinical.records import InputError


class Attention(nn.Module):
    """Multi-head self-attention whose head width is free of the token width."""

    def __init__(self, width: int, config: TemporalConfig) -> None:
        super().__init__()
        inner = config.heads * config.head_width
        self.heads = config.heads
        self.dropout = config.dropout
        self.to_qkv = nn.Linear(width, 3 * inner, bias=False)
        self.to_out = nn.Linear(inner, width)

    def forward(self, tokens: Tensor, attend: Tensor) -> Tensor:
        """Mix tokens of shape (n, t, width); `attend` (n, 1, 1, t) is False at padding."""
        n, t, _ = tokens.shape
        q, k, v = self.to_qkv(tokens).view(n, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(
            q, k, v, attn_mask=attend, dropout_p=self.dropout if self.training else 0.0
        )
        out: Tensor = self.to_out(mixed.transpose(1, 2).reshape(n, t, -1))
        return out


class Block(nn.Module):
    """Attention and MLP, each with a norm before it and a residual around it."""

    def __init__(self, width: int, config: TemporalConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, config)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, config.mlp_width),
            nn.GELU(approximate="tanh"),
            nn.Dropout(config.dropout),
            nn.Linear(config.mlp_width, width),
            nn.Dropout(config.dropout),
        )

    def forward(self, tokens: Tensor, attend: Tensor) -> Tensor:
        """Return tokens of the same shape (n, t, width)."""
        tokens = tokens + self.attention(self.attention_norm(tokens), attend)
        out: Tensor = tokens + self.mlp(self.mlp_norm(tokens))
        return out


class TemporalTransformer(nn.Module):
    """A pre-norm transformer over [CLS] and frame vectors; its output is the CLS token.

    Learned positions are added to every token, CLS included (EmoCLIP, arXiv 2310.16640).

    Parameters
    ----------
    width : int
        Width of the frame vectors and of the output.
    config : TemporalConfig
        Geometry.
    """

    def __init__(self, width: int, config: TemporalConfig) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.positions = nn.Parameter(0.02 * torch.randn(1, config.positions, width))
        self.blocks = nn.ModuleList(Block(width, config) for _ in range(config.layers))

    def forward(self, frames: Tensor, valid: Tensor) -> Tensor:
        """Embed sequences of frames.

        Parameters
        ----------
        frames : Tensor of shape (n, t, width)
            Frame vectors; what stands at padded places is without influence.
        valid : bool Tensor of shape (n, t)
            False at padding.

        Returns
        -------
        Tensor of shape (n, width)
            Not normalised.

        Raises
        ------
        InputError
            If a sequence has no frame, or more than the positions hold.
        """
        n, t, _ = frames.shape
        longest = self.positions.shape[1] - 1
        if t > longest:
            raise InputError(f"a clip may have at most {longest} sampled frames, got {t}")
        frames = _without_padding(frames, valid)
        tokens = torch.cat([self.cls_token.expand(n, -1, -1), frames], dim=1)
        tokens = tokens + self.positions[:, : t + 1]
        attend = functional.pad(valid, (1, 0), value=True)[:, None, None, :]
        for block in self.blocks:
            tokens = block(tokens, attend)
        return tokens[:, 0]


class FrameMean(nn.Module):
    """The mean of a clip's valid frame vectors, the frame ensemble. Nothing to learn."""

    def forward(self, frames: Tensor, valid: Tensor) -> Tensor:
        """Embed sequences (n, t, width) with mask (n, t) as (n, width), not normalised."""
        out: Tensor = _without_padding(frames, valid).sum(dim=1) / valid.sum(dim=1, keepdim=True)
        return out


class FirstFrame(nn.Module):
    """A clip's first valid frame vector: what CLIP knows without any time. Nothing to learn."""

    def forward(self, frames: Tensor, valid: Tensor) -> Tensor:
        """Embed sequences (n, t, width) with mask (n, t) as (n, width), not normalised."""
        frames = _without_padding(frames, valid)
        first = valid.to(torch.uint8).argmax(dim=1)
        return frames[torch.arange(len(frames), device=frames.device), first]


def build_temporal(width: int, config: TemporalConfig) -> nn.Module:
    """Build the temporal part that `config.kind` names.

    Parameters
    ----------
    width : int
        Width of the frame vectors and of the output.
    config : TemporalConfig
        Kind and geometry.

    Returns
    -------
    Module
        Called with frames (n, t, width) and a mask (n, t), gives (n, width).
    """
    if config.kind == "mean":
        return FrameMean()
    if config.kind == "first_frame":
        return FirstFrame()
    return TemporalTransformer(width, config)


def _without_padding(frames: Tensor, valid: Tensor) -> Tensor:
    """Zero what is padding: a masked key would still carry weight 0 * NaN."""
    # A look at values would cut a compiled model in two.
    if not torch.compiler.is_compiling() and not bool(valid.any(dim=1).all()):
        raise InputError("every clip needs at least one frame, got one without any")
    return frames.masked_fill(~valid.unsqueeze(-1), 0.0)
