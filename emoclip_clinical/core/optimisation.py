"""Optimiser, learning-rate schedule and gradient clipping of one stage of training."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from emoclip_clinical.core.training_config import OptimiserConfig


class Stepper:
    """Takes the steps of one stage of training.

    Parameters
    ----------
    parameters : list of Parameter
        What is trained.
    config : OptimiserConfig
        How.
    n_epochs, steps_per_epoch : int
        Length of the stage, which the schedule is stretched over.
    """

    def __init__(
        self,
        parameters: list[nn.Parameter],
        *,
        config: OptimiserConfig,
        n_epochs: int,
        steps_per_epoch: int,
    ) -> None:
        # Norms, biases and the scale are not decayed: decay would pull them from their meaning.
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self._parameters = parameters
        self._clip = config.clip_gradient_norm
        self._optimiser: torch.optim.Optimizer
        if config.name == "sgd":
            self._optimiser = torch.optim.SGD(
                groups, lr=config.learning_rate, momentum=config.momentum
            )
        else:
            self._optimiser = torch.optim.AdamW(groups, lr=config.learning_rate)
        factor = _schedule(config, n_epochs=n_epochs, steps_per_epoch=steps_per_epoch)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimiser, factor)

    def step(self, loss: Tensor) -> None:
        """Go one step down the gradient of `loss`, at the schedule's rate."""
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
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
