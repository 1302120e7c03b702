"""MobileNetV1 (arXiv:1704.04861) as pytorch-ssd uses it (github.com/qfgaohao/pytorch-ssd)."""

from typing import Literal

from torch import nn
from torchvision.ops import Conv2dNormActivation

from ..layers import xavier_init
from .base import Backbone
from .extras import biased_separable_extra, check_width, halving_extra

# Table 1: channels and stride of each separable block
BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))
LAST_AT_16, STAGES = 11, (0, 2, 4, 6, 12)  # the last block of stride 16; stages begin at the strided blocks
EXTRAS = (512, 256, 256, 256)

ExtraKind = Literal["ssd", "ssdlite"]


def mobilenet_v1(extras: ExtraKind = "ssd", width: float = 1.0) -> Backbone:
    """MobileNetV1 with the taps and extras of pytorch-ssd: maps 19/10/5/3/2/1 at 300 pixels.

    Maps leave after the last block of stride 16, after the last block, and after each of four extras.

    Args:
        extras: `"ssd"`, plain convolutions; `"ssdlite"`, separable ones. Neither has batch norm.
        width: factor of all channels of the trunk, which stay at least 8 (section 3.3).
    """
    if extras not in (known := ("ssd", "ssdlite")):
        raise ValueError(f"mobilenet_v1: extras must be one of {known}, got {extras!r}")
    check_width("mobilenet_v1", width)
    widths = [max(8, int(channels * width)) for channels in (32, *(channels for channels, _ in BLOCKS))]
    blocks = [
        _separable_block(inputs, outputs, stride)
        for inputs, outputs, (_, stride) in zip(widths, widths[1:], BLOCKS, strict=False)
    ]
    trunk = [Conv2dNormActivation(3, widths[0], stride=2), *blocks]
    channels = [widths[LAST_AT_16], widths[-1], *EXTRAS]
    make = halving_extra if extras == "ssd" else biased_separable_extra
    last = [make(inputs, outputs) for inputs, outputs in zip(channels[1:], EXTRAS, strict=False)]
    for block in last:
        xavier_init(block)
    return Backbone(trunk, {LAST_AT_16: None, len(trunk) - 1: None}, last, channels, STAGES, 16)


def _separable_block(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """Depthwise 3x3 and 1x1 convolution, each with batch norm and ReLU (figure 3)."""
    return nn.Sequential(
        Conv2dNormActivation(inputs, inputs, stride=stride, groups=inputs),
        Conv2dNormActivation(inputs, outputs, kernel_size=1),
    )
