"""Optimisers and learning-rate schedules, and the tables from which a config picks them."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from ..lookup import Part, build_part

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}

Factor = Callable[[int], float]  # from the number of steps done to a factor of the learning rate


def cosine(total_steps: int, warmup_steps: int = 0) -> Factor:
    """Half a cosine from 1 to 0 over the whole run, after a linear warm-up that multiplies it."""

    def factor(step: int) -> float:
        return _warmup(step, warmup_steps) * 0.5 * (1 + math.cos(math.pi * min(step / total_steps, 1)))

    return factor


def multistep(steps_per_epoch: int, milestones: Sequence[float], gamma: float = 0.1, warmup_steps: int = 0) -> Factor:
    """Times `gamma` at each of the `milestones`, in epochs; linear warm-up."""

    def factor(step: int) -> float:
        passed = sum(step >= milestone * steps_per_epoch for milestone in milestones)
        return _warmup(step, warmup_steps) * gamma**passed

    return factor


def constant(warmup_steps: int = 0) -> Factor:
    """The same learning rate throughout, after a linear warm-up."""
    return lambda step: _warmup(step, warmup_steps)


SCHEDULES: dict[str, Callable[..., Factor]] = {"constant": constant, "cosine": cosine, "multistep": multistep}


def build_optimizer(model: nn.Module, part: Part) -> torch.optim.Optimizer:
    """The optimiser of all parameters that are not frozen."""
    return build_part(OPTIMIZERS, part, "optimizer", params=[p for p in model.parameters() if p.requires_grad])


def build_schedule(optimizer: torch.optim.Optimizer, part: Part, *, epochs: int, steps_per_epoch: int) -> LambdaLR:
    """A schedule to step after every optimiser step."""
    factor = build_part(
        SCHEDULES, part, "schedule", total_steps=epochs * steps_per_epoch, steps_per_epoch=steps_per_epoch
    )
    return LambdaLR(optimizer, factor)


def _warmup(step: int, steps: int) -> float:
    if steps < 0:
        raise ValueError(f"schedule.warmup_steps = {steps}: expected 0 or more")
    return min(1.0, (step + 1) / steps) if steps else 1.0
