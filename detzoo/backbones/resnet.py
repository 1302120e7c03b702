"""ResNets as NVIDIA's SSD300 uses them (github.com/NVIDIA/DeepLearningExamples, PyTorch/Detection/SSD)."""

from collections.abc import Sequence

from torch import nn
from torchvision import models
from torchvision.ops import Conv2dNormActivation

from ..layers import xavier_init
from .base import Backbone

EXTRAS = (512, 512, 256, 256, 256)  # channels of the blocks behind the trunk
MIDDLES = (256, 256, 128, 128, 128)  # and of the 1x1 convolution inside each
HALVING = 3  # of these blocks halve the map; the others, without padding, take one cell from each side
STAGES = (0, 4, 5, 6)  # conv1 and its pooling; conv2_x, conv3_x, conv4_x


def resnet18() -> Backbone:
    """ResNet-18 up to conv4_x and five extra blocks; the last one has 128 channels, as NVIDIA's has."""
    return _up_to_conv4(models.resnet18(weights=None), (*EXTRAS[:-1], 128))


def resnet34() -> Backbone:
    """ResNet-34 up to conv4_x and five extra blocks."""
    return _up_to_conv4(models.resnet34(weights=None))


def resnet50() -> Backbone:
    """ResNet-50 up to conv4_x and five extra blocks."""
    return _up_to_conv4(models.resnet50(weights=None))


def resnet101() -> Backbone:
    """ResNet-101 up to conv4_x and five extra blocks."""
    return _up_to_conv4(models.resnet101(weights=None))


def resnet152() -> Backbone:
    """ResNet-152 up to conv4_x and five extra blocks."""
    return _up_to_conv4(models.resnet152(weights=None))


def _up_to_conv4(network: models.ResNet, outputs: Sequence[int] = EXTRAS) -> Backbone:
    """Without conv5_x, and with conv4_x at the stride of conv3_x: maps 38/19/10/5/3/1 at 300 pixels."""
    first = network.layer3[0]
    for convolution in (first.conv1, first.conv2, first.downsample[0]):
        convolution.stride = (1, 1)
    stem = [network.conv1, network.bn1, network.relu, network.maxpool]
    trunk = [*stem, network.layer1, network.layer2, network.layer3]
    channels = [network.layer4[0].conv1.in_channels, *outputs]
    extras = [
        _extra(inputs, middle, output, halve=k < HALVING)
        for k, (inputs, middle, output) in enumerate(zip(channels, MIDDLES, outputs))
    ]
    for block in extras:
        xavier_init(block)
    return Backbone(trunk, {len(trunk) - 1: None}, extras, channels, STAGES)


def _extra(inputs: int, middle: int, outputs: int, *, halve: bool) -> nn.Sequential:
    """A 1x1 and a 3x3 convolution, each with batch norm and ReLU."""
    shrink = {"stride": 2, "padding": 1} if halve else {"stride": 1, "padding": 0}
    return nn.Sequential(
        Conv2dNormActivation(inputs, middle, kernel_size=1),
        Conv2dNormActivation(middle, outputs, kernel_size=3, **shrink),
    )
