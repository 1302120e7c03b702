"""A small convolutional trunk that trains from scratch in minutes on a laptop."""

from collections.abc import Sequence

from torch import nn
from torchvision.ops import Conv2dNormActivation

from .base import Backbone


def tiny(
    channels: Sequence[int] = (16, 32, 64, 128, 128),
    first_level: int = 3,
    pool_to_one: bool = True,
    blocks_per_level: int = 2,
) -> Backbone:
    """Blocks of 3x3 convolutions, each followed by max-pooling of stride 2 (TinySSD, Dive into Deep Learning, section
    14.7).

    Args:
        channels: of each block; map k has 1/2^(k+1) of the input's side.
        first_level: number of blocks before the first map leaves.
        pool_to_one: add a last level, the maximum over the whole map, as TinySSD has.
        blocks_per_level: convolutions in a block.
    """
    if not 1 <= first_level <= len(channels):
        raise ValueError(f"tiny: first_level must lie in 1..{len(channels)}, the number of blocks, got {first_level}")
    blocks = [
        _down(inputs, outputs, blocks_per_level) for inputs, outputs in zip((3, *channels), channels, strict=False)
    ]
    extras = [nn.AdaptiveMaxPool2d(1)] if pool_to_one else []
    levels = [*channels[first_level - 1 :], *channels[-1:] * len(extras)]
    taps = {layer: None for layer in range(first_level - 1, len(channels))}
    return Backbone(blocks, taps, extras, levels, range(len(channels)))


def _down(inputs: int, outputs: int, convolutions: int) -> nn.Sequential:
    layers = [
        Conv2dNormActivation(width, outputs, activation_layer=nn.ReLU)
        for width in (inputs, *[outputs] * (convolutions - 1))
    ]
    return nn.Sequential(*layers, nn.MaxPool2d(2))
