"""A running mean of the weights of a model in training."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def running_mean(model: nn.Module, decay: float, *, warmup: bool = True) -> AveragedModel:
    """A copy of the model whose parameters follow the model's, `mean = d * mean + (1 - d) * parameters` at each
    `update_parameters(model)`; buffers are the model's own, for batch statistics are running means already.

    Args:
        model: in training.
        decay: d, in [0, 1).
        warmup: use min(decay, (1 + n) / (10 + n)) in update n, as TensorFlow's ExponentialMovingAverage does.
    """
    mean = AveragedModel(model, multi_avg_fn=_average(decay, warmup))
    return mean.requires_grad_(False).eval()


def _average(decay: float, warmup: bool) -> Callable[[Sequence[Tensor], Sequence[Tensor], Tensor], None]:
    @torch.no_grad()
    def average(means: Sequence[Tensor], parameters: Sequence[Tensor], updates: Tensor) -> None:
        number = int(updates)
        kept = min(decay, (1 + number) / (10 + number)) if warmup else decay
        torch._foreach_lerp_(list(means), list(parameters), 1 - kept)

    return average
