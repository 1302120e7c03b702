"""Blocks that trunks and heads both use, and the two ways of the literature to initialise them."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

NormLayer = Callable[[int], nn.Module]


class L2Norm(nn.Module):
    """Scale each pixel's channel vector to unit length times a learned factor per channel (ParseNet, arXiv:1506.04579).

    SSD applies it to conv4_3, whose activations are larger than those of the other maps, with an initial factor of 20
    (arXiv:1512.02325, section 3.1).
    """

    def __init__(self, channels: int, scale: float = 20.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), scale))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight[:, None, None] * F.normalize(x, dim=1)


class GlobalMaxPool(nn.Module):
    """The largest of each channel, [B, C, 1, 1]: `AdaptiveMaxPool2d(1)`, of which ExecuTorch knows nothing."""

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, tuple(x.shape[-2:]))


class SameConv2d(nn.Conv2d):
    """A convolution with TensorFlow's padding "SAME": ceil(side / stride) outputs a side, whatever the input's size.

    Where the zeros cannot be the same in number before and behind, the odd one is behind: with stride 2, a 3x3 kernel
    starts on the first pixel of an even side and one before it on an odd side, where `padding=1` always does the
    latter. Arguments are those of `Conv2d` (tensorflow.org/api_docs/python/tf/nn, "Notes on padding").
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride=stride, dilation=dilation, groups=groups, bias=bias
        )

    def forward(self, x: Tensor) -> Tensor:
        axes = zip(x.shape[-2:], self.kernel_size, self.stride, self.dilation, strict=True)
        (top, bottom), (left, right) = (same_padding(*axis) for axis in axes)
        padding = (top, left)
        if (top, left) != (bottom, right):
            x, padding = F.pad(x, (left, right, top, bottom)), (0, 0)
        return F.conv2d(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, padding=same"


def same_padding(side: int, kernel: int, stride: int = 1, dilation: int = 1) -> tuple[int, int]:
    """How many zeros TensorFlow's "SAME" puts before and behind a side."""
    outputs = -(-side // stride)
    zeros = max((outputs - 1) * stride + (kernel - 1) * dilation + 1 - side, 0)
    return zeros // 2, zeros - zeros // 2


def same_padded(module: nn.Module) -> nn.Module:
    """A module in which every convolution with a stride was made a `SameConv2d`, of the same name and parameters.

    Others are left alone: without a stride, `padding=kernel // 2` is the same.
    """
    for parent in list(module.modules()):
        for name, layer in parent.named_children():
            if type(layer) is nn.Conv2d and layer.stride != (1, 1):
                setattr(parent, name, _same(layer))
    return module


def _same(layer: nn.Conv2d) -> SameConv2d:
    with torch.device("meta"):  # its own parameters are not wanted
        new = SameConv2d(
            layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.dilation, layer.groups
        )
    new.weight, new.bias = layer.weight, layer.bias
    return new.train(layer.training)


def batch_norm(eps: float = 1e-3, momentum: float = 0.03) -> NormLayer:
    """BatchNorm2d with the constants of the SSDlite models (TensorFlow's, kept by torchvision)."""
    return partial(nn.BatchNorm2d, eps=eps, momentum=momentum)


def depthwise(channels: int, *, stride: int = 1, norm: NormLayer) -> nn.Module:
    """3x3 depthwise convolution, norm, ReLU6: the spatial half of a separable convolution (MobileNet, section 3.1)."""
    return Conv2dNormActivation(
        channels, channels, kernel_size=3, stride=stride, groups=channels, norm_layer=norm, activation_layer=nn.ReLU6
    )


def pointwise(inputs: int, outputs: int, *, norm: NormLayer) -> nn.Module:
    """1x1 convolution, norm, ReLU6: the channel half of a separable convolution."""
    return Conv2dNormActivation(inputs, outputs, kernel_size=1, norm_layer=norm, activation_layer=nn.ReLU6)


def biased_separable(inputs: int, outputs: int, *, stride: int = 1, norm: NormLayer | None = None) -> nn.Sequential:
    """pytorch-ssd's separable convolution: depthwise 3x3 and 1x1, both with biases, nothing behind the latter.

    Args:
        inputs: channels.
        outputs: channels.
        stride: of the depthwise convolution.
        norm: between the two, followed by ReLU6; a ReLU alone without it.
    """
    between = [nn.ReLU(inplace=True)] if norm is None else [norm(inputs), nn.ReLU6(inplace=True)]
    spatial = nn.Conv2d(inputs, inputs, kernel_size=3, stride=stride, padding=1, groups=inputs)
    return nn.Sequential(spatial, *between, nn.Conv2d(inputs, outputs, kernel_size=1))


def xavier_init(module: nn.Module) -> None:
    """Xavier-uniform weights and zero biases for every convolution inside: the SSD paper's choice (section 3)."""
    for layer in _convolutions(module):
        nn.init.xavier_uniform_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def normal_init(module: nn.Module, std: float = 0.03) -> None:
    """Normal weights and zero biases for every convolution inside: SSDlite's choice (TensorFlow's model files)."""
    for layer in _convolutions(module):
        nn.init.normal_(layer.weight, std=std)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def _convolutions(module: nn.Module) -> list[nn.Conv2d]:
    return [layer for layer in module.modules() if isinstance(layer, nn.Conv2d)]
