"""Losses of regression over a batch of weighted rows; a weight of 0 stands for no rating."""

from __future__ import annotations

import torch
from torch import Tensor

SMALLEST = 1e-8


def root_mean_squared_error(predicted: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
    """Return the weighted RMSE, averaged over outputs.

    Parameters
    ----------
    predicted, wanted : Tensor of shape (n_rows, n_outputs)
    weight : Tensor of shape (n_rows, n_outputs)
    """
    share = _shares(weight)
    return ((share * (predicted - wanted) ** 2).sum(dim=0) + SMALLEST).sqrt().mean()


def concordance_loss(predicted: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
    """Return 1 - Lin's concordance correlation (1989), weighted, averaged over outputs.

    Parameters
    ----------
    predicted, wanted : Tensor of shape (n_rows, n_outputs)
    weight : Tensor of shape (n_rows, n_outputs)
    """
    share = _shares(weight)
    means = [(share * v).sum(dim=0) for v in (predicted, wanted)]
    x, y = predicted - means[0], wanted - means[1]
    spread = (share * (x**2 + y**2)).sum(dim=0) + (means[0] - means[1]) ** 2
    return (1 - 2 * (share * x * y).sum(dim=0) / (spread + SMALLEST)).mean()


def _shares(weight: Tensor) -> Tensor:
    """Return weights that sum to 1 for each output; to 0 where the batch has no rating of it."""
    total = weight.sum(dim=0)
    return weight / torch.where(total > 0, total, 1.0)


def relational_loss(hidden: Tensor, wanted: Tensor) -> Tensor:
    """Align distances between representations with distances between labels.

    After Foteinopoulou & Patras (2022), arXiv 2207.05577: within a batch, how alike two samples
    are in the latent space is to follow how alike their labels are; the loss is the root mean
    squared difference over pairs. They compare vectors of several labels by their cosine, of
    which a single rating leaves only the sign. Here latent distances are 1 - cosine, and label
    distances are Euclidean, as shares of the largest in the batch, which holds for one label too.

    Parameters
    ----------
    hidden : Tensor of shape (n_visits, width), not negative
    wanted : Tensor of shape (n_visits, n_outputs)

    Returns
    -------
    Tensor
        0 for fewer than two visits.
    """
    n = len(hidden)
    if n < 2:
        return hidden.sum() * 0
    unit = torch.nn.functional.normalize(hidden, dim=1)
    first, second = torch.triu_indices(n, n, offset=1)
    of_hidden = 1 - (unit[first] * unit[second]).sum(dim=1)
    of_labels = (wanted[first] - wanted[second]).norm(dim=1)
    squared = (of_hidden - of_labels / (of_labels.max() + SMALLEST)) ** 2
    loss: Tensor = (squared.mean() + SMALLEST).sqrt()
    return loss
