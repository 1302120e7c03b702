"""VGG (arXiv:1409.1556) as SSD uses it."""

from typing import Literal

from torch import nn
from torchvision.models.vgg import cfgs, make_layers

from ..layers import L2Norm, xavier_init
from .base import Backbone
from .extras import halving_extra, plain_extra

Extras = Literal["ssd300", "ssd512", "ssd512_torchvision"]
Norm = Literal["l2", "batch"]
NORMS = {"l2": L2Norm, "batch": nn.BatchNorm2d}
TABLE_1 = {11: "A", 13: "B", 16: "D", 19: "E"}  # columns of VGG's table 1 by their number of layers


def vgg11(extras: Extras = "ssd300", conv4_3_norm: Norm = "l2") -> Backbone:
    """VGG-11; arguments are those of `vgg16`."""
    return _vgg(11, extras, conv4_3_norm)


def vgg13(extras: Extras = "ssd300", conv4_3_norm: Norm = "l2") -> Backbone:
    """VGG-13; arguments are those of `vgg16`."""
    return _vgg(13, extras, conv4_3_norm)


def vgg16(extras: Extras = "ssd300", conv4_3_norm: Norm = "l2") -> Backbone:
    """VGG-16 up to conv5_3, dilated fc6 and fc7, and the extra blocks (SSD, figure 2).

    Args:
        extras: `"ssd300"` gives maps 38/19/10/5/3/1 at 300 pixels; `"ssd512"` 64/32/16/8/4/2/1 at 512, as published
            (Caffe, `ssd_pascal_512.py`); `"ssd512_torchvision"` is torchvision's private `highres=True` with the same
            weight shapes but maps 64/32/16/8/6/4/1.
        conv4_3_norm: what the map of conv4_3, or another VGG's last convolution of stage 4, passes on the way out:
            `"l2"` as published; `"batch"`, a batch norm, in pytorch-ssd (github.com/qfgaohao/pytorch-ssd).
    """
    return _vgg(16, extras, conv4_3_norm)


def vgg19(extras: Extras = "ssd300", conv4_3_norm: Norm = "l2") -> Backbone:
    """VGG-19; arguments are those of `vgg16`."""
    return _vgg(19, extras, conv4_3_norm)


def vgg11_bn(extras: Extras = "ssd300", conv4_3_norm: Norm = "l2") -> Backbone:
    """VGG-11 with batch norm in the trunk; arguments are those of `vgg16`."""
    return _vgg(11, extras, conv4_3_norm, batch_norm=True)


def vgg13_bn(extras: Extras = "ssd300", conv4_3_norm: Norm = "l2") -> Backbone:
    """VGG-13 with batch norm in the trunk; arguments are those of `vgg16`."""
    return _vgg(13, extras, conv4_3_norm, batch_norm=True)


def vgg16_bn(extras: Extras = "ssd300", conv4_3_norm: Norm = "l2") -> Backbone:
    """VGG-16 with batch norm in the trunk; arguments are those of `vgg16`."""
    return _vgg(16, extras, conv4_3_norm, batch_norm=True)


def vgg19_bn(extras: Extras = "ssd300", conv4_3_norm: Norm = "l2") -> Backbone:
    """VGG-19 with batch norm in the trunk; arguments are those of `vgg16`."""
    return _vgg(19, extras, conv4_3_norm, batch_norm=True)


def _vgg(depth: int, extras: Extras, conv4_3_norm: Norm, batch_norm: bool = False) -> Backbone:
    name = f"vgg{depth}{'_bn' if batch_norm else ''}"
    if extras not in EXTRAS:
        raise ValueError(f"{name}: extras must be one of {sorted(EXTRAS)}, got {extras!r}")
    if conv4_3_norm not in NORMS:
        raise ValueError(f"{name}: conv4_3_norm must be one of {sorted(NORMS)}, got {conv4_3_norm!r}")
    layers = _convolutions(depth, batch_norm)
    pools = [index for index, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
    layers[pools[2]].ceil_mode = True  # 75 -> 38, as in the paper
    blocks = [_dilated_fc(), *EXTRAS[extras]()]
    for block in blocks:
        xavier_init(block)
    channels = [512, 1024, 512, *[256] * (len(blocks) - 2)]
    taps = {pools[3] - 1: NORMS[conv4_3_norm](512)}  # the last ReLU of stage 4
    stages = (0, *pools)  # a stage begins with its pooling, as in torchvision
    return Backbone(layers, taps, blocks, channels, stages, 8)


def _convolutions(depth: int, batch_norm: bool) -> list[nn.Module]:
    """torchvision's layers up to conv5, started as it starts them; its classifier, 120 M parameters, is not made."""
    layers = make_layers(cfgs[TABLE_1[depth]], batch_norm=batch_norm)[:-1]  # pool5 is replaced below
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    return list(layers)


def _dilated_fc() -> nn.Sequential:
    """pool5 without stride, fc6 as a dilated convolution, fc7 (section 3, "Base network")."""
    return nn.Sequential(
        nn.MaxPool2d(kernel_size=3, stride=1, padding=1),
        nn.Conv2d(512, 1024, kernel_size=3, padding=6, dilation=6),
        nn.ReLU(inplace=True),
        nn.Conv2d(1024, 1024, kernel_size=1),
        nn.ReLU(inplace=True),
    )


def _ssd300_extras() -> list[nn.Module]:
    return [halving_extra(1024, 512), halving_extra(512, 256), plain_extra(256, 256), plain_extra(256, 256)]


def _ssd512_extras() -> list[nn.Module]:
    last = plain_extra(256, 256, kernel=4, padding=1)
    return [halving_extra(1024, 512), halving_extra(512, 256), halving_extra(256, 256), halving_extra(256, 256), last]


def _ssd512_torchvision_extras() -> list[nn.Module]:
    return [*_ssd300_extras(), plain_extra(256, 256, kernel=4)]


EXTRAS = {
    "ssd300": _ssd300_extras,
    "ssd512": _ssd512_extras,
    "ssd512_torchvision": _ssd512_torchvision_extras,
}
