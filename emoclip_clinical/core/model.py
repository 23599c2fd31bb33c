"""EmoCLIP: open_clip towers under a temporal transformer."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from torch import Tensor, nn
from torch.nn import functional

from emoclip_clinical.core import small_tower  # noqa: F401  (registers the tower with timm)
from emoclip_clinical.core.config import ModelConfig, TowerConfig
from emoclip_clinical.core.temporal import TemporalTransformer
from emoclip_clinical.records import InputError

LARGEST_LOG_SCALE = math.log(100.0)


@dataclass(frozen=True)
class Preprocessing:
    """How a picture becomes the tower's input.

    Attributes
    ----------
    image_size_pixels : int
        Side of the square that the tower takes.
    mean, std : tuple of float
        Per channel, on the scale 0 to 1.
    """

    image_size_pixels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


class EmoCLIP(nn.Module):
    """Frames → image tower → temporal transformer → clip embedding; text tower beside it.

    Parameters
    ----------
    clip : Module
        An open_clip model (`CLIP` or `CustomTextCLIP`).
    config : ModelConfig
        Geometry of the temporal part.
    width : int
        Width of the shared space.
    """

    def __init__(self, clip: nn.Module, *, config: ModelConfig, width: int) -> None:
        super().__init__()
        self.clip = clip
        self.temporal = TemporalTransformer(width, config.temporal)
        self.width = width

    def encode_frames(self, images: Tensor) -> Tensor:
        """Encode normalised images of shape (n, 3, s, s) as (n, width), not normalised."""
        out: Tensor = self.clip.encode_image(images)  # type: ignore[operator]
        return out

    def encode_sequences(self, frames: Tensor, valid: Tensor) -> Tensor:
        """Embed frame vectors (n, t, width) with mask (n, t) as (n, width), L2-normalised."""
        return functional.normalize(self.temporal(frames, valid), dim=-1)

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Embed token ids of shape (n, context) as (n, width), L2-normalised."""
        out: Tensor = self.clip.encode_text(tokens, normalize=True)  # type: ignore[operator]
        return out

    @property
    def log_scale(self) -> nn.Parameter:
        """Logarithm of the factor on the cosines, a trained scalar."""
        scale = self.clip.logit_scale
        assert isinstance(scale, nn.Parameter)
        return scale

    def clamp_scale(self) -> None:
        """Keep the factor on the cosines within 1 and 100, as CLIP's training does."""
        with torch.no_grad():
            self.log_scale.clamp_(0.0, LARGEST_LOG_SCALE)


@dataclass(frozen=True)
class BuiltModel:
    """A model with what is needed to feed it."""

    model: EmoCLIP
    preprocessing: Preprocessing
    tokenizer: Any
    definition: dict[str, Any]


def build_model(config: ModelConfig, *, seed: int, load_weights: bool = True) -> BuiltModel:
    """Build the model that a configuration describes.

    Parameters
    ----------
    config : ModelConfig
        Towers, temporal part and clock.
    seed : int
        Of every random weight.
    load_weights : bool
        False builds the towers with random weights whatever `config.tower.pretrained` says,
        for a checkpoint to be loaded into.

    Returns
    -------
    BuiltModel
        In evaluation mode, on the CPU, in float32.

    Raises
    ------
    InputError
        For an architecture or weights that open_clip does not know or can not get.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        clip, definition = _build_towers(config.tower, load_weights=load_weights)
        width = int(definition["embed_dim"])
        model = EmoCLIP(clip, config=config, width=width)
    return BuiltModel(
        model=model.eval(),
        preprocessing=_preprocessing(clip),
        tokenizer=_tokenizer(config.tower, definition),
        definition=definition,
    )


def _build_towers(tower: TowerConfig, *, load_weights: bool) -> tuple[nn.Module, dict[str, Any]]:
    weights = tower.pretrained if load_weights and tower.pretrained != "none" else None
    if tower.definition is not None:
        if weights is not None:
            raise InputError(
                "towers with a `definition` of their own start from random weights: "
                f"`pretrained` must be none, got {tower.pretrained!r}"
            )
        return _from_definition(tower), dict(tower.definition)
    definition = open_clip.get_model_config(tower.name)
    if definition is None:
        raise InputError(
            f"tower must be an architecture of open_clip, got {tower.name!r}"
            f"{_near(tower.name, open_clip.list_models())}"
        )
    if weights is not None and not Path(weights).is_file():
        tags = open_clip.list_pretrained_tags_by_model(tower.name)
        if weights not in tags:
            raise InputError(
                f"pretrained must be none, a file, or one of {', '.join(tags) or '(no tags)'} "
                f"for {tower.name}, got {weights!r}"
            )
    # open_clip warns on the root logger that weights are random, which here is meant.
    quiet = logging.getLogger()
    quiet.addFilter(_not_about_random_weights)
    try:
        clip = open_clip.create_model(
            tower.name, pretrained=weights, pretrained_text=False, weights_only=True
        )
    except Exception as error:
        if weights is None:
            raise
        raise InputError(
            f"the weights {weights!r} of {tower.name} can not be loaded: "
            f"{type(error).__name__}: {str(error).splitlines()[0]}. They are fetched once through "
            "open_clip into the hub's cache; on a machine without a network give a file, or "
            "--pretrained none for random weights"
        ) from error
    finally:
        quiet.removeFilter(_not_about_random_weights)
    return clip, definition


def _not_about_random_weights(record: logging.LogRecord) -> bool:
    return "No pretrained weights loaded" not in record.getMessage()


def _from_definition(tower: TowerConfig) -> nn.Module:
    definition = dict(tower.definition or {})
    needed = {"embed_dim", "vision_cfg", "text_cfg"}
    if missing := sorted(needed - definition.keys()):
        raise InputError(f"definition of tower {tower.name!r} lacks {', '.join(missing)}")
    try:
        clip: nn.Module = open_clip.CLIP(**definition)
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise InputError(
            f"definition of tower {tower.name!r} is not an open_clip configuration: {error}"
        ) from error
    return clip


def _preprocessing(clip: nn.Module) -> Preprocessing:
    visual: Any = clip.visual
    size = visual.image_size
    known = open_clip.model.get_model_preprocess_cfg(clip)
    return Preprocessing(
        image_size_pixels=int(size[0] if isinstance(size, tuple | list) else size),
        mean=tuple(float(x) for x in known.get("mean", OPENAI_DATASET_MEAN)),
        std=tuple(float(x) for x in known.get("std", OPENAI_DATASET_STD)),
    )


def _tokenizer(tower: TowerConfig, definition: dict[str, Any]) -> Any:
    if tower.definition is None:
        return open_clip.get_tokenizer(tower.name)
    return open_clip.SimpleTokenizer(context_length=definition["text_cfg"]["context_length"])


def _near(name: str, known: list[str]) -> str:
    import difflib

    close = difflib.get_close_matches(name, known, n=3)
    return f"; did you mean {', '.join(close)}?" if close else ""


def resolve_device(name: str) -> torch.device:
    """Return the device for `auto`, `cpu` or `cuda[:k]`.

    Raises
    ------
    InputError
        For another name, or a GPU that this machine does not have.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name != "cpu" and not name.startswith("cuda"):
        raise InputError(f"device must be auto, cpu or cuda, got {name!r}")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"device {name!r} was asked for, but torch sees no GPU on this machine")
    return torch.device(name)


def derived_seed(seed: int, *path: int) -> int:
    """Return an independent seed for a part of the work that `path` numbers."""
    return int(np.random.SeedSequence([seed, *path]).generate_state(1)[0])
