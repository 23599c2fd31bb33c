"""Fitting a small network to bags of segments, the same bits for the same seed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from emoclip_clinical.core.estimators.config import SegmentModelConfig
from emoclip_clinical.core.estimators.losses import (
    concordance_loss,
    relational_loss,
    root_mean_squared_error,
)
from emoclip_clinical.records import SegmentBags

LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "rmse": root_mean_squared_error,
    "ccc": concordance_loss,
}


@dataclass(frozen=True)
class Output:
    """What a network says of a batch of visits.

    Attributes
    ----------
    predicted : Tensor of shape (n_rows, n_outputs)
        In units of the training ratings' SD; a row a segment, or a visit.
    visit : Tensor of int, shape (n_rows,)
        Visit of each row, within the batch.
    hidden : Tensor of shape (n_visits, width)
        Representation of each visit.
    """

    predicted: Tensor
    visit: Tensor
    hidden: Tensor


class BagNetwork(nn.Module, ABC):
    """A network of segments."""

    @abstractmethod
    def forward(self, values: Tensor, visit: Tensor, n_visits: int) -> Output:
        """Return what the network says of a batch of visits.

        Parameters
        ----------
        values : Tensor of shape (n_segments, n_dimensions)
        visit : Tensor of int, shape (n_segments,)
            Of each segment, from 0.
        n_visits : int
        """


class BagRegressor:
    """A network with scikit-learn's methods, for bags of segments.

    Embeddings are centred at the training mean and divided by one overall spread; ratings are
    standardised; both from training visits only.

    Parameters
    ----------
    network : callable
        ``network(n_dimensions, n_outputs)`` returns an untrained `BagNetwork`.
    config : SegmentModelConfig
    epochs : int
    seed : int
    """

    def __init__(
        self,
        network: Callable[[int, int], BagNetwork],
        *,
        config: SegmentModelConfig,
        epochs: int,
        seed: int,
    ) -> None:
        self.network, self.config, self.epochs, self.seed = network, config, epochs, seed

    def fit(self, bags: SegmentBags, y: np.ndarray, *, weight: np.ndarray) -> BagRegressor:
        """Fit to visits.

        Parameters
        ----------
        bags : SegmentBags
        y : ndarray of shape (n_visits,) or (n_visits, n_outputs)
            Scale points; NaN where one of several ratings is missing, which then teaches nothing.
        weight : ndarray of shape (n_visits,), above 0
        """
        self.is_single_ = y.ndim == 1
        ratings = y.reshape(len(y), -1)
        known = ~np.isnan(ratings)
        share = known * weight[:, np.newaxis]
        share = share / np.where(known.any(axis=0), share.sum(axis=0), 1.0)
        self.centre_ = (share * np.nan_to_num(ratings)).sum(axis=0)
        deviation = np.where(known, ratings - self.centre_, 0.0)
        spread = np.sqrt((share * deviation**2).sum(axis=0))
        self.spread_ = np.where(spread > 0, spread, 1.0)
        self.mean_ = bags.values.mean(axis=0)
        self.scale_ = float((bags.values - self.mean_).std()) or 1.0
        wanted = torch.from_numpy(deviation / self.spread_).float()
        weights = torch.from_numpy(known * weight[:, np.newaxis]).float()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.network_ = self.network(bags.values.shape[1], ratings.shape[1])
            self._train(bags, wanted, weights)
        return self

    def predict(self, bags: SegmentBags) -> np.ndarray:
        """Return predictions in scale points, of the shape that the ratings had."""
        self.network_.eval()
        with torch.no_grad():
            made = self.network_(*self._inputs(bags, np.arange(bags.n_visits)))
            summed = made.predicted.new_zeros(bags.n_visits, made.predicted.shape[1])
            summed.index_add_(0, made.visit, made.predicted)
            count = torch.bincount(made.visit, minlength=bags.n_visits)[:, None]
        found = self.centre_ + self.spread_ * (summed / count).double().numpy()
        return np.asarray(found[:, 0] if self.is_single_ else found)

    def _train(self, bags: SegmentBags, wanted: Tensor, weight: Tensor) -> None:
        config, network = self.config, self.network_
        optimiser = torch.optim.AdamW(
            network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        network.train()
        n = bags.n_visits
        for _ in range(self.epochs):
            # Batches of nearly equal size: a last one of a single visit has no concordance.
            parts = np.array_split(torch.randperm(n).numpy(), max(n // config.batch_visits, 1))
            for visits in parts:
                optimiser.zero_grad()
                self._loss(bags, visits, wanted[visits], weight[visits]).backward()
                optimiser.step()

    def _loss(
        self, bags: SegmentBags, visits: np.ndarray, wanted: Tensor, weight: Tensor
    ) -> Tensor:
        made = self.network_(*self._inputs(bags, visits))
        # Each visit weighs the same, however many rows it has.
        rows = torch.bincount(made.visit, minlength=len(visits))
        of_rows = (weight / rows[:, None])[made.visit]
        loss = LOSSES[self.config.loss](made.predicted, wanted[made.visit], of_rows)
        if self.config.relational_weight:
            full = (weight > 0).all(dim=1)
            relations = relational_loss(made.hidden[full], wanted[full])
            loss = loss + self.config.relational_weight * relations
        return loss

    def _inputs(self, bags: SegmentBags, visits: np.ndarray) -> tuple[Tensor, Tensor, int]:
        part = bags.take(visits)
        values = torch.from_numpy((part.values - self.mean_) / self.scale_).float()
        return values, torch.from_numpy(np.asarray(part.visit)).long(), part.n_visits


def hidden_layers(n_inputs: int, config: SegmentModelConfig) -> nn.Sequential:
    """Return linear layers of the config's widths, each with ReLU and dropout."""
    layers: list[nn.Module] = []
    for width in config.hidden:
        layers += [nn.Linear(n_inputs, width), nn.ReLU(), nn.Dropout(config.dropout)]
        n_inputs = width
    return nn.Sequential(*layers)


def visit_means(values: Tensor, visit: Tensor, n_visits: int) -> Tensor:
    """Return the mean of each visit's rows, (n_visits, width)."""
    summed = values.new_zeros(n_visits, values.shape[1]).index_add_(0, visit, values)
    return summed / torch.bincount(visit, minlength=n_visits)[:, None]
