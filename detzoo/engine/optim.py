"""Optimisers and learning-rate schedules, and the tables from which a config picks them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from ..lookup import Part, build_part

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}

NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm)

Factor = Callable[[int], float]  # from the number of steps done to a factor of the learning rate


@dataclass  # not frozen: OmegaConf would refuse overrides
class ParameterRules:
    """What the optimiser does otherwise for some parameters; the defaults treat all alike.

    Attributes:
        bias_lr_factor: learning rate of biases, other than of norms, as a multiple; 2 in Caffe's SSD.
        bias_weight_decay: of the same; null for that of the optimiser.
        norm_weight_decay: of the scales and shifts of batch norm and its like; null for that of the optimiser.
    """

    bias_lr_factor: float = 1.0
    bias_weight_decay: float | None = None
    norm_weight_decay: float | None = None


ALIKE = ParameterRules()


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


def build_optimizer(
    model: nn.Module, part: Part, parameters: ParameterRules = ALIKE, *, lr_factor: float = 1.0
) -> torch.optim.Optimizer:
    """The optimiser of all parameters that are not frozen.

    Args:
        model: whose parameters are trained.
        part: a part of `OPTIMIZERS`.
        parameters: what is otherwise for biases and norms.
        lr_factor: multiplies every learning rate.
    """
    optimizer = build_part(OPTIMIZERS, part, "optimizer", params=parameter_groups(model, parameters))
    for group in optimizer.param_groups:
        group["lr"] *= lr_factor * group.pop("lr_factor", 1.0)
    return optimizer


def parameter_groups(model: nn.Module, rules: ParameterRules) -> list[dict[str, Any]]:
    """Trained parameters as groups for an optimiser: weights first, then biases and norms where they are treated
    otherwise. `lr_factor` of a group is for the caller to multiply into its learning rate.
    """
    bias_options = {**_decay(rules.bias_weight_decay), **({"lr_factor": f} if (f := rules.bias_lr_factor) != 1 else {})}
    norm_options = _decay(rules.norm_weight_decay)
    weights, biases, norms = [], [], []
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad:
                continue
            if isinstance(module, NORMS) and norm_options:
                norms.append(parameter)
            elif name == "bias" and not isinstance(module, NORMS) and bias_options:
                biases.append(parameter)
            else:
                weights.append(parameter)
    groups = [
        {"params": weights},
        {"params": biases, **bias_options},
        {"params": norms, **norm_options},
    ]
    return [group for group in groups if group["params"]]


def _decay(weight_decay: float | None) -> dict[str, float]:
    return {} if weight_decay is None else {"weight_decay": weight_decay}


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
