"""A running mean of the weights of a model in training."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def running_mean(model: nn.Module, decay: float, *, warmup: bool = True) -> AveragedModel:
    """A copy of the model whose parameters follow the model's: the first `update_parameters(model)` copies them, each
    later one makes them `d * mean + (1 - d) * parameters`. Buffers are the model's own, for batch statistics are
    running means already.

    Args:
        model: in training.
        decay: d, in [0, 1).
        warmup: use min(decay, (1 + n) / (10 + n)) after n updates, as TensorFlow's ExponentialMovingAverage does.
    """

    def average(means: Sequence[Tensor], parameters: Sequence[Tensor], _: Tensor) -> None:
        number = int(mean.n_averaged)  # the one given here is on the model's device: to read it is to wait for a GPU
        kept = min(decay, (1 + number) / (10 + number)) if warmup else decay
        with torch.no_grad():
            torch._foreach_lerp_(list(means), list(parameters), 1 - kept)

    mean = AveragedModel(model, multi_avg_fn=average)
    return mean.requires_grad_(False).eval()
