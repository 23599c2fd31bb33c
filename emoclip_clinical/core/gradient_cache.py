"""Gradients of a contrastive loss over a batch that does not fit into memory at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

Chunk = TypeVar("Chunk")
Embed = Callable[[int, Chunk], tuple[Tensor, Tensor]]
"""From the number of a chunk and the chunk to (clip embeddings, text embeddings)."""


def backward_in_chunks(
    chunks: Sequence[Chunk],
    *,
    embed: Embed[Chunk],
    loss_of: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """Accumulate the gradients of the whole batch's loss, chunk by chunk.

    Adding up the losses of parts would lose the negatives in the other parts. Instead (GradCache,
    Gao et al. 2021) all chunks are embedded without a graph, the loss of all embeddings is
    differentiated with respect to them, and each chunk is embedded again to carry its rows'
    gradients back into the weights. The result is that of the whole batch up to rounding; the
    price is a second pass.

    Parameters
    ----------
    chunks : sequence
        Parts of this process's rows, in order.
    embed : callable
        Must do the same both times, dropout included, and treat rows alone (no batch norm).
    loss_of : callable
        From all rows' clip and text embeddings to the loss.

    Returns
    -------
    Tensor of shape ()
        The loss, without a graph; gradients have been added to the weights'.
    """
    with torch.no_grad():
        parts = [embed(i, chunk) for i, chunk in enumerate(chunks)]
    clips = torch.cat([c for c, _ in parts]).requires_grad_()
    texts = torch.cat([t for _, t in parts]).requires_grad_()
    loss = loss_of(clips, texts)
    loss.backward()
    sizes = [len(c) for c, _ in parts]
    assert clips.grad is not None
    assert texts.grad is not None
    clip_gradients, text_gradients = clips.grad.split(sizes), texts.grad.split(sizes)
    for i, chunk in enumerate(chunks):
        outputs = zip(embed(i, chunk), (clip_gradients[i], text_gradients[i]), strict=True)
        learned = [(out, gradient) for out, gradient in outputs if out.requires_grad]
        torch.autograd.backward([out for out, _ in learned], [gradient for _, gradient in learned])
    return loss.detach()
