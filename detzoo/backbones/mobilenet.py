"""MobileNets as SSDlite uses them."""

from collections.abc import Sequence
from typing import Literal

from torch import nn
from torchvision.models import mobilenet_v2 as torchvision_mobilenet_v2
from torchvision.models import mobilenet_v3_large as torchvision_mobilenet_v3_large
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.ops import Conv2dNormActivation

from ..layers import NormLayer, batch_norm, biased_separable, depthwise, normal_init, pointwise, xavier_init
from .base import Backbone
from .extras import halving_extra

SSDLITE_EXTRAS = (512, 256, 256, 128)  # channels of the blocks behind the trunk (MobileNetV2's TensorFlow models)

# MobileNetV1 (arXiv:1704.04861, table 1): channels and stride of each separable block
V1_BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))
V1_LAST_AT_16, V1_STAGES = 11, (0, 2, 4, 6, 12)  # the last block of stride 16; stages begin at the strided blocks
V1_EXTRAS = (512, 256, 256, 256)

# The first block of stride 32 of MobileNetV2 and V3-Large; its expansion layer is the last thing at stride 16.
EXPANSION_V2, EXPANSION_V3 = 14, 13
V2_EXTRAS = ((512, 0.2), (256, 0.25), (256, 0.5), (64, 0.25))  # channels, and those inside in proportion to the inputs

ExtraKind = Literal["ssd", "ssdlite"]


def mobilenet_v1(extras: ExtraKind = "ssd", width: float = 1.0) -> Backbone:
    """MobileNetV1 with the taps and extras of pytorch-ssd (github.com/qfgaohao/pytorch-ssd): maps 19/10/5/3/2/1 at 300.

    Maps leave after the last block of stride 16, after the last block, and after each of four extras.

    Args:
        extras: `"ssd"`, plain convolutions; `"ssdlite"`, separable ones. Neither has batch norm.
        width: factor of all channels of the trunk, which stay at least 8 (section 3.3).
    """
    if extras not in (known := ("ssd", "ssdlite")):
        raise ValueError(f"mobilenet_v1: extras must be one of {known}, got {extras!r}")
    _check_width("mobilenet_v1", width)
    widths = [max(8, int(channels * width)) for channels in (32, *(channels for channels, _ in V1_BLOCKS))]
    blocks = [
        _separable_block(inputs, outputs, stride)
        for inputs, outputs, (_, stride) in zip(widths, widths[1:], V1_BLOCKS, strict=False)
    ]
    trunk = [Conv2dNormActivation(3, widths[0], stride=2), *blocks]
    channels = [widths[V1_LAST_AT_16], widths[-1], *V1_EXTRAS]
    make = halving_extra if extras == "ssd" else _biased_separable_extra
    last = [make(inputs, outputs) for inputs, outputs in zip(channels[1:], V1_EXTRAS, strict=False)]
    for block in last:
        xavier_init(block)
    return Backbone(trunk, {V1_LAST_AT_16: None, len(trunk) - 1: None}, last, channels, V1_STAGES, 16)


def mobilenet_v2(width: float = 1.0) -> Backbone:
    """MobileNetV2 with the taps of its SSDlite (arXiv:1801.04381, section 6.2) and the extras of pytorch-ssd.

    Maps leave after the expansion layer of the first stride-32 block, after the last convolution, and after each of
    four inverted residuals: 19/10/5/3/2/1 at 300 pixels.

    Args:
        width: factor of the trunk's channels, rounded to multiples of 8 as torchvision does.
    """
    _check_width("mobilenet_v2", width)
    trunk = torchvision_mobilenet_v2(weights=None, width_mult=width).features
    block = trunk[EXPANSION_V2]
    layers = [*trunk[:EXPANSION_V2], *_split_expansion(block, block.conv), *trunk[EXPANSION_V2 + 1 :]]
    channels = [block.conv[0].out_channels, trunk[-1].out_channels, *(channels for channels, _ in V2_EXTRAS)]
    extras = [
        InvertedResidual(inputs, outputs, stride=2, expand_ratio=ratio)
        for inputs, (outputs, ratio) in zip(channels[1:], V2_EXTRAS, strict=False)
    ]
    for extra in extras:
        xavier_init(extra)
    return Backbone(
        layers, {EXPANSION_V2: None, len(layers) - 1: None}, extras, channels, (0, 2, 4, 7, 14, len(layers) - 1), 16
    )


def mobilenet_v3_large(reduced_tail: bool = True) -> Backbone:
    """MobileNetV3-Large with the taps of its SSDlite (arXiv:1905.02244, section 6.3) and four extra blocks.

    Maps leave after the expansion layer of the first stride-32 block, after the last convolution, and after each extra.

    Args:
        reduced_tail: halve the channels of the last three blocks, as the published detectors do (table 6); ImageNet
            weights fit the full tail only.
    """
    norm = batch_norm()
    trunk = torchvision_mobilenet_v3_large(weights=None, norm_layer=norm, reduced_tail=reduced_tail).features
    block = trunk[EXPANSION_V3]
    layers = [*trunk[:EXPANSION_V3], *_split_expansion(block, block.block), *trunk[EXPANSION_V3 + 1 :]]
    channels = [block.block[0].out_channels, trunk[-1].out_channels, *SSDLITE_EXTRAS]
    extras = ssdlite_extras(channels[1], SSDLITE_EXTRAS, norm)
    for module in (trunk, *extras):
        normal_init(module)
    # stages begin at the stem, at each strided block and at the last convolution, as torchvision counts them
    return Backbone(
        layers, {EXPANSION_V3: None, len(layers) - 1: None}, extras, channels, (0, 2, 4, 7, 13, len(layers) - 1), 16
    )


def ssdlite_extras(inputs: int, outputs: Sequence[int], norm: NormLayer) -> list[nn.Module]:
    """Blocks that halve the map: 1x1 to half the channels, depthwise 3x3 of stride 2, 1x1 to the channels."""
    blocks = []
    for channels in outputs:
        middle = channels // 2
        blocks.append(
            nn.Sequential(
                pointwise(inputs, middle, norm=norm),
                depthwise(middle, stride=2, norm=norm),
                pointwise(middle, channels, norm=norm),
            )
        )
        inputs = channels
    return blocks


def _separable_block(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """MobileNetV1's block: depthwise 3x3 and 1x1 convolution, each with batch norm and ReLU (figure 3)."""
    return nn.Sequential(
        Conv2dNormActivation(inputs, inputs, stride=stride, groups=inputs),
        Conv2dNormActivation(inputs, outputs, kernel_size=1),
    )


def _biased_separable_extra(inputs: int, outputs: int) -> nn.Sequential:
    """1x1 to half the channels, ReLU, a separable convolution that halves the map; nothing behind it."""
    middle = outputs // 2
    return nn.Sequential(
        nn.Conv2d(inputs, middle, kernel_size=1),
        nn.ReLU(inplace=True),
        biased_separable(middle, outputs, stride=2),
    )


def _split_expansion(block: nn.Module, layers: nn.Sequential) -> tuple[nn.Module, nn.Module]:
    """An inverted residual in two: the expansion, and the rest. Only right where there is no shortcut across it."""
    assert not block.use_res_connect
    return layers[0], layers[1:]


def _check_width(name: str, width: float) -> None:
    if width <= 0:
        raise ValueError(f"{name}: expected a positive width, got {width}")
