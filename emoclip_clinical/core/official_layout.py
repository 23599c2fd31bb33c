"""The layout of the published EmoCLIP checkpoints: names of tensors, and geometry from shapes.

Two forms are known. The *full* form is the state of the model that was trained against texts:
`backbone.*` is OpenAI's CLIP with both towers, `temporal.*` the transformer, and `logit_scale` at
the root the scale that was trained (`backbone.logit_scale` is the untouched one of CLIP). The
*downstream* form is the state of the regressor: there `backbone.*` is the image tower alone, and
a head of another name may stand beside it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import open_clip
from torch import Tensor

from emoclip_clinical.core.config import FAITHFUL_TEMPORAL, TemporalConfig, TowerConfig
from emoclip_clinical.records import InputError

CLIP_HEAD_WIDTH = 64
KNOWN_TOWERS = (
    "ViT-B-32-quickgelu",
    "ViT-B-16-quickgelu",
    "ViT-L-14-quickgelu",
    "ViT-L-14-336-quickgelu",
)
BACKBONE_SCALE = "backbone.logit_scale"
NO_WEIGHTS = frozenset({"input_resolution", "context_length", "vocab_size"})
"""Numbers that CLIP's own archives keep beside its tensors."""
TEXT_PREFIXES = (
    "clip.transformer.",
    "clip.token_embedding.",
    "clip.positional_embedding",
    "clip.ln_final.",
    "clip.text_projection",
)
REQUIRED = (
    "clip.visual.conv1.weight",
    "clip.visual.positional_embedding",
    "clip.visual.proj",
    "clip.visual.transformer.resblocks.0.mlp.c_fc.weight",
    "temporal.blocks.0.attention.to_qkv.weight",
    "temporal.blocks.0.mlp.0.weight",
    "temporal.positions",
)
TEXT_REQUIRED = ("clip.positional_embedding", "clip.token_embedding.weight")
TEMPORAL_NAMES = {
    "0.fn.norm.weight": "attention_norm.weight",
    "0.fn.norm.bias": "attention_norm.bias",
    "0.fn.fn.to_qkv.weight": "attention.to_qkv.weight",
    "0.fn.fn.to_out.0.weight": "attention.to_out.weight",
    "0.fn.fn.to_out.0.bias": "attention.to_out.bias",
    "1.fn.norm.weight": "mlp_norm.weight",
    "1.fn.norm.bias": "mlp_norm.bias",
    "1.fn.fn.net.0.weight": "mlp.0.weight",
    "1.fn.fn.net.0.bias": "mlp.0.bias",
    "1.fn.fn.net.3.weight": "mlp.3.weight",
    "1.fn.fn.net.3.bias": "mlp.3.bias",
}
LAYER = re.compile(r"temporal\.temporal_transformer\.layers\.(\d+)\.(.+)")


@dataclass(frozen=True)
class OfficialTensors:
    """The tensors of a published checkpoint, under our names.

    Attributes
    ----------
    tensors : mapping of str to Tensor
        By our name; the untrained scale of the backbone is not among them.
    official_names : mapping of str to str
        From our name to the one in the file.
    backbone_scale : Tensor or None
        CLIP's own `logit_scale`, where the file holds it.
    left_out : tuple of str
        Names in the file of what is no part of our model, sorted: a regression head, for
        example, or the backbone's untrained scale.
    form : str
        `full` or `downstream`.
    """

    tensors: Mapping[str, Tensor]
    official_names: Mapping[str, str]
    backbone_scale: Tensor | None
    left_out: tuple[str, ...]
    form: str

    @property
    def has_text_tower(self) -> bool:
        """Whether any tensor of a text tower is there."""
        return any(name.startswith(TEXT_PREFIXES) for name in self.tensors)


def translate(state: Mapping[str, Tensor]) -> OfficialTensors:
    """Give the tensors of a published checkpoint our names.

    Parameters
    ----------
    state : mapping of str to Tensor
        A state dict, with or without the `module.` of data-parallel training.

    Returns
    -------
    OfficialTensors

    Raises
    ------
    InputError
        If a tensor stands there twice, with and without `module.`.
    """
    plain = {name.removeprefix("module."): value for name, value in state.items()}
    if len(plain) < len(state):
        twice = sorted(name for name in state if f"module.{name}" in state)
        raise InputError([f"tensor {name} stands there with and without module." for name in twice])
    form = "downstream" if "backbone.conv1.weight" in plain else "full"
    ours = {name: _our_name(name, form) for name in plain}
    return OfficialTensors(
        tensors={mine: plain[name] for name, mine in ours.items() if mine is not None},
        official_names={mine: name for name, mine in ours.items() if mine is not None},
        backbone_scale=plain.get(BACKBONE_SCALE),
        left_out=tuple(sorted(name for name, mine in ours.items() if mine is None)),
        form=form,
    )


def _our_name(name: str, form: str) -> str | None:
    """Return our name of a tensor, or None for what is no part of our model.

    What has no place within the backbone or the temporal part keeps its name, so that it shows
    as unexpected: a transformer with more in it than we know is not the one that we build.
    """
    if name == "logit_scale":
        return "clip.logit_scale"
    if name.startswith("backbone."):
        inner = name.removeprefix("backbone.")
        if name == BACKBONE_SCALE or inner in NO_WEIGHTS:
            return None
        return f"clip.visual.{inner}" if form == "downstream" else f"clip.{inner}"
    if name == "temporal.pos_embedding":
        return "temporal.positions"
    if (match := LAYER.fullmatch(name)) and match[2] in TEMPORAL_NAMES:
        return f"temporal.blocks.{match[1]}.{TEMPORAL_NAMES[match[2]]}"
    return name if name.startswith("temporal.") else None


def official_name(ours: str, form: str) -> str:
    """Return the name that a tensor of ours has in a file of the given form."""
    if ours == "clip.logit_scale":
        return "logit_scale"
    if ours == "temporal.positions":
        return "temporal.pos_embedding"
    if match := re.fullmatch(r"temporal\.blocks\.(\d+)\.(.+)", ours):
        back = {mine: theirs for theirs, mine in TEMPORAL_NAMES.items()}
        return f"temporal.temporal_transformer.layers.{match[1]}.{back[match[2]]}"
    prefix = "clip.visual." if form == "downstream" else "clip."
    return f"backbone.{ours.removeprefix(prefix)}" if ours.startswith(prefix) else ours


def check_required(official: OfficialTensors) -> None:
    """Check that the tensors whose shapes give the geometry are there.

    Raises
    ------
    InputError
        Listing those that are missing, by the names that the file's form gives them.
    """
    if missing := [name for name in REQUIRED if name not in official.tensors]:
        names = sorted(official_name(name, official.form) for name in missing)
        raise InputError([f"tensor {name} is missing" for name in names])


def temporal_geometry(tensors: Mapping[str, Tensor]) -> TemporalConfig:
    """Infer the temporal part's geometry; the number of heads, which no shape shows, is 8.

    Raises
    ------
    InputError
        If the shapes belong to no such transformer.
    """
    heads = FAITHFUL_TEMPORAL.heads
    positions = tensors["temporal.positions"]
    to_qkv = tensors["temporal.blocks.0.attention.to_qkv.weight"]
    head_width, odd = divmod(len(to_qkv), 3 * heads)
    if odd or not head_width or positions.ndim != 3 or positions.shape[1] < 2:
        raise InputError(
            f"the temporal part must have queries, keys and values of {heads} heads and at least "
            f"two positions, got tensors of shape {tuple(to_qkv.shape)} and "
            f"{tuple(positions.shape)}"
        )
    return TemporalConfig(
        layers=_count(tensors, r"temporal\.blocks\.(\d+)\."),
        heads=heads,
        head_width=head_width,
        mlp_width=len(tensors["temporal.blocks.0.mlp.0.weight"]),
        positions=positions.shape[1],
    )


def tower_geometry(tensors: Mapping[str, Tensor], *, text: bool) -> TowerConfig:
    """Infer the towers' geometry: a known CLIP by name, or a definition of its own.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        Under our names.
    text : bool
        Whether the text tower is there to be built.

    Raises
    ------
    InputError
        If the shapes belong to no vision transformer of CLIP's kind.
    """
    definition = {
        "embed_dim": int(tensors["clip.visual.proj"].shape[1]),
        "quick_gelu": True,
        "vision_cfg": _vision_geometry(tensors),
        "text_cfg": _text_geometry(tensors) if text else None,
    }
    for name in KNOWN_TOWERS:
        if _agrees(open_clip.get_model_config(name), definition):
            return TowerConfig(name=name, pretrained="none", text=text)
    if not text:
        # Never built: an open_clip configuration is not complete without it.
        definition["text_cfg"] = {"width": CLIP_HEAD_WIDTH, "heads": 1, "layers": 1}
    return TowerConfig(name="imported", definition=definition, pretrained="none", text=text)


def _vision_geometry(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    patches = tensors["clip.visual.conv1.weight"]
    places = len(tensors["clip.visual.positional_embedding"]) - 1
    width, patch = int(patches.shape[0]), int(patches.shape[-1])
    side = math.isqrt(places)
    if side * side != places or width % CLIP_HEAD_WIDTH:
        raise InputError(
            f"the image tower must have a square of patches and a width that {CLIP_HEAD_WIDTH} "
            f"divides, got {places} patches and width {width}"
        )
    geometry: dict[str, Any] = {
        "image_size": side * patch,
        "layers": _count(tensors, r"clip\.visual\.transformer\.resblocks\.(\d+)\."),
        "width": width,
        "patch_size": patch,
    }
    hidden = len(tensors["clip.visual.transformer.resblocks.0.mlp.c_fc.weight"])
    if hidden != 4 * width:
        geometry["mlp_ratio"] = hidden / width
    return geometry


def _text_geometry(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    if missing := [name for name in TEXT_REQUIRED if name not in tensors]:
        raise InputError([f"tensor {official_name(n, 'full')} is missing" for n in missing])
    context, width = tensors["clip.positional_embedding"].shape
    if width % CLIP_HEAD_WIDTH:
        raise InputError(
            f"the text tower must have a width that {CLIP_HEAD_WIDTH} divides, got {width}"
        )
    return {
        "context_length": int(context),
        "vocab_size": len(tensors["clip.token_embedding.weight"]),
        "width": int(width),
        "heads": int(width) // CLIP_HEAD_WIDTH,
        "layers": _count(tensors, r"clip\.transformer\.resblocks\.(\d+)\."),
    }


def _agrees(known: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    return all(known[key] == value for key, value in found.items() if value is not None)


def _count(tensors: Mapping[str, Tensor], pattern: str) -> int:
    """Return one more than the largest number in names; gaps show as missing tensors."""
    numbers = [int(match[1]) for name in tensors if (match := re.match(pattern, name))]
    return max(numbers, default=-1) + 1
