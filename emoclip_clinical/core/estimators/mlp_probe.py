"""The probe of the EmoCLIP line of work: an MLP on each segment, averaged to the visit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from torch import Tensor, nn

from emoclip_clinical.core.estimators.config import SegmentModelConfig
from emoclip_clinical.core.estimators.training import (
    BagNetwork,
    BagRegressor,
    Output,
    hidden_layers,
    visit_means,
)


class MLPProbe(BagNetwork):
    """An MLP (512, 256 by default) to n outputs, for each segment; every segment is a row.

    Parameters
    ----------
    n_dimensions, n_outputs : int
    config : SegmentModelConfig
    """

    def __init__(self, n_dimensions: int, n_outputs: int, *, config: SegmentModelConfig) -> None:
        super().__init__()
        self.layers = hidden_layers(n_dimensions, config)
        self.head = nn.Linear(config.hidden[-1], n_outputs)

    def forward(self, values: Tensor, visit: Tensor, n_visits: int) -> Output:
        """Return a prediction a segment.

        Parameters
        ----------
        values : Tensor of shape (n_segments, n_dimensions)
        visit : Tensor of int, shape (n_segments,)
        n_visits : int
        """
        hidden = self.layers(values)
        return Output(self.head(hidden), visit, visit_means(hidden, visit, n_visits))


def make_mlp_probe(
    config: SegmentModelConfig,
) -> Callable[[Mapping[str, float], int], BagRegressor]:
    """Return the making of a probe from its candidate (``epochs``) and a seed."""
    return partial(_made, config)


def _made(config: SegmentModelConfig, candidate: Mapping[str, float], seed: int) -> BagRegressor:
    return BagRegressor(
        partial(MLPProbe, config=config),
        config=config,
        epochs=int(candidate["epochs"]),
        seed=seed,
    )
