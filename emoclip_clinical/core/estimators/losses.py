"""Losses of regression over a batch of weighted rows."""

from __future__ import annotations

import torch
from torch import Tensor

SMALLEST = 1e-8


def root_mean_squared_error(predicted: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
    """Return the weighted RMSE, averaged over outputs.

    Parameters
    ----------
    predicted, wanted : Tensor of shape (n_rows, n_outputs)
    weight : Tensor of shape (n_rows,)
    """
    share = (weight / weight.sum())[:, None]
    return ((share * (predicted - wanted) ** 2).sum(dim=0) + SMALLEST).sqrt().mean()


def concordance_loss(predicted: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
    """Return 1 - Lin's concordance correlation (1989), weighted, averaged over outputs.

    Parameters
    ----------
    predicted, wanted : Tensor of shape (n_rows, n_outputs)
    weight : Tensor of shape (n_rows,)
    """
    share = (weight / weight.sum())[:, None]
    means = [(share * v).sum(dim=0) for v in (predicted, wanted)]
    x, y = predicted - means[0], wanted - means[1]
    spread = (share * (x**2 + y**2)).sum(dim=0) + (means[0] - means[1]) ** 2
    return (1 - 2 * (share * x * y).sum(dim=0) / (spread + SMALLEST)).mean()


def relational_loss(hidden: Tensor, wanted: Tensor) -> Tensor:
    """Align distances between representations with distances between labels.

    After Foteinopoulou & Patras (2022), arXiv 2207.05577: within a batch, the distance of two
    samples in the latent space is to follow that of their labels. Here latent distances are
    1 - cosine, label distances are Euclidean over the largest of the batch, and the loss is the
    mean squared difference over pairs.

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
    loss: Tensor = ((of_hidden - of_labels / (of_labels.max() + SMALLEST)) ** 2).mean()
    return loss
