"""Which epoch's weights are kept, and when a training stops early."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from emoclip_clinical.core.training_config import TrainingConfig

TEST_DATA_WARNING = (
    "the epoch was chosen by the accuracy on TEST clips, as the official code does (faithful): "
    "figures of this model on those clips are optimistic and compare only with figures that were "
    "made in the same way"
)


@dataclass(frozen=True)
class Selected:
    """Whose weights a model has.

    Attributes
    ----------
    rule : str
        `last`, `validation_loss`, `validation_uar` or `test_war`.
    stage, epoch : str, int
        From 1 within its stage; epoch 0 is a model that was not trained.
    value : float or None
        What the rule looked at; None for `last`.
    stopped_early : bool
        Whether `patience_epochs` ended the training.
    """

    rule: str
    stage: str
    epoch: int
    value: float | None
    stopped_early: bool

    @property
    def by_test_data(self) -> bool:
        """Whether test clips chose."""
        return self.rule == "test_war"


class Selector:
    """Follows a stage and remembers its best epoch.

    Parameters
    ----------
    training : TrainingConfig
        `select`, `patience_epochs`, `faithful`.
    """

    def __init__(self, training: TrainingConfig) -> None:
        self._rule = training.selection
        self._patience = training.patience_epochs
        self._best: tuple[int, float] | None = None
        self._tensors: dict[str, Tensor] = {}
        self._seen = 0

    @property
    def stops(self) -> bool:
        """Whether so many epochs went by without a better one that the stage should end."""
        if self._patience is None or self._best is None:
            return False
        return self._seen - self._best[0] >= self._patience

    def look(
        self, epoch: int, value: float | None, tensors: Callable[[], Mapping[str, Tensor]]
    ) -> None:
        """Take note of an epoch, and of its weights when it is the best so far.

        Parameters
        ----------
        epoch : int
            From 1.
        value : float or None
            A loss for `validation_loss`, else a share of clips; None when the rule is `last`.
        tensors : callable
            Returns what the epoch's weights are; called only when they are needed.
        """
        self._seen = epoch
        if self._rule == "last" or value is None:
            return
        lower_is_better = self._rule == "validation_loss"
        better = self._best is None or (
            value < self._best[1] if lower_is_better else value > self._best[1]
        )
        if better:
            self._best = (epoch, value)
            self._tensors = {n: t.detach().cpu().clone() for n, t in tensors().items()}

    @property
    def best_tensors(self) -> Mapping[str, Tensor]:
        """Weights to go back to; empty when the last epoch's are wanted."""
        return self._tensors

    def selected(self, stage: str, n_epochs: int) -> Selected:
        """Return what was chosen."""
        epoch, value = self._best or (self._seen, None)
        return Selected(self._rule, stage, epoch, value, self.stops and self._seen < n_epochs)

    def state(self) -> dict[str, Any]:
        """Return what `load` needs."""
        return {"best": self._best, "tensors": self._tensors, "seen": self._seen}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that `state` returned."""
        best = state["best"]
        self._best = None if best is None else (int(best[0]), float(best[1]))
        self._tensors = dict(state["tensors"])
        self._seen = int(state["seen"])


def recalls_of(
    observed: Sequence[int] | np.ndarray, predicted: Sequence[int] | np.ndarray
) -> tuple[float, float]:
    """Return unweighted and weighted average recall, both in [0, 1].

    Parameters
    ----------
    observed, predicted : int sequences of shape (n,)
        Classes; only those that are observed count in the unweighted average.
    """
    true, guess = np.asarray(observed), np.asarray(predicted)
    hits = true == guess
    unweighted = float(np.mean([hits[true == k].mean() for k in np.unique(true)]))
    return unweighted, float(hits.mean())
