"""Blocks behind a trunk that several trunks share."""

from torch import nn


def plain_extra(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1, padding: int = 0) -> nn.Sequential:
    """A 1x1 convolution to half the outputs and a larger one that shrinks the map (SSD, figure 2)."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs // 2, kernel_size=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(outputs // 2, outputs, kernel_size=kernel, stride=stride, padding=padding),
        nn.ReLU(inplace=True),
    )


def halving_extra(inputs: int, outputs: int) -> nn.Sequential:
    """A `plain_extra` that halves the map."""
    return plain_extra(inputs, outputs, stride=2, padding=1)
