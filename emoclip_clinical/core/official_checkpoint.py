"""Importing a checkpoint of the EmoCLIP authors: from their .pth to a model folder of ours."""

from __future__ import annotations

import math
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import open_clip
import torch
from torch import Tensor

from emoclip_clinical.core.checkpoint import (
    WEIGHTS_FILE,
    load_strictly,
    save_checkpoint,
)
from emoclip_clinical.core.config import FAITHFUL_TEMPORAL, ModelConfig
from emoclip_clinical.core.finite import not_finite
from emoclip_clinical.core.hub import fetch_weights
from emoclip_clinical.core.model import LARGEST_LOG_SCALE, build_model
from emoclip_clinical.core.official_layout import (
    TEXT_PREFIXES,
    OfficialTensors,
    check_required,
    official_name,
    temporal_geometry,
    tower_geometry,
    translate,
)
from emoclip_clinical.file_hashes import file_sha256
from emoclip_clinical.records import InputError

OPENAI = "openai"
NOTE = (
    "Imported weights of the EmoCLIP authors (arXiv 2310.16640). On which videos and people they "
    "were trained is not in the file."
)
TEXT_GROUPS = tuple(
    sorted(
        f"{official_name(name, 'full')}*" if name.endswith(".") else official_name(name, "full")
        for name in TEXT_PREFIXES
    )
)


@dataclass(frozen=True)
class Imported:
    """What an import found, and where it went.

    Attributes
    ----------
    folder : Path
        The model folder.
    form : str
        `full` or `downstream`, as in `official_layout`.
    found : tuple of str
        Tensors of the file that are in the model now, by the file's names without `module.`.
    missing : tuple of str
        Tensors or groups of tensors of the full form that the file lacks.
    left_out : tuple of str
        Tensors of the file that are not in the model.
    text_tower : str
        `checkpoint`, `openai`, a digest of the file that it was taken from, or `none`.
    config : ModelConfig
        The geometry, as inferred from the shapes.
    warnings : tuple of str
        What the user should know.
    """

    folder: Path
    form: str
    found: tuple[str, ...]
    missing: tuple[str, ...]
    left_out: tuple[str, ...]
    text_tower: str
    config: ModelConfig
    warnings: tuple[str, ...]


def import_official(
    file: Path, *, folder: Path, text_tower: str | None = None, overwrite: bool = False
) -> Imported:
    """Turn a checkpoint of the EmoCLIP authors into a model folder.

    Parameters
    ----------
    file : Path
        Written by `torch.save`: a state dict, or one under `state_dict`; data-parallel or not,
        in half or full precision, in the full or the downstream form.
    folder : Path
        The model folder to write; its name becomes the model's.
    text_tower : str or None
        For a file without text tower: `openai` to add OpenAI's of the same architecture
        (fetched if need be), or a file of such weights; None to do without, so that texts are
        refused.
    overwrite : bool
        Whether a model that is there already may be replaced.

    Returns
    -------
    Imported

    Raises
    ------
    InputError
        If the file is no such checkpoint; every tensor that is missing, unexpected, misshapen or
        not finite is listed.
    """
    if (folder / WEIGHTS_FILE).exists() and not overwrite:
        raise InputError(f"{folder} holds a model already: choose another name, or --overwrite")
    try:
        official = translate(_float32(read_state(file)))
        check_required(official)
        tensors = dict(official.tensors)
        text_from, added = _text_tower(official, text_tower)
        tensors |= added
        warnings = _settle_scale(tensors, official)
        config = _config(folder.name, tensors)
        built = build_model(config, seed=0, load_weights=False)
        _check(built.model.state_dict(), tensors, official)
    except InputError as error:
        raise InputError(f"{file.name}: {fault}" for fault in error.faults) from error
    load_strictly(built.model, tensors, source=file.name, assign=True)
    # The weights saw pictures that were resized in the published way, whatever their geometry.
    resize = replace(built.preprocessing.resize, antialias=False)
    built = replace(built, preprocessing=replace(built.preprocessing, resize=resize))
    missing = () if official.has_text_tower else TEXT_GROUPS
    if "clip.logit_scale" not in official.tensors:
        missing = (*missing, "logit_scale")
    imported = Imported(
        folder=folder,
        form=official.form,
        found=tuple(sorted(official.official_names.values())),
        missing=missing,
        left_out=official.left_out,
        text_tower=text_from,
        config=config,
        warnings=tuple(warnings),
    )
    save_checkpoint(folder, built=built, config=config, card=_card(imported, file))
    return imported


def read_state(file: Path) -> dict[str, Tensor]:
    """Read a state dict, without running any code that the file may carry.

    Raises
    ------
    InputError
        If it is no file of torch, or holds anything but tensors.
    """
    if not file.is_file():
        raise InputError(f"no such file: {file}")
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"it must be a state dict of tensors, saved by torch, and can not be read: {reason}"
        ) from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not content:
        raise InputError(f"it must hold a state dict of tensors, got {type(content).__name__}")
    wrong = [name for name, value in content.items() if not isinstance(value, Tensor)]
    if wrong:
        raise InputError(
            [f"{name} must be a tensor, got {type(content[name]).__name__}" for name in wrong]
        )
    return {str(name): value for name, value in content.items()}


def _float32(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    numbers = {name: value.float().contiguous() for name, value in state.items()}
    if faults := not_finite(dict(sorted(numbers.items()))):
        raise InputError(faults)
    return numbers


def _text_tower(official: OfficialTensors, asked: str | None) -> tuple[str, dict[str, Tensor]]:
    """Return where the text tower comes from, and the tensors that have to be added for it."""
    if official.has_text_tower:
        if asked is not None:
            raise InputError(
                "it has a text tower of its own, which would be thrown away: "
                "leave out --add-text-tower"
            )
        return "checkpoint", {}
    if asked is None:
        return "none", {}
    if asked == OPENAI:
        name = tower_geometry(official.tensors, text=False).name
        if OPENAI not in open_clip.list_pretrained_tags_by_model(name):
            raise InputError(
                "its image tower is none of OpenAI's, so OpenAI has no text tower that belongs to "
                "it: give a file of weights"
            )
        source, label = fetch_weights(name, OPENAI), OPENAI
    else:
        source = Path(asked)
        if not source.is_file():
            raise InputError(f"--add-text-tower must be openai or a file of weights, got {asked!r}")
        label = f"sha256:{file_sha256(source)}"
    return label, _read_text_tower(source)


def _read_text_tower(source: Path) -> dict[str, Tensor]:
    try:
        state = open_clip.factory.load_state_dict(str(source), weights_only=True)
    except Exception as error:
        # A foreign file can fail in its reader in as many ways as it has bytes.
        raise InputError(f"no weights can be read from the text tower's file: {error}") from error
    parts = {f"clip.{name}": value for name, value in state.items()}
    wanted = {
        name: value
        for name, value in parts.items()
        if name.startswith(TEXT_PREFIXES) or name == "clip.logit_scale"
    }
    if not any(name.startswith(TEXT_PREFIXES) for name in wanted):
        raise InputError("the text tower's file holds no text tower of CLIP's layout")
    return _float32(wanted)


def _settle_scale(tensors: dict[str, Tensor], official: OfficialTensors) -> list[str]:
    """Choose the scale on the cosines in `tensors`: the trained one where there is one."""
    trained = official.tensors.get("clip.logit_scale")
    if trained is not None:
        tensors["clip.logit_scale"] = trained.reshape(())
        return []
    if official.backbone_scale is not None:
        tensors["clip.logit_scale"], whose = official.backbone_scale.reshape(()), "CLIP's own"
    elif "clip.logit_scale" in tensors:
        tensors["clip.logit_scale"] = tensors["clip.logit_scale"].reshape(())
        whose = "the text tower's"
    else:
        tensors["clip.logit_scale"], whose = torch.tensor(LARGEST_LOG_SCALE), "CLIP's published"
    factor = math.exp(float(tensors["clip.logit_scale"]))
    return [f"the file has no trained scale on the cosines: {whose} factor of {factor:.4g} is used"]


def _config(name: str, tensors: Mapping[str, Tensor]) -> ModelConfig:
    text = any(tensor.startswith(TEXT_PREFIXES) for tensor in tensors)
    temporal, tower = temporal_geometry(tensors), tower_geometry(tensors, text=text)
    try:
        return ModelConfig(
            name=name,
            faithful=temporal == FAITHFUL_TEMPORAL,
            tower=tower,
            temporal=temporal,
            frames_per_clip=min(32, temporal.positions - 1),
        )
    except ValueError as error:
        raise InputError(
            f"no model can be named {name!r}: letters, digits, '.', '_', '-'"
        ) from error


def _check(
    wanted: Mapping[str, Tensor], tensors: Mapping[str, Tensor], official: OfficialTensors
) -> None:
    """List every disagreement by the names of the file."""

    def name(ours: str) -> str:
        return official.official_names.get(ours, official_name(ours, official.form))

    faults = [f"tensor {name(n)} is missing" for n in wanted.keys() - tensors.keys()]
    faults += [f"unexpected tensor {name(n)}" for n in tensors.keys() - wanted.keys()]
    faults += [
        f"tensor {name(n)} must have shape {tuple(wanted[n].shape)}, got {tuple(tensors[n].shape)}"
        for n in wanted.keys() & tensors.keys()
        if wanted[n].shape != tensors[n].shape
    ]
    if faults:
        raise InputError(sorted(faults))


def _card(imported: Imported, file: Path) -> dict[str, Any]:
    return {
        "vocabulary": [],
        "training": None,
        "imported": {
            "note": NOTE,
            "file_sha256": file_sha256(file),
            "form": imported.form,
            "text_tower": imported.text_tower,
            "n_tensors_found": len(imported.found),
            "missing": list(imported.missing),
            "left_out": list(imported.left_out),
            "warnings": list(imported.warnings),
        },
        "torch": torch.__version__,
    }
