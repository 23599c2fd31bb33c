"""Image and text towers: any architecture of open_clip by name, or one by its definition."""

from __future__ import annotations

import copy
import difflib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
from open_clip.transform import PreprocessCfg
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from emoclip_clinical.core import small_tower  # noqa: F401  (registers the tower with timm)
from emoclip_clinical.core.config import TowerConfig
from emoclip_clinical.core.finite import not_finite
from emoclip_clinical.core.hub import fetch_weights, quiet_hub, require_repository_file
from emoclip_clinical.core.preprocessing import Preprocessing, Resize
from emoclip_clinical.core.tokenizer import Tokenizer
from emoclip_clinical.records import InputError

TEXT_PARTS = (
    "transformer",
    "token_embedding",
    "positional_embedding",
    "ln_final",
    "text_projection",
    "attn_mask",
    "text",
)


@dataclass(frozen=True)
class Towers:
    """An open_clip model with what is needed to feed it.

    Attributes
    ----------
    clip : Module
        `CLIP`, `CustomTextCLIP` or `CoCa`.
    width : int
        Width of the shared space.
    preprocessing : Preprocessing
        open_clip's own for the weights (mean, std, size, resize mode, interpolation).
    tokenizer : Tokenizer
        The text tower's own.
    """

    clip: nn.Module
    width: int
    preprocessing: Preprocessing
    tokenizer: Tokenizer


def build_towers(config: TowerConfig, *, load_weights: bool = True) -> Towers:
    """Build the towers that a configuration describes.

    Preprocessing is that of the weights named by `pretrained`. For random weights and for a
    file it is what all published weights of the architecture have in common, and CLIP's where
    they differ or there are none.

    What plays no part in an embedding is dropped: a SigLIP's `logit_bias` (one number added to
    every logit changes neither a cosine, nor a softmax over texts, nor the contrastive loss) and
    the caption decoder of a CoCa.

    Parameters
    ----------
    config : TowerConfig
        Which.
    load_weights : bool
        False leaves every parameter on torch's `meta` device, without memory or values, for a
        checkpoint to be assigned to; except in the few architectures that run while they are
        built, which have random weights then.

    Returns
    -------
    Towers
        On the CPU, in float32.

    Raises
    ------
    InputError
        For an architecture or weights that open_clip does not know or can not get.
    """
    definition = _definition(config)
    file = _weights_file(config) if load_weights and config.pretrained != "none" else None
    clip = _instantiate(config, definition) if load_weights else _bare(config, definition)
    if file is not None:
        load_weights_file(clip, file)
    _drop_what_embeds_nothing(clip)
    if not config.text:
        drop_text_tower(clip)
    return Towers(
        clip=clip,
        width=int(definition["embed_dim"]),
        preprocessing=_preprocessing(clip, config),
        tokenizer=Tokenizer(definition["text_cfg"]),
    )


def has_text_tower(clip: nn.Module) -> bool:
    """Say whether texts can be embedded."""
    return any(getattr(clip, name, None) is not None for name in ("text", "token_embedding"))


def drop_text_tower(clip: nn.Module) -> None:
    """Take the text tower out, in place."""
    for name in TEXT_PARTS:
        if hasattr(clip, name):
            setattr(clip, name, None)


def _drop_what_embeds_nothing(clip: nn.Module) -> None:
    for name in ("logit_bias", "text_decoder"):
        if hasattr(clip, name):
            setattr(clip, name, None)


def _definition(config: TowerConfig) -> dict[str, Any]:
    """Return the open_clip configuration of a model, our own copy."""
    if config.definition is not None:
        definition = copy.deepcopy(config.definition)
        needed = {"embed_dim", "vision_cfg", "text_cfg"}
        if config.pretrained != "none" and not _is_digest(config.pretrained):
            raise InputError(
                "towers with a `definition` of their own start from random weights: "
                f"`pretrained` must be none, got {config.pretrained!r}"
            )
        if missing := sorted(needed - definition.keys()):
            raise InputError(f"definition of tower {config.name!r} lacks {', '.join(missing)}")
        return definition
    known = open_clip.list_models()
    if config.name not in known:
        near = difflib.get_close_matches(config.name, known, n=3)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise InputError(f"tower must be an architecture of open_clip, got {config.name!r}{hint}")
    return dict(open_clip.get_model_config(config.name))


def _is_digest(pretrained: str) -> bool:
    """Say whether weights are named by their content, as a model folder does with a file."""
    return pretrained.startswith("sha256:")


def _bare(config: TowerConfig, definition: dict[str, Any]) -> nn.Module:
    """Build without memory for parameters where the architecture allows it."""
    try:
        with parameters_without_memory(True):
            clip = _instantiate(config, definition)
    except InputError:
        # Some of timm's towers run a picture through themselves to learn their own shapes; what
        # is truly wrong fails again.
        return _instantiate(config, definition)
    made_from_parameters = any(buffer.is_meta for buffer in clip.buffers())
    return _instantiate(config, definition) if made_from_parameters else clip


def _instantiate(config: TowerConfig, definition: dict[str, Any]) -> nn.Module:
    settings = copy.deepcopy(definition)
    custom_text = bool(settings.pop("custom_text", False))
    for part, source in (("vision_cfg", "timm_model"), ("text_cfg", "hf_model")):
        if f"{source}_name" in settings[part]:
            settings[part][f"{source}_pretrained"] = False
            custom_text |= source == "hf_model"
    kind = open_clip.CLIP
    if custom_text:
        kind = open_clip.CoCa if "multimodal_cfg" in settings else open_clip.CustomTextCLIP
    if borrowed := settings["text_cfg"].get("hf_model_name"):
        require_repository_file(str(borrowed), "config.json")
    try:
        with quiet_hub():
            clip: nn.Module = kind(**settings)
    except (TypeError, ValueError, RuntimeError, AssertionError, OSError) as error:
        what = "definition" if config.definition is not None else "open_clip's configuration"
        raise InputError(
            f"{what} of tower {config.name!r} can not be built: {type(error).__name__}: {error}"
        ) from error
    return clip


def _weights_file(config: TowerConfig) -> Path:
    """Return the file of the weights that `pretrained` names, fetched if need be."""
    weights, name = config.pretrained, config.name
    if Path(weights).is_file():
        return Path(weights)
    tags = open_clip.list_pretrained_tags_by_model(name) if config.definition is None else []
    if weights not in tags:
        raise InputError(
            f"pretrained must be none, a file, or one of {', '.join(tags) or '(no tags)'} "
            f"for {name}, got {weights!r}"
        )
    quick = bool(open_clip.pretrained.get_pretrained_cfg(name, weights).get("quick_gelu"))
    if quick and f"{name}-quickgelu" in open_clip.list_models():
        raise InputError(
            f"the weights {weights!r} of {name} were trained with QuickGELU and lose accuracy "
            f"silently without it: name the tower {name}-quickgelu"
        )
    return fetch_weights(name, weights)


def load_weights_file(clip: nn.Module, file: Path) -> None:
    """Load a file of weights into an open_clip model, strictly and without running its code.

    Raises
    ------
    InputError
        If the file can not be read, belongs to another architecture or holds values that are not
        finite.
    """
    try:
        open_clip.load_checkpoint(clip, str(file), strict=True, weights_only=True)
    except Exception as error:
        # A foreign file can fail in its reader in as many ways as it has bytes.
        text = str(error).strip() or type(error).__name__
        raise InputError(f"the weights {file.name} can not be loaded: {text}") from error
    if faults := not_finite(clip.state_dict()):
        raise InputError([f"the weights {file.name}: {fault}" for fault in faults])


def _preprocessing(clip: nn.Module, config: TowerConfig) -> Preprocessing:
    visual: Any = clip.visual
    size = visual.image_size
    height, width = size if isinstance(size, tuple | list) else (size, size)
    if height != width:
        raise InputError(
            f"tower {config.name!r} must take square pictures, got {height} x {width} pixels"
        )
    settings = _weights_preprocessing(config)
    known = PreprocessCfg()
    return Preprocessing(
        image_size_pixels=int(height),
        mean=tuple(float(x) for x in settings.get("mean") or known.mean),
        std=tuple(float(x) for x in settings.get("std") or known.std),
        resize=Resize(
            mode=str(settings.get("resize_mode") or known.resize_mode),
            interpolation=str(settings.get("interpolation") or known.interpolation),
            fill=int(settings.get("fill_color") or known.fill_color),
        ),
    )


def _weights_preprocessing(config: TowerConfig) -> dict[str, Any]:
    """Return open_clip's settings for the weights, or what all weights of the name share."""
    if config.definition is not None:
        return {}
    tags = open_clip.list_pretrained_tags_by_model(config.name)
    if config.pretrained in tags:
        tags = [config.pretrained]
    keys = ("mean", "std", "interpolation", "resize_mode", "fill_color")
    all_settings = (open_clip.pretrained.get_pretrained_cfg(config.name, tag) for tag in tags)
    found = [{key: settings.get(key) for key in keys} for settings in all_settings]
    return found[0] if found and all(f == found[0] for f in found) else {}


@contextmanager
def parameters_without_memory(wanted: bool) -> Iterator[None]:
    """Put every parameter that this thread registers on the `meta` device, if `wanted`.

    `torch.device("meta")` would take the buffers along, and those that no checkpoint holds (an
    attention mask, for one) would have no values.
    """
    if not wanted:
        yield
        return
    thread = threading.get_ident()

    def move(module: nn.Module, name: str, parameter: nn.Parameter | None) -> nn.Parameter | None:
        if parameter is None or threading.get_ident() != thread:
            return parameter
        return nn.Parameter(parameter.detach().to("meta"), requires_grad=parameter.requires_grad)

    hook = register_module_parameter_registration_hook(move)  # type: ignore[arg-type]
    try:
        yield
    finally:
        hook.remove()
