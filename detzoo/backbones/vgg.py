"""VGG-16 as SSD uses it."""

from typing import Literal

from torch import nn
from torchvision.models import vgg16 as torchvision_vgg16

from ..layers import L2Norm, xavier_init
from .base import Backbone

POOL3, CONV4_3 = 16, 22  # places in torchvision's list of layers; conv4_3 counts with its ReLU
STAGES = (0, 4, 9, 16, 23)  # a stage begins with its max-pooling, as torchvision counts them

Extras = Literal["ssd300", "ssd512", "ssd512_torchvision"]


def vgg16(extras: Extras = "ssd300") -> Backbone:
    """VGG-16 up to conv5_3, dilated fc6 and fc7, and the extra blocks (SSD, figure 2).

    Args:
        extras: `"ssd300"` gives maps 38/19/10/5/3/1 at 300 pixels; `"ssd512"` 64/32/16/8/4/2/1 at 512, as published
            (Caffe, `ssd_pascal_512.py`); `"ssd512_torchvision"` is torchvision's private `highres=True` with the same
            weight shapes but maps 64/32/16/8/6/4/1.
    """
    if extras not in EXTRAS:
        raise ValueError(f"vgg16: extras must be one of {sorted(EXTRAS)}, got {extras!r}")
    layers = list(torchvision_vgg16(weights=None).features[:-1])  # pool5 is replaced below
    layers[POOL3].ceil_mode = True  # 75 -> 38, as in the paper
    blocks = [_dilated_fc(), *EXTRAS[extras]()]
    for block in blocks:
        xavier_init(block)
    channels = [512, 1024, 512, *[256] * (len(blocks) - 2)]
    return Backbone(layers, {CONV4_3: L2Norm(512)}, blocks, channels, STAGES)


def _dilated_fc() -> nn.Sequential:
    """pool5 without stride, fc6 as a dilated convolution, fc7 (section 3, "Base network")."""
    return nn.Sequential(
        nn.MaxPool2d(kernel_size=3, stride=1, padding=1),
        nn.Conv2d(512, 1024, kernel_size=3, padding=6, dilation=6),
        nn.ReLU(inplace=True),
        nn.Conv2d(1024, 1024, kernel_size=1),
        nn.ReLU(inplace=True),
    )


def _extra(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1, padding: int = 0) -> nn.Sequential:
    """A 1x1 convolution to half the outputs and a larger one that shrinks the map."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs // 2, kernel_size=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(outputs // 2, outputs, kernel_size=kernel, stride=stride, padding=padding),
        nn.ReLU(inplace=True),
    )


def _half(inputs: int, outputs: int) -> nn.Sequential:
    return _extra(inputs, outputs, stride=2, padding=1)


def _ssd300_extras() -> list[nn.Module]:
    return [_half(1024, 512), _half(512, 256), _extra(256, 256), _extra(256, 256)]


def _ssd512_extras() -> list[nn.Module]:
    last = _extra(256, 256, kernel=4, padding=1)
    return [_half(1024, 512), _half(512, 256), _half(256, 256), _half(256, 256), last]


def _ssd512_torchvision_extras() -> list[nn.Module]:
    return [*_ssd300_extras(), _extra(256, 256, kernel=4)]


EXTRAS = {
    "ssd300": _ssd300_extras,
    "ssd512": _ssd512_extras,
    "ssd512_torchvision": _ssd512_torchvision_extras,
}
