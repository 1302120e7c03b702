"""SqueezeNet (arXiv:1602.07360) as pytorch-ssd uses it (github.com/qfgaohao/pytorch-ssd)."""

from torch import nn
from torchvision import models

from ..layers import xavier_init
from .base import Backbone
from .extras import biased_separable_extra

LAST_AT_16 = 11  # fire8 in torchvision's list of layers; fire9, behind it, leads to the extras only
EXTRAS = (512, 512, 256, 256, 256)
STAGES = (0, 2, 5, 8)  # a stage begins with its max-pooling


def squeezenet1_1() -> Backbone:
    """SqueezeNet 1.1 with the tap and the extras of pytorch-ssd's SSDlite: maps 17/10/5/3/2/1 at 300 pixels.

    One map leaves the trunk, after fire8, and one each of five separable extras without batch norm.
    """
    trunk = models.squeezenet1_1(weights=None).features
    for layer in trunk:
        if isinstance(layer, nn.MaxPool2d):
            layer.ceil_mode = False  # its own trunk rounds down, torchvision's up: 17 cells a side, not 18
    channels = [trunk[LAST_AT_16].expand1x1.out_channels * 2, *EXTRAS]
    # the first extra pads by two: 17 -> 10 cells, as other trunks have there
    extras = [biased_separable_extra(*pair, padding=1 if k else 2) for k, pair in enumerate(zip(channels, EXTRAS))]
    for block in extras:
        xavier_init(block)
    return Backbone(trunk, {LAST_AT_16: None}, extras, channels, STAGES, 16)
