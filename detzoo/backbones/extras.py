"""Blocks behind a trunk that several trunks share."""

from collections.abc import Callable, Sequence

from torch import nn

from ..layers import NormLayer, biased_separable, depthwise, pointwise

SSDLITE_EXTRAS = (512, 256, 256, 128)  # channels of the blocks behind the trunk (MobileNetV2's TensorFlow models)

Convolution = Callable[..., nn.Module]


def plain_extra(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1, padding: int = 0) -> nn.Sequential:
    """A 1x1 convolution to half the outputs and a larger one that shrinks the map (SSD, figure 2)."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs // 2, kernel_size=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(outputs // 2, outputs, kernel_size=kernel, stride=stride, padding=padding),
        nn.ReLU(inplace=True),
    )


def halving_extra(inputs: int, outputs: int) -> nn.Sequential:
    """A `plain_extra` that halves the map."""
    return plain_extra(inputs, outputs, stride=2, padding=1)


def normed_extra(inputs: int, outputs: int, *, convolution: Convolution) -> nn.Sequential:
    """A `halving_extra` of convolutions with batch norm, which `convolution` makes as `Conv2dNormActivation` does."""
    middle = outputs // 2
    return nn.Sequential(convolution(inputs, middle, kernel_size=1), convolution(middle, outputs, stride=2))


def biased_separable_extra(inputs: int, outputs: int, *, padding: int = 1) -> nn.Sequential:
    """pytorch-ssd's: 1x1 to half the outputs, ReLU, a separable convolution that halves the map; nothing behind it."""
    middle = outputs // 2
    separable = biased_separable(middle, outputs, stride=2)
    separable[0].padding = (padding, padding)
    return nn.Sequential(nn.Conv2d(inputs, middle, kernel_size=1), nn.ReLU(inplace=True), separable)


def ssdlite_extra(inputs: int, outputs: int, *, norm: NormLayer) -> nn.Sequential:
    """A block that halves the map: 1x1 to half the outputs, depthwise 3x3 of stride 2, 1x1 to the outputs."""
    middle = outputs // 2
    return nn.Sequential(
        pointwise(inputs, middle, norm=norm),
        depthwise(middle, stride=2, norm=norm),
        pointwise(middle, outputs, norm=norm),
    )


def ssdlite_extras(inputs: int, outputs: Sequence[int], norm: NormLayer) -> list[nn.Module]:
    """One `ssdlite_extra` behind the other."""
    return [ssdlite_extra(*pair, norm=norm) for pair in zip((inputs, *outputs), outputs)]


def split_expansion(block: nn.Module, layers: nn.Sequential) -> tuple[nn.Module, nn.Module]:
    """An inverted residual in two: the expansion, and the rest. Only right where there is no shortcut across it."""
    assert not block.use_res_connect
    return layers[0], layers[1:]


def check_width(name: str, width: float) -> None:
    """Raise a ValueError if the channels of the trunk called `name` cannot be multiplied by this."""
    if width <= 0:
        raise ValueError(f"{name}: expected a positive width, got {width}")
