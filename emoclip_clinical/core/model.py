"""EmoCLIP: open_clip towers under a temporal part."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from emoclip_clinical.core.config import ModelConfig
from emoclip_clinical.core.preprocessing import Preprocessing
from emoclip_clinical.core.temporal import build_temporal
from emoclip_clinical.core.tokenizer import Tokenizer
from emoclip_clinical.core.towers import build_towers, has_text_tower, parameters_without_memory
from emoclip_clinical.records import InputError

LARGEST_LOG_SCALE = math.log(100.0)


class EmoCLIP(nn.Module):
    """Frames → image tower → temporal part → clip embedding; text tower beside it.

    Parameters
    ----------
    clip : Module
        An open_clip model (`CLIP`, `CustomTextCLIP` or `CoCa`), with or without its text tower.
    config : ModelConfig
        Geometry of the temporal part.
    width : int
        Width of the shared space.
    """

    def __init__(self, clip: nn.Module, *, config: ModelConfig, width: int) -> None:
        super().__init__()
        self.clip = clip
        self.temporal = build_temporal(width, config.temporal)
        self.width = width

    def encode_frames(self, images: Tensor) -> Tensor:
        """Encode normalised images of shape (n, 3, s, s) as (n, width), not normalised."""
        out: Tensor = self.clip.encode_image(images, normalize=False)  # type: ignore[operator]
        return out

    def encode_sequences(self, frames: Tensor, valid: Tensor) -> Tensor:
        """Embed frame vectors (n, t, width) with mask (n, t) as (n, width), L2-normalised."""
        return functional.normalize(self.temporal(frames, valid), dim=-1)

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Embed token ids of shape (n, context) as (n, width), L2-normalised.

        Raises
        ------
        InputError
            If the model has no text tower.
        """
        if not self.has_text_tower:
            raise InputError(
                "this model has no text tower, so it embeds clips but neither embeds texts nor "
                "scores clips against them (import-checkpoint --add-text-tower adds one)"
            )
        out: Tensor = self.clip.encode_text(tokens, normalize=True)  # type: ignore[operator]
        return out

    @property
    def has_text_tower(self) -> bool:
        """Whether texts can be embedded."""
        return has_text_tower(self.clip)

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
    """A model with what is needed to feed it.

    Attributes
    ----------
    model : EmoCLIP
        The network.
    preprocessing : Preprocessing
        How a picture becomes its input.
    tokenizer : Tokenizer
        How a text becomes its input.
    """

    model: EmoCLIP
    preprocessing: Preprocessing
    tokenizer: Tokenizer


def build_model(config: ModelConfig, *, seed: int, load_weights: bool = True) -> BuiltModel:
    """Build the model that a configuration describes.

    Parameters
    ----------
    config : ModelConfig
        Towers, temporal part and clock.
    seed : int
        Of every random weight.
    load_weights : bool
        False leaves every parameter on torch's `meta` device, without memory or values, for
        the tensors of a checkpoint to be assigned to, whatever `config.tower.pretrained` says.

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
        towers = build_towers(config.tower, load_weights=load_weights)
        with parameters_without_memory(not load_weights):
            model = EmoCLIP(towers.clip, config=config, width=towers.width)
    preprocessing = towers.preprocessing
    if config.faithful:
        preprocessing = replace(
            preprocessing, resize=replace(preprocessing.resize, antialias=False)
        )
    return BuiltModel(model.eval(), preprocessing, towers.tokenizer)


def resolve_device(name: str) -> torch.device:
    """Return the device for `auto`, `cpu` or `cuda[:k]`.

    Raises
    ------
    InputError
        For another name, or a GPU that this machine does not have.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise InputError(f"device must be auto, cpu, cuda or cuda:<number>, got {name!r}")
    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name.startswith("cuda") and n_gpus == 0:
        raise InputError(f"device {name!r} was asked for, but torch sees no GPU on this machine")
    if name.startswith("cuda:") and int(name[5:]) >= n_gpus:
        raise InputError(f"device {name!r} was asked for; GPUs here count from 0 to {n_gpus - 1}")
    return torch.device(name)


def further_devices() -> tuple[str, ...]:
    """Return the GPUs of this machine beside the first, ``cuda:1`` and so on."""
    return tuple(f"cuda:{k}" for k in range(1, torch.cuda.device_count()))


def derived_seed(seed: int, *path: int) -> int:
    """Return an independent seed for a part of the work that `path` numbers."""
    return int(np.random.SeedSequence([seed, *path]).generate_state(1)[0])
