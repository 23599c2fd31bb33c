"""Known answers of the real OpenAI ViT-B/32, for its weights and for the code that reads them.

The numbers are facts that others published. Vision: what the model gives for a picture whose
normalised values are all 0.5 (test suite of the Elixir library Bumblebee, Apache-2.0). Texts: the
first coordinates of the L2-normalised embeddings of "a {name}" for classes of LVIS v1, computed in
half precision (Detic, Apache-2.0).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from emoclip_clinical.core.config import TowerConfig
from emoclip_clinical.core.hub import cached_weights
from emoclip_clinical.core.tokenizer import Tokenizer
from emoclip_clinical.core.towers import Towers, build_towers

TOWER = TowerConfig()
"""ViT-B-32-quickgelu with OpenAI's weights, the default towers."""

HIDDEN_STATE = (
    (0.3465, -0.3939, -0.5297),
    (0.3588, -0.2529, -0.5606),
    (0.3958, -0.2688, -0.5367),
)
"""Last hidden state, tokens 1 to 3 (0 is CLS), coordinates 1 to 3."""
POOLED = (0.3602, 0.3658, -0.2337)
"""CLS after the final norm, coordinates 1 to 3."""
EMBEDDING = (-0.3381, -0.0196, -0.4053)
"""Projected embedding, coordinates 1 to 3."""
TEXTS = {
    "a apple": (-0.0100, 0.0234, 0.0106, 0.0244, -0.0002, -0.0362),
    "a banana": (0.0292, 0.0191, 0.0215, 0.0422, -0.0357, -0.0265),
    "a cat": (0.0180, -0.0185, -0.0139, -0.0246, -0.0040, 0.0180),
    "a dog": (0.0127, 0.0020, -0.0256, 0.0069, 0.0011, 0.0128),
    "a guitar": (0.0194, -0.0264, -0.0054, 0.0046, 0.0023, 0.0003),
    "a pillow": (0.0292, 0.0297, -0.0377, 0.0016, -0.0087, -0.0184),
    "a umbrella": (0.0286, 0.0554, -0.0263, -0.0199, -0.0072, -0.0442),
    "a zebra": (-0.0097, -0.0129, 0.0156, -0.0184, -0.0036, 0.0032),
}
"""First six coordinates of the normalised text embeddings."""
VISION_TOLERANCE = 1e-3
TEXT_TOLERANCE = 2e-3


@dataclass(frozen=True)
class KnownAnswer:
    """One comparison.

    Attributes
    ----------
    what : str
        Which numbers.
    largest_error : float
        Largest absolute difference from the published numbers.
    tolerance : float
        What rounding and half precision explain.
    """

    what: str
    largest_error: float
    tolerance: float

    @property
    def holds(self) -> bool:
        """Whether the difference is within the tolerance."""
        return self.largest_error <= self.tolerance


def check_cached_weights() -> tuple[KnownAnswer, ...] | None:
    """Compare OpenAI's ViT-B/32 with its known answers; nothing is fetched.

    Returns
    -------
    tuple of KnownAnswer, or None
        None where the weights are not in the hub's cache on this machine.

    Raises
    ------
    InputError
        If the file in the cache can not be loaded.
    """
    if cached_weights(TOWER.name, TOWER.pretrained) is None:
        return None
    return compare(build_towers(TOWER))


def compare(towers: Towers) -> tuple[KnownAnswer, ...]:
    """Compare a ViT-B/32 with the known answers.

    Parameters
    ----------
    towers : Towers
        Of the geometry of OpenAI's ViT-B/32.
    """
    clip = towers.clip.eval()
    side = towers.preprocessing.image_size_pixels
    hidden, pooled, embedding = vision_states(clip, torch.full((1, 3, side, side), 0.5))
    texts = text_embeddings(clip, towers.tokenizer, list(TEXTS))
    wanted = np.array(list(TEXTS.values()))
    return (
        _answer("vision, last hidden state", hidden[0, 1:4, 1:4], HIDDEN_STATE, VISION_TOLERANCE),
        _answer("vision, pooled output", pooled[0, 1:4], POOLED, VISION_TOLERANCE),
        _answer("vision, embedding", embedding[0, 1:4], EMBEDDING, VISION_TOLERANCE),
        _answer("text embeddings", texts[:, : wanted.shape[1]], wanted, TEXT_TOLERANCE),
    )


def vision_states(clip: nn.Module, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return what a vision transformer of open_clip holds before its embedding, and that.

    Parameters
    ----------
    clip : Module
        With a vision transformer.
    pictures : Tensor of shape (n, 3, s, s)
        Normalised.

    Returns
    -------
    hidden : Tensor of shape (n, 1 + n_patches, vision width)
        Behind the last block, before the final norm.
    pooled : Tensor of shape (n, vision width)
        CLS behind the final norm.
    embedding : Tensor of shape (n, d)
        Projected, not normalised.
    """
    visual: Any = clip.visual
    kept: dict[str, Tensor] = {}
    hooks = [
        module.register_forward_hook(lambda _m, _i, out, name=name: kept.update({name: out}))
        for name, module in (("hidden", visual.transformer), ("pooled", visual.ln_post))
    ]
    try:
        with torch.inference_mode():
            embedding: Tensor = clip.encode_image(pictures, normalize=False)  # type: ignore[operator]
    finally:
        for hook in hooks:
            hook.remove()
    pooled = kept["pooled"]
    return kept["hidden"], pooled[:, 0] if pooled.ndim == 3 else pooled, embedding


def text_embeddings(clip: nn.Module, tokenizer: Tokenizer, texts: list[str]) -> Tensor:
    """Return L2-normalised text embeddings of shape (n, d)."""
    with torch.inference_mode():
        vectors: Tensor = clip.encode_text(tokenizer(texts))  # type: ignore[operator]
        return functional.normalize(vectors, dim=-1)


def _answer(what: str, got: Tensor, wanted: object, tolerance: float) -> KnownAnswer:
    error = np.abs(got.double().numpy() - np.asarray(wanted, dtype=np.float64)).max()
    return KnownAnswer(what, float(error), tolerance)
