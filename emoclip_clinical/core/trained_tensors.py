"""Which tensors a stage of training changes, and how fast each of them."""

from __future__ import annotations

import re

import torch
from torch import nn

from emoclip_clinical.core.model import EmoCLIP
from emoclip_clinical.core.optimisation import Trainable
from emoclip_clinical.core.training_config import OptimiserConfig, TrainingConfig

_LAYER = re.compile(r"\.(?:resblocks|blocks|layers|layer|stages)\.(\d+)\.")
_BEFORE_LAYERS = re.compile(r"\.(?:conv1|stem|patch_embed|\w*embeddings?|\w*embed|ln_pre)\b")
_TEXT_KEPT = re.compile(
    r"^clip\.(?:text\.)?(?:token_embedding|positional_embedding|ln_final|text_projection)\b"
)


def trains_towers(stage: str, training: TrainingConfig) -> bool:
    """Say whether the towers change in a stage, be it through adapters."""
    return stage == "frames" or training.towers != "frozen"


def choose_tensors(model: EmoCLIP, *, stage: str, training: TrainingConfig) -> list[Trainable]:
    """Free the tensors that a stage trains, freeze all others, and give each its rate.

    A tower's tensors train at `tower_learning_rate` times `layer_decay` to the power of the
    layers between them and the tower's output: the projection and the last norm at power 0, the
    last block at 1, what lies before the first block at number of blocks + 1.

    Parameters
    ----------
    model : EmoCLIP
        Whose `requires_grad` flags are set; with adapters where `training.towers` is `lora`.
    stage : str
        `frames` or `clips`.
    training : TrainingConfig
        `towers`, `faithful` and the stage's optimiser.

    Returns
    -------
    list of Trainable
        In the model's order.
    """
    config = training.frame_optimiser if stage == "frames" else training.optimiser
    depths = _tower_depths(model)
    chosen = []
    for name, parameter in model.named_parameters():
        trains = _trains(name, stage, training) or parameter is model.log_scale
        parameter.requires_grad_(trains)
        if trains:
            chosen.append(Trainable(name, parameter, _rate(name, config, depths)))
    return chosen


def _trains(name: str, stage: str, training: TrainingConfig) -> bool:
    if name.endswith(("logit_scale", "logit_bias")):
        return False  # the one that is in use is asked for by identity, not by name
    if not name.startswith("clip."):
        return stage == "clips"
    if stage == "clips" and training.towers == "lora":
        return ".lora_" in name
    if not trains_towers(stage, training):
        return False
    return not (training.faithful and _TEXT_KEPT.match(name))


def _tower(name: str) -> str:
    return "image" if name.startswith("clip.visual.") else "text"


def _tower_depths(model: EmoCLIP) -> dict[str, int]:
    """Return the number of blocks of either tower."""
    depths = {"image": 0, "text": 0}
    for name, _ in model.clip.named_parameters(prefix="clip"):
        if found := _LAYER.search(name):
            tower = _tower(name)
            depths[tower] = max(depths[tower], int(found.group(1)) + 1)
    return depths


def _rate(name: str, config: OptimiserConfig, depths: dict[str, int]) -> float:
    if not name.startswith("clip.") or name.endswith("logit_scale"):
        return config.learning_rate
    n_blocks = depths[_tower(name)]
    if found := _LAYER.search(name):
        power = n_blocks - int(found.group(1))
    elif _BEFORE_LAYERS.search(name):
        power = n_blocks + 1
    else:
        power = 0
    base = (
        config.learning_rate if config.tower_learning_rate is None else config.tower_learning_rate
    )
    return float(base * config.layer_decay**power)


def half_precision_tensors(model: EmoCLIP) -> list[nn.Parameter]:
    """Return the towers' tensors that CLIP's own code stores in half precision.

    Weights and biases of convolutions, linear maps and attention, and both projections; norms and
    embeddings stay in single precision (`convert_weights` of github.com/openai/CLIP).
    """
    found: dict[int, nn.Parameter] = {}
    for module in model.clip.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear | nn.MultiheadAttention):
            found |= {id(p): p for p in module.parameters(recurse=False)}
    for name, parameter in model.clip.named_parameters():
        if name.rsplit(".", 1)[-1] in ("proj", "text_projection"):
            found[id(parameter)] = parameter
    return list(found.values())


def round_to_half(parameters: list[nn.Parameter]) -> None:
    """Round values to the nearest that half precision holds: smaller updates are lost."""
    with torch.no_grad():
        for parameter in parameters:
            parameter.copy_(parameter.half())
