"""MobileNetV1 (arXiv:1704.04861) as pytorch-ssd (github.com/qfgaohao/pytorch-ssd), MobileNet-SSD
(github.com/chuanqi305/MobileNet-SSD) and TensorFlow's Object Detection API (github.com/tensorflow/models) use it.
"""

from functools import partial
from typing import Literal

from torch import nn
from torchvision.ops import Conv2dNormActivation

from ..layers import batch_norm, same_padded, xavier_init
from .base import Backbone
from .extras import Convolution, biased_separable_extra, check_width, halving_extra, normed_extra, ssdlite_extra

# Table 1: channels and stride of each separable block
BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))
LAST_AT_16, STAGES = 11, (0, 2, 4, 6, 12)  # the last block of stride 16; stages begin at the strided blocks
EXTRAS = {
    "ssd": (512, 256, 256, 256),
    "ssdlite": (512, 256, 256, 256),
    "mobilenet_ssd": (512, 256, 256, 128),
    "tensorflow": (512, 256, 256, 128),
    "tensorflow_lite": (512, 256, 256, 128),
}
TENSORFLOW = ("tensorflow", "tensorflow_lite")

ExtraKind = Literal["ssd", "ssdlite", "mobilenet_ssd", "tensorflow", "tensorflow_lite"]


def mobilenet_v1(extras: ExtraKind = "ssd", width: float = 1.0, norm: bool = True) -> Backbone:
    """MobileNetV1 with the taps that its SSDs have in common: maps 19/10/5/3/2/1 at 300 pixels.

    Maps leave after the last block of stride 16, after the last block, and after each of four extras.

    Args:
        extras: pytorch-ssd's `"ssd"`, plain convolutions, or `"ssdlite"`, separable ones, neither with batch norm;
            `"mobilenet_ssd"`, the other project's, plain ones with batch norm, half as wide in the end;
            `"tensorflow"`, as these, or `"tensorflow_lite"`, separable ones with batch norm, behind a trunk that is
            TensorFlow's too: its padding, its constants in every batch norm, and ReLU6.
        width: factor of all channels of the trunk, which stay at least 8 (section 3.3).
        norm: whether there is any batch norm. Without, convolutions have biases: what is left of a trained network when
            its norms are merged into them.
    """
    if extras not in EXTRAS:
        raise ValueError(f"mobilenet_v1: extras must be one of {tuple(EXTRAS)}, got {extras!r}")
    check_width("mobilenet_v1", width)
    tensorflow = extras in TENSORFLOW
    layer = (batch_norm() if tensorflow else nn.BatchNorm2d) if norm else None
    activation = nn.ReLU6 if tensorflow else nn.ReLU
    convolution = partial(Conv2dNormActivation, norm_layer=layer, activation_layer=activation)
    widths = [max(8, int(channels * width)) for channels in (32, *(channels for channels, _ in BLOCKS))]
    blocks = [
        _separable_block(inputs, outputs, stride, convolution)
        for inputs, outputs, (_, stride) in zip(widths, widths[1:], BLOCKS, strict=False)
    ]
    trunk = [convolution(3, widths[0], stride=2), *blocks]
    channels = [widths[LAST_AT_16], widths[-1], *EXTRAS[extras]]
    make = {
        "ssd": halving_extra,
        "ssdlite": biased_separable_extra,
        "tensorflow_lite": partial(ssdlite_extra, norm=layer),
    }.get(extras, partial(normed_extra, convolution=convolution))
    last = [make(inputs, outputs) for inputs, outputs in zip(channels[1:], EXTRAS[extras], strict=False)]
    for block in last:
        xavier_init(block)
    if tensorflow:
        trunk, last = ([same_padded(block) for block in blocks] for blocks in (trunk, last))
    return Backbone(trunk, {LAST_AT_16: None, len(trunk) - 1: None}, last, channels, STAGES, 16)


def _separable_block(inputs: int, outputs: int, stride: int, convolution: Convolution) -> nn.Sequential:
    """Depthwise 3x3 and 1x1 convolution, each with batch norm and ReLU (figure 3)."""
    return nn.Sequential(
        convolution(inputs, inputs, stride=stride, groups=inputs),
        convolution(inputs, outputs, kernel_size=1),
    )
