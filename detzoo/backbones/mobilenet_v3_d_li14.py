"""MobileNetV3 (arXiv:1905.02244) as d-li14 wrote it (github.com/d-li14/mobilenetv3.pytorch) and lufficc/SSD uses it
(github.com/lufficc/SSD).
"""

from torch import nn
from torchvision import models
from torchvision.models.mobilenetv3 import InvertedResidual, InvertedResidualConfig
from torchvision.ops import SqueezeExcitation

from .base import Backbone
from .mobilenet_v3 import LARGE_STAGES

LAST_AT_16 = 12  # the last block of stride 16
EXTRAS = ((192, 512), (128, 256), (128, 256), (64, 64))  # channels inside, and those that come out


def mobilenet_v3_large_d_li14() -> Backbone:
    """MobileNetV3-Large with the taps of lufficc/SSD and four inverted residuals: maps 20/10/5/3/2/1 at 320 pixels.

    Not the function that torchvision's is, though all tensors have the same shapes: behind a depthwise convolution
    squeeze-and-excitation comes before the activation, and the eps of the batch norms is PyTorch's 1e-5. The first map
    is what comes out of the last block of stride 16, not an expansion.
    """
    trunk = models.mobilenet_v3_large(weights=None, norm_layer=nn.BatchNorm2d, reduced_tail=False).features
    outputs = [channels for _, channels in EXTRAS]
    channels = [trunk[LAST_AT_16].out_channels, trunk[-1].out_channels, *outputs]
    extras = [_extra(*widths) for widths in zip(channels[1:], EXTRAS, strict=False)]
    for block in (*trunk, *extras):
        if isinstance(block, InvertedResidual):
            _squeeze_first(block)
    last = len(trunk) - 1
    return Backbone(trunk, {LAST_AT_16: None, last: None}, extras, channels, (*LARGE_STAGES, last), 16)


def _extra(inputs: int, widths: tuple[int, int]) -> InvertedResidual:
    """A block of the trunk's kind that halves the map, started as the trunk is."""
    inside, outputs = widths
    config = InvertedResidualConfig(
        inputs, 3, inside, outputs, use_se=True, activation="HS", stride=2, dilation=1, width_mult=1
    )
    block = InvertedResidual(config, nn.BatchNorm2d)
    for layer in block.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out")
    return block


def _squeeze_first(block: InvertedResidual) -> None:
    """Move the activation behind the depthwise convolution to behind squeeze-and-excitation, if there is one.

    The first block of the trunk, which does not expand, would keep its order; it has no squeeze-and-excitation.
    """
    layers = block.block
    for index, layer in enumerate(list(layers)):
        if isinstance(layer, SqueezeExcitation):
            layers.insert(index + 1, layers[index - 1].pop(-1))
