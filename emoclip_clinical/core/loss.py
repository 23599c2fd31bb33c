"""The contrastive loss between clips and their captions, on one process and over several."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from emoclip_clinical.core.distributed import World


def contrastive_loss(clips: Tensor, texts: Tensor, logit_scale: Tensor, same: Tensor) -> Tensor:
    """Symmetric InfoNCE in which clips with equal captions are all positives.

    With captions that all differ this is the loss of CLIP (Radford et al. 2021). Where a caption
    stands n times in the batch, the target of its rows is 1/n on each of the n (as in supervised
    contrastive learning, Khosla et al. 2020), instead of calling equal texts negatives.

    Parameters
    ----------
    clips, texts : Tensor of shape (n, d)
        L2-normalised.
    logit_scale : Tensor of shape ()
        Factor on the cosines (not its logarithm).
    same : bool Tensor of shape (n, n)
        True where the captions of two rows are equal; its diagonal is True.

    Returns
    -------
    Tensor of shape ()
        Mean of both directions, in nats.
    """
    logits = logit_scale * clips @ texts.T
    target = same.to(logits.dtype)
    target = target / target.sum(dim=1, keepdim=True)
    over_texts = functional.cross_entropy(logits, target)
    over_clips = functional.cross_entropy(logits.T, target)
    return (over_texts + over_clips) / 2


def gathered_loss(
    clips: Tensor,
    texts: Tensor,
    log_scale: Tensor,
    meanings: Tensor,
    *,
    world: World,
    sizes: tuple[int, ...],
    faithful: bool = False,
) -> Tensor:
    """Return the loss of a batch whose rows lie on several processes.

    Every process computes the loss of the whole batch from everybody's embeddings, so that each
    clip has the whole batch for negatives. The gradients of the processes must then be *summed*
    (`World.sum_gradients`): each holds what flows through its own rows, and its share of what
    flows into the scale. They equal those of one process with all rows.

    Parameters
    ----------
    clips, texts : Tensor of shape (n_own, d)
        L2-normalised embeddings of this process's rows, float32.
    log_scale : Tensor of shape ()
        Logarithm of the factor on the cosines.
    meanings : int Tensor of shape (n,)
        Of the whole batch: equal where texts are one another's positives.
    world : World
        The processes.
    sizes : tuple of int
        Rows of each process; their sum is n.
    faithful : bool
        As the official code does: only own rows are negatives, equal texts among them too, and
        gradients are averaged over processes.

    Returns
    -------
    Tensor of shape ()
        In nats. With `faithful` its *gradient* is the mean's share, its value the mean over
        processes.
    """
    scale = log_scale.exp()
    if faithful:
        alike = torch.eye(len(clips), dtype=torch.bool, device=clips.device)
        return world.mean_value(contrastive_loss(clips, texts, scale, alike))
    clips, texts = world.gather_rows(clips, sizes), world.gather_rows(texts, sizes)
    alike = meanings[:, None] == meanings
    return contrastive_loss(clips, texts, world.share_gradient(scale), alike)
