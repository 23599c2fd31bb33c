"""Optimiser, learning-rate schedule and gradient clipping of one stage of training."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from emoclip_clinical.core.training_config import OptimiserConfig


@dataclass(frozen=True)
class Trainable:
    """One tensor that a stage trains.

    Attributes
    ----------
    name : str
        In the model.
    parameter : Parameter
        The tensor.
    learning_rate : float
        Before the schedule's factor.
    """

    name: str
    parameter: nn.Parameter
    learning_rate: float


class Stepper:
    """Takes the steps of one stage of training.

    Parameters
    ----------
    trainable : sequence of Trainable
        What is trained.
    config : OptimiserConfig
        How.
    n_epochs, steps_per_epoch : int
        Length of the stage, which the schedule is stretched over.
    decay_all : bool
        Also pull norms, biases and the factor on the cosines towards zero.
    """

    def __init__(
        self,
        trainable: Sequence[Trainable],
        *,
        config: OptimiserConfig,
        n_epochs: int,
        steps_per_epoch: int,
        decay_all: bool = False,
    ) -> None:
        self._parameters = [t.parameter for t in trainable]
        self._clip = config.clip_gradient_norm
        groups = _groups(trainable, weight_decay=config.weight_decay, decay_all=decay_all)
        self._optimiser: torch.optim.Optimizer
        if config.name == "sgd":
            self._optimiser = torch.optim.SGD(
                groups, lr=config.learning_rate, momentum=config.momentum
            )
        else:
            self._optimiser = torch.optim.AdamW(groups, lr=config.learning_rate)
        factor = _schedule(config, n_epochs=n_epochs, steps_per_epoch=steps_per_epoch)
        self._base = config.learning_rate
        self._factor = factor
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimiser, factor)

    @property
    def learning_rate(self) -> float:
        """Rate of the coming step, of what is not a tower's."""
        return self._base * self._factor(self._schedule.last_epoch)

    def clear(self) -> None:
        """Forget the gradients."""
        self._optimiser.zero_grad(set_to_none=True)

    def step(self) -> None:
        """Go one step down the gradients that the parameters hold, at the schedule's rate."""
        if self._clip is not None:
            nn.utils.clip_grad_norm_(self._parameters, self._clip)
        self._optimiser.step()
        self._schedule.step()

    def state(self) -> dict[str, Any]:
        """Return what `load` needs to go on from here."""
        return {
            "optimiser": self._optimiser.state_dict(),
            "steps": self._schedule.last_epoch,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state that `state` returned."""
        self._schedule.last_epoch = state["steps"]
        self._optimiser.load_state_dict(state["optimiser"])


def _groups(
    trainable: Sequence[Trainable], *, weight_decay: float, decay_all: bool
) -> list[dict[str, Any]]:
    # Norms, biases and the scale are not decayed: decay would pull them from their meaning.
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for t in trainable:
        key = (t.learning_rate, decay_all or t.parameter.ndim > 1)
        groups.setdefault(key, []).append(t.parameter)
    return [
        {"params": parameters, "lr": rate, "weight_decay": weight_decay if decays else 0.0}
        for (rate, decays), parameters in groups.items()
    ]


def _schedule(
    config: OptimiserConfig, *, n_epochs: int, steps_per_epoch: int
) -> Callable[[int], float]:
    """Return the factor on the learning rate at a step: warm-up, then the named decay."""
    total = n_epochs * steps_per_epoch
    warmup = int(config.warmup_fraction * total)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        if config.schedule == "cosine":
            return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))
        if config.schedule == "steps":
            return float(0.1 ** sum(step >= e * steps_per_epoch for e in config.step_epochs))
        return 1.0

    return factor
