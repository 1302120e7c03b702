"""MobileNetV2 (arXiv:1801.04381) as SSDlite uses it."""

from functools import partial
from typing import Literal

from torch import nn
from torchvision.models import mobilenet_v2 as torchvision_mobilenet_v2
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.ops import Conv2dNormActivation

from ..layers import batch_norm, normal_init, same_padded, xavier_init
from .base import Backbone
from .extras import SSDLITE_EXTRAS, check_width, normed_extra, split_expansion, ssdlite_extra

EXPANSION = 14  # the first block of stride 32; its expansion layer is the last thing at stride 16
INVERTED_EXTRAS = ((512, 0.2), (256, 0.25), (256, 0.5), (64, 0.25))  # channels, and those inside by those that come in

ExtraKind = Literal["inverted", "ssdlite", "ssd"]
FirstMap = Literal["expansion", "block"]
Padding = Literal["symmetric", "same"]


def mobilenet_v2(
    width: float = 1.0,
    extras: ExtraKind = "inverted",
    first_map: FirstMap = "expansion",
    padding: Padding = "symmetric",
) -> Backbone:
    """MobileNetV2 with the taps of its SSDlite (section 6.2): 20/10/5/3/2/1 at 320 pixels, 19/10/5/3/2/1 at 300.

    Maps leave at the end of stride 16, after the last convolution, and after each of four extras.

    Args:
        width: factor of the trunk's channels, rounded to multiples of 8 as torchvision does.
        extras: `"inverted"`, pytorch-ssd's inverted residuals (github.com/qfgaohao/pytorch-ssd); `"ssdlite"` or
            `"ssd"`, TensorFlow's blocks of separable or plain convolutions, with its constants in every batch norm.
        first_map: `"expansion"`, of the first block of stride 32, as in the paper; `"block"`, what goes into it, a
            sixth of the channels, as in MMDetection.
        padding: `"symmetric"`, as many zeros on either side; `"same"`, where TensorFlow puts them.
    """
    if extras not in (known := ("inverted", "ssdlite", "ssd")):
        raise ValueError(f"mobilenet_v2: extras must be one of {known}, got {extras!r}")
    if first_map not in (known := ("expansion", "block")):
        raise ValueError(f"mobilenet_v2: first_map must be one of {known}, got {first_map!r}")
    if padding not in (known := ("symmetric", "same")):
        raise ValueError(f"mobilenet_v2: padding must be one of {known}, got {padding!r}")
    check_width("mobilenet_v2", width)
    norm = nn.BatchNorm2d if extras == "inverted" else batch_norm()
    trunk = torchvision_mobilenet_v2(weights=None, width_mult=width, norm_layer=norm).features
    block = trunk[EXPANSION]
    layers = [*trunk[:EXPANSION], *split_expansion(block, block.conv), *trunk[EXPANSION + 1 :]]
    first = EXPANSION if first_map == "expansion" else EXPANSION - 1
    taps = {first: None, len(layers) - 1: None}
    at_16 = block.conv[0].out_channels if first_map == "expansion" else trunk[first].out_channels
    last, outputs = _inverted(trunk) if extras == "inverted" else _tensorflow(trunk, extras == "ssdlite")
    channels = [at_16, trunk[-1].out_channels, *outputs]
    if padding == "same":
        layers, last = ([same_padded(block) for block in blocks] for blocks in (layers, last))
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


def _tensorflow(trunk: nn.Sequential, separable: bool) -> tuple[list[nn.Module], list[int]]:
    """Four of TensorFlow's blocks and their channels; they and the trunk are started as TensorFlow does."""
    plain = partial(Conv2dNormActivation, norm_layer=batch_norm(), activation_layer=nn.ReLU6)
    make = partial(ssdlite_extra, norm=batch_norm()) if separable else partial(normed_extra, convolution=plain)
    blocks = [make(*pair) for pair in zip((trunk[-1].out_channels, *SSDLITE_EXTRAS), SSDLITE_EXTRAS, strict=False)]
    for module in (trunk, *blocks):
        normal_init(module)
    return blocks, list(SSDLITE_EXTRAS)
