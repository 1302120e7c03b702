"""Small convolutional trunks that train from scratch in minutes on a laptop."""

from collections.abc import Sequence

from torch import nn
from torchvision.ops import Conv2dNormActivation

from ..layers import GlobalMaxPool
from .base import Backbone

TINY_SSD = (16, 32, 64, 128, 128, 128)  # channels of its blocks
TINY_SSD_FIRST = 2  # the first block after which a map leaves


def tiny(channels: Sequence[int] = (24, 48, 96, 128, 160), first_level: int = 3, convolutions: int = 2) -> Backbone:
    """Blocks of 3x3 convolutions with batch norm and ReLU, each of which halves the map.

    Args:
        channels: of each block; its output has 1/2, 1/4, ... of the input's side.
        first_level: number of blocks before the first map leaves; one leaves after every block from then on.
        convolutions: in a block; the first has stride 2.
    """
    if not 1 <= first_level <= len(channels):
        raise ValueError(f"tiny: first_level must lie in 1..{len(channels)}, the number of blocks, got {first_level}")
    if convolutions < 1:
        raise ValueError(f"tiny: expected at least one convolution in a block, got convolutions={convolutions}")
    blocks = [_block(inputs, outputs, convolutions) for inputs, outputs in zip((3, *channels), channels)]
    taps = {block: None for block in range(first_level - 1, len(channels))}
    return Backbone(blocks, taps, [], channels[first_level - 1 :], range(len(channels)), 2**first_level)


def tiny_ssd() -> Backbone:
    """TinySSD of Dive into Deep Learning (d2l.ai, chapter "Single Shot Multibox Detection"): five levels.

    Blocks of two convolutions and a max-pooling, the first three without a map, and a global max-pooling: maps
    32/16/8/4/1 at 256 pixels.
    """
    blocks = [_pooled_block(inputs, outputs) for inputs, outputs in zip((3, *TINY_SSD), TINY_SSD)]
    taps = {block: None for block in range(TINY_SSD_FIRST, len(blocks))}
    channels = [*TINY_SSD[TINY_SSD_FIRST:], TINY_SSD[-1]]
    return Backbone(blocks, taps, [GlobalMaxPool()], channels, range(len(blocks)), 8)


def _block(inputs: int, outputs: int, convolutions: int) -> nn.Sequential:
    down = Conv2dNormActivation(inputs, outputs, stride=2)
    return nn.Sequential(down, *(Conv2dNormActivation(outputs, outputs) for _ in range(convolutions - 1)))


def _pooled_block(inputs: int, outputs: int) -> nn.Sequential:
    """Two 3x3 convolutions with a bias, batch norm and ReLU each, and a max-pooling that halves the map."""
    return nn.Sequential(
        Conv2dNormActivation(inputs, outputs, bias=True),
        Conv2dNormActivation(outputs, outputs, bias=True),
        nn.MaxPool2d(2),
    )
