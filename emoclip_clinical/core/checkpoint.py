"""A model folder: `model.safetensors` with the weights, `model.json` with all the rest."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from emoclip_clinical.core.config import ModelConfig
from emoclip_clinical.core.finite import not_finite
from emoclip_clinical.core.model import BuiltModel, build_model
from emoclip_clinical.core.preprocessing import Preprocessing
from emoclip_clinical.core.tokenizer import TOKENIZER_FOLDER
from emoclip_clinical.file_hashes import file_sha256
from emoclip_clinical.records import InputError

FORMAT = 1
WEIGHTS_FILE = "model.safetensors"
CARD_FILE = "model.json"


@dataclass(frozen=True)
class Checkpoint:
    """A model that was read from its folder.

    Attributes
    ----------
    built : BuiltModel
        The model with its weights, and the preprocessing and tokenizer that its card names.
    config : ModelConfig
        Its architecture and clock.
    card : mapping
        The whole of model.json.
    """

    built: BuiltModel
    config: ModelConfig
    card: Mapping[str, Any]

    @property
    def model_hash(self) -> str:
        """SHA-256 over the weights, the architecture and the preprocessing."""
        return model_hash(self.card)


def model_hash(card: Mapping[str, Any]) -> str:
    """Return the SHA-256 over the weights, architecture and preprocessing of a model.json."""
    parts = {k: card[k] for k in ("architecture", "preprocessing", "weights_sha256")}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def save_checkpoint(
    folder: Path, *, built: BuiltModel, config: ModelConfig, card: Mapping[str, Any]
) -> None:
    """Write a model folder; a reader never sees half of a file.

    Parameters
    ----------
    folder : Path
        Made where it does not exist.
    built : BuiltModel
        What to save.
    config : ModelConfig
        Its architecture and clock.
    card : mapping
        What else is known: vocabulary, training protocol, hashes of the data.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / (WEIGHTS_FILE + ".part")
    save_file({k: v.contiguous() for k, v in built.model.state_dict().items()}, weights)
    built.tokenizer.save(folder / TOKENIZER_FOLDER)
    text = json.dumps(
        {
            "format": FORMAT,
            "architecture": config.model_dump(mode="json"),
            "preprocessing": built.preprocessing.to_card(),
            "tokenizer": built.tokenizer.describe() if built.model.has_text_tower else None,
            "weights_sha256": file_sha256(weights),
            **card,
        },
        indent=2,
        ensure_ascii=False,
    )
    part = folder / (CARD_FILE + ".part")
    part.write_text(text + "\n", encoding="utf-8")
    # safetensors keeps its files from everybody else, whatever the user's umask says.
    weights.chmod(stat.S_IMODE(part.stat().st_mode))
    os.replace(weights, folder / WEIGHTS_FILE)
    os.replace(part, folder / CARD_FILE)


def read_card(folder: Path) -> dict[str, Any]:
    """Read and check model.json.

    Raises
    ------
    InputError
        If the folder is not a model folder of this format.
    """
    path = folder / CARD_FILE
    if not path.is_file() or not (folder / WEIGHTS_FILE).is_file():
        raise InputError(
            f"a model folder holds {WEIGHTS_FILE} and {CARD_FILE}; {folder} does not "
            "(make one with `emoclip-clinical train`)"
        )
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} can not be read: {error.strerror}") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not JSON: {error}") from error
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        found = card.get("format") if isinstance(card, dict) else type(card).__name__
        raise InputError(f"{path} must have format {FORMAT}, got {found!r}")
    return card


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read a model folder, strictly.

    Raises
    ------
    InputError
        If the weights are not those that model.json was written with, or tensors are missing,
        unexpected, of another shape or of another kind of number; all are listed.
    """
    card = read_card(folder)
    try:
        config = ModelConfig.model_validate(card["architecture"])
    except (KeyError, ValidationError) as error:
        raise InputError(f"{folder / CARD_FILE}: architecture can not be read: {error}") from error
    try:
        found = file_sha256(folder / WEIGHTS_FILE)
    except OSError as error:
        raise InputError(f"{folder / WEIGHTS_FILE} can not be read: {error.strerror}") from None
    if found != card.get("weights_sha256"):
        raise InputError(
            f"{folder / WEIGHTS_FILE} is not the file that {CARD_FILE} describes: its SHA-256 "
            f"must be {card.get('weights_sha256')}, got {found}"
        )
    bare = build_model(config, seed=0, load_weights=False)
    try:
        tensors = load_file(folder / WEIGHTS_FILE)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{folder / WEIGHTS_FILE} can not be read: {error}") from error
    load_strictly(bare.model, tensors, source=str(folder / WEIGHTS_FILE), assign=True)
    try:
        preprocessing = Preprocessing.from_card(card.get("preprocessing", {}))
    except InputError as error:
        raise InputError(f"{folder / CARD_FILE}: {error}") from error
    built = replace(
        bare,
        preprocessing=preprocessing,
        tokenizer=bare.tokenizer.at(folder / TOKENIZER_FOLDER),
    )
    if built.preprocessing.image_size_pixels != bare.preprocessing.image_size_pixels:
        raise InputError(
            f"{folder / CARD_FILE}: image_size_pixels must be what the image tower takes, "
            f"{bare.preprocessing.image_size_pixels}, got {built.preprocessing.image_size_pixels}"
        )
    return Checkpoint(built=built, config=config, card=card)


def load_strictly(
    module: nn.Module, tensors: Mapping[str, Any], *, source: str, assign: bool = False
) -> None:
    """Put tensors into a module when names, shapes and kinds of number all agree.

    Parameters
    ----------
    module : Module
        What to fill.
    tensors : mapping of str to Tensor
        Its whole state.
    source : str
        Where they come from, for the message.
    assign : bool
        False copies the values; True makes the tensors themselves the module's own, which takes
        no memory of its own and is the only way into a module on the `meta` device.

    Raises
    ------
    InputError
        Listing every tensor that is missing, unexpected, misshapen, of another kind or not finite,
        sorted.
    """
    wanted = module.state_dict()
    faults = [f"{source}: tensor {name} is missing" for name in wanted.keys() - tensors.keys()]
    faults += [f"{source}: unexpected tensor {name}" for name in tensors.keys() - wanted.keys()]
    for name in wanted.keys() & tensors.keys():
        here, came = wanted[name], tensors[name]
        if here.shape != came.shape:
            faults.append(
                f"{source}: tensor {name} must have shape {tuple(here.shape)}, "
                f"got {tuple(came.shape)}"
            )
        elif here.dtype != came.dtype:
            faults.append(f"{source}: tensor {name} must be of {here.dtype}, got {came.dtype}")
    faults += [f"{source}: {fault}" for fault in not_finite(tensors)]
    if faults:
        raise InputError(sorted(faults))
    module.load_state_dict(dict(tensors), strict=True, assign=assign)
