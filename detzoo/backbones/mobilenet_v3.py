"""MobileNetV3 (arXiv:1905.02244) as SSDlite uses it."""

from collections.abc import Callable, Sequence

from torch import nn
from torchvision import models

from ..layers import batch_norm, normal_init
from .base import Backbone
from .extras import SSDLITE_EXTRAS, check_width, split_expansion, ssdlite_extras

# Where stages begin but for the last convolution, as torchvision counts them: at the stem and at each strided block.
# The last of these is the first block of stride 32; its expansion layer is the last thing at stride 16.
LARGE_STAGES, SMALL_STAGES = (0, 2, 4, 7, 13), (0, 1, 2, 4, 9)


def mobilenet_v3_large(reduced_tail: bool = True, width: float = 1.0) -> Backbone:
    """MobileNetV3-Large with the taps of its SSDlite (section 6.3) and four extra blocks: 20/10/5/3/2/1 at 320 pixels.

    Maps leave after the expansion layer of the first stride-32 block, after the last convolution, and after each extra.

    Args:
        reduced_tail: halve the channels of the last three blocks, as the published detectors do (table 6); ImageNet
            weights fit the full tail only.
        width: factor of the trunk's channels, rounded to multiples of 8 as torchvision does.
    """
    check_width("mobilenet_v3_large", width)
    return _ssdlite_trunk(models.mobilenet_v3_large, LARGE_STAGES, reduced_tail, width)


def mobilenet_v3_small(reduced_tail: bool = True, width: float = 1.0) -> Backbone:
    """MobileNetV3-Small, as `mobilenet_v3_large` is with MobileNetV3-Large; see there."""
    check_width("mobilenet_v3_small", width)
    return _ssdlite_trunk(models.mobilenet_v3_small, SMALL_STAGES, reduced_tail, width)


def _ssdlite_trunk(
    make: Callable[..., models.MobileNetV3], stages: Sequence[int], reduced_tail: bool, width: float
) -> Backbone:
    norm = batch_norm()
    trunk: nn.Sequential = make(weights=None, norm_layer=norm, reduced_tail=reduced_tail, width_mult=width).features
    expansion = stages[-1]
    block = trunk[expansion]
    layers = [*trunk[:expansion], *split_expansion(block, block.block), *trunk[expansion + 1 :]]
    channels = [block.block[0].out_channels, trunk[-1].out_channels, *SSDLITE_EXTRAS]
    extras = ssdlite_extras(channels[1], SSDLITE_EXTRAS, norm)
    for module in (trunk, *extras):
        normal_init(module)
    last = len(layers) - 1
    return Backbone(layers, {expansion: None, last: None}, extras, channels, (*stages, last), 16)
