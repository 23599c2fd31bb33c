"""Attention-based multiple-instance pooling: which segments of a visit count is learnt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from emoclip_clinical.core.estimators.config import SegmentModelConfig
from emoclip_clinical.core.estimators.training import (
    BagNetwork,
    BagRegressor,
    Output,
    hidden_layers,
)


class AttentionPooling(BagNetwork):
    """Gated attention over the segments of a visit (Ilse, Tomczak & Welling 2018), then an MLP.

    The weight of a segment is the softmax, over its visit, of w·(tanh(V z) ⊙ sigmoid(U z)).

    Parameters
    ----------
    n_dimensions, n_outputs : int
    config : SegmentModelConfig
    """

    def __init__(self, n_dimensions: int, n_outputs: int, *, config: SegmentModelConfig) -> None:
        super().__init__()
        self.content = nn.Linear(n_dimensions, config.attention_width)
        self.gate = nn.Linear(n_dimensions, config.attention_width)
        self.score = nn.Linear(config.attention_width, 1)
        self.layers = hidden_layers(n_dimensions, config)
        self.head = nn.Linear(config.hidden[-1], n_outputs)

    def attention(self, values: Tensor, visit: Tensor, n_visits: int) -> Tensor:
        """Return the weight of each segment, (n_segments,); those of a visit sum to 1."""
        gated = torch.tanh(self.content(values)) * torch.sigmoid(self.gate(values))
        score = self.score(gated)[:, 0]
        highest = score.new_full((n_visits,), -torch.inf)
        highest = highest.scatter_reduce(0, visit, score, reduce="amax")
        raised = (score - highest[visit].detach()).exp()
        total = raised.new_zeros(n_visits).index_add(0, visit, raised)
        share: Tensor = raised / total[visit]
        return share

    def forward(self, values: Tensor, visit: Tensor, n_visits: int) -> Output:
        """Return a prediction a visit.

        Parameters
        ----------
        values : Tensor of shape (n_segments, n_dimensions)
        visit : Tensor of int, shape (n_segments,)
        n_visits : int
        """
        share = self.attention(values, visit, n_visits)[:, None]
        pooled = values.new_zeros(n_visits, values.shape[1]).index_add(0, visit, share * values)
        hidden = self.layers(pooled)
        return Output(self.head(hidden), torch.arange(n_visits), hidden)


def make_attention_pooling(
    config: SegmentModelConfig,
) -> Callable[[Mapping[str, float], int], BagRegressor]:
    """Return the making of attention pooling from its candidate (``epochs``) and a seed."""
    return partial(_made, config)


def _made(config: SegmentModelConfig, candidate: Mapping[str, float], seed: int) -> BagRegressor:
    return BagRegressor(
        partial(AttentionPooling, config=config),
        config=config,
        epochs=int(candidate["epochs"]),
        seed=seed,
    )
