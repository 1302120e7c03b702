"""ResNets as NVIDIA's SSD300 uses them (github.com/NVIDIA/DeepLearningExamples, PyTorch/Detection/SSD)."""

from typing import Literal

from torch import nn
from torchvision import models
from torchvision.ops import Conv2dNormActivation

from ..layers import xavier_init
from .base import Backbone

# Channels of the blocks behind the trunk, and how many of them halve the map; the others, without padding, take one
# cell from each side.
EXTRAS = {"ssd300": ((512, 512, 256, 256, 256), 3), "ssd512": ((512, 512, 256, 256, 256, 256), 6)}
STAGES = (0, 4, 5, 6)  # conv1 and its pooling; conv2_x, conv3_x, conv4_x

Extras = Literal["ssd300", "ssd512"]


def resnet18(extras: Extras = "ssd300") -> Backbone:
    """ResNet-18 up to conv4_x and extra blocks; the last one has 128 channels, as NVIDIA's has.

    Args:
        extras: see `resnet50`.
    """
    return _up_to_conv4("resnet18", extras, last=128)


def resnet34(extras: Extras = "ssd300") -> Backbone:
    """ResNet-34 up to conv4_x and extra blocks.

    Args:
        extras: see `resnet50`.
    """
    return _up_to_conv4("resnet34", extras)


def resnet50(extras: Extras = "ssd300") -> Backbone:
    """ResNet-50 up to conv4_x and extra blocks.

    Args:
        extras: `"ssd300"`, NVIDIA's five blocks: maps 38/19/10/5/3/1 at 300 pixels; `"ssd512"`, six blocks that halve
            the map, in the image of VGG's SSD512: 64/32/16/8/4/2/1 at 512.
    """
    return _up_to_conv4("resnet50", extras)


def resnet101(extras: Extras = "ssd300") -> Backbone:
    """ResNet-101 up to conv4_x and extra blocks.

    Args:
        extras: see `resnet50`.
    """
    return _up_to_conv4("resnet101", extras)


def resnet152(extras: Extras = "ssd300") -> Backbone:
    """ResNet-152 up to conv4_x and extra blocks.

    Args:
        extras: see `resnet50`.
    """
    return _up_to_conv4("resnet152", extras)


def _up_to_conv4(name: str, extras: Extras, last: int = 256) -> Backbone:
    """Without conv5_x, and with conv4_x at the stride of conv3_x, 8."""
    if extras not in EXTRAS:
        raise ValueError(f"{name}: extras must be one of {sorted(EXTRAS)}, got {extras!r}")
    network: models.ResNet = getattr(models, name)(weights=None)
    first = network.layer3[0]
    for convolution in (first.conv1, first.conv2, first.downsample[0]):
        convolution.stride = (1, 1)
    stem = [network.conv1, network.bn1, network.relu, network.maxpool]
    trunk = [*stem, network.layer1, network.layer2, network.layer3]
    outputs, halving = EXTRAS[extras]
    channels = [network.layer4[0].conv1.in_channels, *outputs[:-1], last]
    blocks = [
        _extra(inputs, middle=wide // 2, outputs=output, halve=k < halving)
        for k, (inputs, wide, output) in enumerate(zip(channels, outputs, channels[1:]))
    ]
    for block in blocks:
        xavier_init(block)
    return Backbone(trunk, {len(trunk) - 1: None}, blocks, channels, STAGES, 8)


def _extra(inputs: int, *, middle: int, outputs: int, halve: bool) -> nn.Sequential:
    """A 1x1 and a 3x3 convolution, each with batch norm and ReLU."""
    shrink = {"stride": 2, "padding": 1} if halve else {"stride": 1, "padding": 0}
    return nn.Sequential(
        Conv2dNormActivation(inputs, middle, kernel_size=1),
        Conv2dNormActivation(middle, outputs, kernel_size=3, **shrink),
    )
