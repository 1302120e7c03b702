"""MobileNets as SSDlite uses them."""

from collections.abc import Sequence

from torch import nn
from torchvision.models import mobilenet_v3_large as torchvision_mobilenet_v3_large

from ..layers import NormLayer, batch_norm, depthwise, normal_init, pointwise
from .base import Backbone

SSDLITE_EXTRAS = (512, 256, 256, 128)  # channels of the blocks behind the trunk (MobileNetV2's TensorFlow models)
EXPANSION_C4 = 13  # MobileNetV3-Large's first block of stride 32; its expansion layer is the last thing at stride 16


def mobilenet_v3_large(reduced_tail: bool = True) -> Backbone:
    """MobileNetV3-Large with the taps of its SSDlite (arXiv:1905.02244, section 6.3) and four extra blocks.

    Maps leave after the expansion layer of the first stride-32 block, after the last convolution, and after each extra.

    Args:
        reduced_tail: halve the channels of the last three blocks, as the published detectors do (table 6); ImageNet
            weights fit the full tail only.
    """
    norm = batch_norm()
    trunk = torchvision_mobilenet_v3_large(weights=None, norm_layer=norm, reduced_tail=reduced_tail).features
    layers = [*trunk[:EXPANSION_C4], *_split_expansion(trunk[EXPANSION_C4]), *trunk[EXPANSION_C4 + 1 :]]
    channels = [trunk[EXPANSION_C4].block[0].out_channels, trunk[-1].out_channels, *SSDLITE_EXTRAS]
    extras = ssdlite_extras(channels[1], SSDLITE_EXTRAS, norm)
    for module in (trunk, *extras):
        normal_init(module)
    # stages begin at the stem, at each strided block and at the last convolution, as torchvision counts them
    return Backbone(
        layers, {EXPANSION_C4: None, len(layers) - 1: None}, extras, channels, (0, 2, 4, 7, 13, len(layers) - 1)
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


def _split_expansion(block: nn.Module) -> tuple[nn.Module, nn.Module]:
    """An inverted residual in two: the expansion, and the rest. Only right where there is no shortcut across it."""
    assert not block.use_res_connect
    return block.block[0], block.block[1:]
