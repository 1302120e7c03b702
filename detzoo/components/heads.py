"""Heads: feature maps in, class logits and box deltas out, in the order of the default boxes."""

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from ..layers import batch_norm, biased_separable, depthwise, normal_init, xavier_init

Predictor = Callable[[int, int], nn.Module]


class DenseHead(nn.Module):
    """One classifier and one box regressor per level; subclasses choose what these are.

    Output channels are (box of the cell, class or coordinate), the latter fastest, as in torchvision and Caffe.

    Args:
        predictor: builds a module from its numbers of input and output channels.
        channels: channels of each feature map.
        boxes_per_cell: default boxes per cell of each level.
        num_classes: classes with background.
    """

    def __init__(
        self, predictor: Predictor, channels: Sequence[int], boxes_per_cell: Sequence[int], num_classes: int
    ) -> None:
        super().__init__()
        if len(channels) != len(boxes_per_cell):
            raise ValueError(
                f"a head on {len(channels)} feature maps got boxes_per_cell for {len(boxes_per_cell)} levels"
            )
        levels = list(zip(channels, boxes_per_cell, strict=True))
        self.num_classes = num_classes
        self.boxes_per_cell = list(boxes_per_cell)
        self.classification = nn.ModuleList(predictor(inputs, count * num_classes) for inputs, count in levels)
        self.regression = nn.ModuleList(predictor(inputs, count * 4) for inputs, count in levels)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Logits [B, A, C] and deltas [B, A, 4] from one [B, C_k, H_k, W_k] map per level."""
        logits = [_rows(predict(x), self.num_classes) for predict, x in zip(self.classification, maps, strict=True)]
        deltas = [_rows(predict(x), 4) for predict, x in zip(self.regression, maps, strict=True)]
        return torch.cat(logits, dim=1), torch.cat(deltas, dim=1)

    def start_at(self, prior: float) -> None:
        """Give every class this probability in the beginning, as a sigmoid (arXiv:1708.02002, section 3.3).

        The weights are zero then, where the paper draws small ones: the maps of a trunk without norms are so large that
        these would drown the bias.
        """
        for predictor in self.classification:
            last = [layer for layer in predictor.modules() if isinstance(layer, nn.Conv2d)][-1]
            nn.init.zeros_(last.weight)
            nn.init.constant_(last.bias, math.log(prior / (1 - prior)))


class SSDHead(DenseHead):
    """A convolution per level, of 3x3 in the paper (SSD, section 2.1).

    Args:
        channels: see `DenseHead`.
        boxes_per_cell: see `DenseHead`.
        num_classes: see `DenseHead`.
        kernel_size: of the convolutions, an odd number; 1 in MobileNet-SSD (github.com/chuanqi305/MobileNet-SSD).
    """

    def __init__(
        self, channels: Sequence[int], boxes_per_cell: Sequence[int], num_classes: int, kernel_size: int = 3
    ) -> None:
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"head.kernel_size must be odd, for maps to keep their size; got {kernel_size}")
        predictor = partial(nn.Conv2d, kernel_size=kernel_size, padding=kernel_size // 2)
        super().__init__(predictor, channels, boxes_per_cell, num_classes)
        xavier_init(self)


class SSDLiteHead(DenseHead):
    """A depthwise 3x3 and a 1x1 convolution per level (MobileNetV2, arXiv:1801.04381, section 6.2)."""

    def __init__(self, channels: Sequence[int], boxes_per_cell: Sequence[int], num_classes: int) -> None:
        super().__init__(_separable_convolution, channels, boxes_per_cell, num_classes)
        normal_init(self)


class BiasedSSDLiteHead(DenseHead):
    """pytorch-ssd's SSDlite head: biases in the depthwise convolutions too, and a plain 1x1 on the last level.

    Args:
        channels: see `DenseHead`.
        boxes_per_cell: see `DenseHead`.
        num_classes: see `DenseHead`.
        norm: batch norm and ReLU6 behind the depthwise convolutions (its MobileNetV2), or a ReLU alone (MobileNetV1).
    """

    def __init__(
        self, channels: Sequence[int], boxes_per_cell: Sequence[int], num_classes: int, norm: bool = True
    ) -> None:
        predictor = partial(biased_separable, norm=nn.BatchNorm2d if norm else None)
        super().__init__(predictor, channels, boxes_per_cell, num_classes)
        inputs, count = channels[-1], boxes_per_cell[-1]
        self.classification[-1] = nn.Conv2d(inputs, count * num_classes, kernel_size=1)
        self.regression[-1] = nn.Conv2d(inputs, count * 4, kernel_size=1)
        xavier_init(self)


def _separable_convolution(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(depthwise(inputs, norm=batch_norm()), nn.Conv2d(inputs, outputs, kernel_size=1))


def _rows(x: Tensor, width: int) -> Tensor:
    """[B, K * width, H, W] to [B, H * W * K, width]."""
    return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, width)
