"""Several processes that train one model: who does what, and how results are put together.

Each process embeds its part of a batch, all of them exchange embeddings and compute the loss of
the whole batch, and gradients are summed once a step. This is what torch's
DistributedDataParallel does for a model with a single forward call and equal parts; here parts
may be unequal, a batch may pass in chunks, and the towers are called separately.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, distributed, nn

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """The processes of a training.

    Attributes
    ----------
    rank : int
        This process, from 0; only 0 writes files.
    size : int
        Number of processes.
    """

    rank: int = 0
    size: int = 1

    @property
    def writes(self) -> bool:
        """Whether this process is the one that writes files and shows progress."""
        return self.rank == 0

    def sizes(self, n: int) -> tuple[int, ...]:
        """Return how many of n rows each process takes: all of them, none twice."""
        return tuple(len(part) for part in np.array_split(np.arange(n), self.size))

    def part(self, n: int) -> slice:
        """Return which of n rows this process takes."""
        sizes = self.sizes(n)
        start = sum(sizes[: self.rank])
        return slice(start, start + sizes[self.rank])

    def gather_rows(self, own: Tensor, sizes: tuple[int, ...]) -> Tensor:
        """Stack the rows of all processes in their order; own rows carry the gradient.

        Parameters
        ----------
        own : Tensor of shape (sizes[rank], ...)
            This process's rows.
        sizes : tuple of int
            Rows of each process.

        Returns
        -------
        Tensor of shape (sum(sizes), ...)
        """
        if self.size == 1:
            return own
        out: Tensor = _GatherRows.apply(own, sizes, self.rank)
        return out

    def share_gradient(self, value: Tensor) -> Tensor:
        """Return `value`, whose gradient is then 1 / size of what flows back.

        For what every process uses in the same computation, since gradients are summed later.
        """
        if self.size == 1 or not value.requires_grad:
            return value
        shared = value.clone()
        shared.register_hook(lambda gradient: gradient / self.size)
        return shared

    def mean_value(self, loss: Tensor) -> Tensor:
        """Return the mean of the processes' losses, with this one's share of the gradient."""
        if self.size == 1:
            return loss
        mean = loss.detach().clone()
        distributed.all_reduce(mean)
        share = loss / self.size
        return share + (mean / self.size - share.detach())

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace gradients by their sum over processes; a missing one counts as zero."""
        if self.size == 1:
            return
        wanted = list(parameters)
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in wanted]
        flat = torch.cat([g.reshape(-1).float() for g in gradients])
        distributed.all_reduce(flat)
        start = 0
        for parameter in wanted:
            summed = flat[start : start + parameter.numel()].view_as(parameter)
            parameter.grad = summed.to(parameter.dtype)
            start += parameter.numel()

    def spread_buffers(self, module: nn.Module) -> None:
        """Give every process the buffers (running means of norms) of the first."""
        if self.size > 1:
            for buffer in module.buffers():
                distributed.broadcast(buffer, src=0)

    def gather(self, own: T) -> list[T]:
        """Return one small object of every process, in their order, to all of them."""
        if self.size == 1:
            return [own]
        found: list[Any] = [None] * self.size
        distributed.all_gather_object(found, own)
        return found

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.size > 1:
            distributed.barrier()


class _GatherRows(torch.autograd.Function):
    """All rows forward; backward only the own ones, since every process has the whole loss."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, sizes: tuple[int, ...], rank: int) -> Tensor:
        ctx.start, ctx.stop = sum(sizes[:rank]), sum(sizes[: rank + 1])
        padded = own.new_zeros((max(sizes), *own.shape[1:]))
        padded[: len(own)] = own
        found = [torch.empty_like(padded) for _ in sizes]
        distributed.all_gather(found, padded)
        return torch.cat([rows[:n] for rows, n in zip(found, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0][ctx.start : ctx.stop], None, None


@contextmanager
def joined_world(device: torch.device, *, environment: Mapping[str, str]) -> Iterator[World]:
    """Join the processes that `torchrun` started, or be alone where it did not.

    Parameters
    ----------
    device : torch.device
        Where this process computes; it decides between NCCL and Gloo.
    environment : mapping
        With torchrun's RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT, or without them.

    Yields
    ------
    World
    """
    if distributed.is_initialized():
        yield World(distributed.get_rank(), distributed.get_world_size())
        return
    if int(environment.get("WORLD_SIZE", "1")) < 2:
        yield World()
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    distributed.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        rank=int(environment["RANK"]),
        world_size=int(environment["WORLD_SIZE"]),
    )
    try:
        yield World(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()


def own_device(name: str, *, environment: Mapping[str, str]) -> str:
    """Return the GPU of this process for `auto` or `cuda` under torchrun; else the name itself."""
    local = environment.get("LOCAL_RANK")
    if local is None or int(environment.get("WORLD_SIZE", "1")) < 2:
        return name
    if name == "cuda" or (name == "auto" and torch.cuda.is_available()):
        return f"cuda:{local}"
    return name
