"""The contrastive loss between clips and their captions."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


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
