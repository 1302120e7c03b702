"""Rank, world size and gathering, with the same meaning in one process as in many."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch.distributed as dist
from torch import Tensor, nn


def is_distributed() -> bool:
    """Whether a process group is up."""
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """This process's number, 0 when alone."""
    return dist.get_rank() if is_distributed() else 0


def world_size() -> int:
    """How many processes work together, 1 when alone."""
    return dist.get_world_size() if is_distributed() else 1


def is_main() -> bool:
    """Whether this process is the one that writes files and talks."""
    return rank() == 0


def gather(thing: Any) -> list[Any]:
    """The `thing` of every rank, in rank order, on every rank; it must be picklable."""
    if not is_distributed():
        return [thing]
    things: list[Any] = [None] * world_size()
    dist.all_gather_object(things, thing)
    return things


def gather_to_main(thing: Any) -> list[Any]:
    """The `thing` of every rank, in rank order, on rank 0, and an empty list elsewhere; it must be picklable."""
    if not is_distributed():
        return [thing]
    things: list[Any] | None = [None] * world_size() if is_main() else None
    dist.gather_object(thing, things)
    return things or []


def from_main(thing: Any) -> Any:
    """Rank 0's `thing`, on every rank; it must be picklable."""
    if not is_distributed():
        return thing
    box = [thing]
    dist.broadcast_object_list(box)
    return box[0]


def share_buffers(module: nn.Module) -> None:
    """Give every rank rank 0's buffers: batch statistics drift apart within a step, and a model is measured as one."""
    if is_distributed():
        for buffer in module.buffers():
            dist.broadcast(buffer, 0)


@contextmanager
def main_first() -> Iterator[None]:
    """Rank 0 goes through the block before the others do, such as to download what they will find."""
    if not is_main():
        barrier()
    try:
        yield
    finally:
        if is_main():
            barrier()


def mean_tensor(tensor: Tensor) -> Tensor:
    """Element-wise mean of a floating tensor over ranks, on every rank; no gradient passes. All ranks must call it."""
    if not is_distributed():
        return tensor
    total = tensor.detach().clone()
    dist.all_reduce(total)
    return total / world_size()


def barrier() -> None:
    """Wait for every rank."""
    if is_distributed():
        dist.barrier()
