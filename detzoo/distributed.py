"""Rank, world size and gathering, with the same meaning in one process as in many."""

from typing import Any

import torch.distributed as dist


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


def mean(values: list[float]) -> list[float]:
    """Element-wise mean over ranks of a short list of numbers, on every rank."""
    per_rank = gather(values)
    return [sum(column) / len(per_rank) for column in zip(*per_rank, strict=True)]


def barrier() -> None:
    """Wait for every rank."""
    if is_distributed():
        dist.barrier()
