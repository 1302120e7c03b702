"""What differs between origins in the order of a tensor's numbers. detzoo's heads have (box of the cell, class or
coordinate), the latter fastest, background first; its images are RGB.
"""

from collections.abc import Sequence

from torch import Tensor


def rgb_first(weight: Tensor) -> Tensor:
    """A first convolution [out, 3, kh, kw] for images with blue first, for images with red first."""
    return weight.flip(1)


def background_first(tensor: Tensor, boxes: int) -> Tensor:
    """Weights or bias of a class head whose background is the last class."""
    return tensor.unflatten(0, (boxes, -1)).roll(1, 1).flatten(0, 1)


def boxes_last(tensor: Tensor, boxes: int) -> Tensor:
    """Weights or bias of a head whose channels are (class or coordinate, box), the box fastest."""
    return tensor.unflatten(0, (-1, boxes)).transpose(0, 1).flatten(0, 1).contiguous()


def reordered_boxes(tensor: Tensor, order: Sequence[int]) -> Tensor:
    """Weights or bias of a head whose k-th box of a cell is to be the one that was `order[k]`-th."""
    return tensor.unflatten(0, (len(order), -1))[list(order)].flatten(0, 1)


def reordered_coordinates(tensor: Tensor, order: Sequence[int]) -> Tensor:
    """Weights or bias of a box head whose k-th coordinate is to be the one that was `order[k]`-th."""
    return tensor.unflatten(0, (-1, 4))[:, list(order)].flatten(0, 1)


def from_tensorflow(kernel: Tensor) -> Tensor:
    """A kernel of TensorFlow's, [kh, kw, in, out], for torch, [out, in, kh, kw]; a view."""
    return kernel.permute(3, 2, 0, 1)


def from_depthwise(kernel: Tensor) -> Tensor:
    """A kernel of TensorFlow's depthwise convolution, [kh, kw, in, 1], for torch, [in, 1, kh, kw]; a view."""
    return kernel.permute(2, 3, 0, 1)
