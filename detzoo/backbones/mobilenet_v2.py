"""MobileNetV2 (arXiv:1801.04381) as SSDlite uses it."""

from typing import Literal

from torch import nn
from torchvision.models import mobilenet_v2 as torchvision_mobilenet_v2
from torchvision.models.mobilenetv2 import InvertedResidual

from ..layers import batch_norm, normal_init, xavier_init
from .base import Backbone
from .extras import SSDLITE_EXTRAS, check_width, split_expansion, ssdlite_extras

EXPANSION = 14  # the first block of stride 32; its expansion layer is the last thing at stride 16
INVERTED_EXTRAS = ((512, 0.2), (256, 0.25), (256, 0.5), (64, 0.25))  # channels, and those inside by those that come in

ExtraKind = Literal["inverted", "ssdlite"]
FirstMap = Literal["expansion", "block"]


def mobilenet_v2(width: float = 1.0, extras: ExtraKind = "inverted", first_map: FirstMap = "expansion") -> Backbone:
    """MobileNetV2 with the taps of its SSDlite (section 6.2): 20/10/5/3/2/1 at 320 pixels, 19/10/5/3/2/1 at 300.

    Maps leave at the end of stride 16, after the last convolution, and after each of four extras.

    Args:
        width: factor of the trunk's channels, rounded to multiples of 8 as torchvision does.
        extras: `"inverted"`, pytorch-ssd's inverted residuals (github.com/qfgaohao/pytorch-ssd); `"ssdlite"`,
            TensorFlow's blocks, with TensorFlow's constants in every batch norm.
        first_map: `"expansion"`, of the first block of stride 32, as in the paper; `"block"`, what goes into it, a
            sixth of the channels, as in MMDetection.
    """
    if extras not in (known := ("inverted", "ssdlite")):
        raise ValueError(f"mobilenet_v2: extras must be one of {known}, got {extras!r}")
    if first_map not in (known := ("expansion", "block")):
        raise ValueError(f"mobilenet_v2: first_map must be one of {known}, got {first_map!r}")
    check_width("mobilenet_v2", width)
    norm = batch_norm() if extras == "ssdlite" else nn.BatchNorm2d
    trunk = torchvision_mobilenet_v2(weights=None, width_mult=width, norm_layer=norm).features
    block = trunk[EXPANSION]
    layers = [*trunk[:EXPANSION], *split_expansion(block, block.conv), *trunk[EXPANSION + 1 :]]
    first = EXPANSION if first_map == "expansion" else EXPANSION - 1
    taps = {first: None, len(layers) - 1: None}
    at_16 = block.conv[0].out_channels if first_map == "expansion" else trunk[first].out_channels
    last, outputs = _ssdlite(trunk) if extras == "ssdlite" else _inverted(trunk)
    channels = [at_16, trunk[-1].out_channels, *outputs]
    return Backbone(layers, taps, last, channels, (0, 2, 4, 7, EXPANSION, len(layers) - 1), 16)


def _inverted(trunk: nn.Sequential) -> tuple[list[nn.Module], list[int]]:
    """Four inverted residuals, started as in pytorch-ssd, and their channels."""
    outputs = [channels for channels, _ in INVERTED_EXTRAS]
    blocks = [
        InvertedResidual(inputs, channels, stride=2, expand_ratio=ratio)
        for inputs, (channels, ratio) in zip((trunk[-1].out_channels, *outputs), INVERTED_EXTRAS, strict=False)
    ]
    for block in blocks:
        xavier_init(block)
    return blocks, outputs


def _ssdlite(trunk: nn.Sequential) -> tuple[list[nn.Module], list[int]]:
    """Four of TensorFlow's blocks and their channels; they and the trunk are started as TensorFlow does."""
    blocks = ssdlite_extras(trunk[-1].out_channels, SSDLITE_EXTRAS, batch_norm())
    for module in (trunk, *blocks):
        normal_init(module)
    return blocks, list(SSDLITE_EXTRAS)
