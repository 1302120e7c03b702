"""Stateless arithmetic of boxes, which takes any leading dimensions and boxes in the last one, and of thresholds."""

import torch
from torch import Tensor


def xyxy_to_cxcywh(boxes: Tensor) -> Tensor:
    """Corners to centre and size, [..., 4] to [..., 4]."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return torch.cat(((low + high) / 2, high - low), dim=-1)


def cxcywh_to_xyxy(boxes: Tensor) -> Tensor:
    """Centre and size to corners, [..., 4] to [..., 4]."""
    centres, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat((centres - half, centres + half), dim=-1)


def box_area(boxes: Tensor) -> Tensor:
    """Area of xyxy boxes, [..., 4] to [...]; zero for a box turned inside out."""
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(dim=-1)


def elementwise_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Intersection over union of xyxy boxes with those at the same place; leading dimensions broadcast.

    Two boxes without area give 0, not 0 / 0.
    """
    low = torch.maximum(boxes[..., :2], others[..., :2])
    high = torch.minimum(boxes[..., 2:], others[..., 2:])
    intersection = (high - low).clamp(min=0).prod(dim=-1)
    union = box_area(boxes) + box_area(others) - intersection
    return intersection / union.clamp(min=torch.finfo(union.dtype).tiny)


def pairwise_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Intersection over union of all pairs, [..., N, 4] and [..., A, 4] to [..., N, A].

    The numbers of `elementwise_iou`, one coordinate at a time: [..., N, A, 2] would be large for a crowded batch.
    """
    rows, columns = boxes[..., :, None, :], others[..., None, :, :]

    def overlap(low: int, high: int) -> Tensor:
        ends = torch.minimum(rows[..., high], columns[..., high])
        return ends.sub_(torch.maximum(rows[..., low], columns[..., low])).clamp_(min=0)

    intersection = overlap(0, 2).mul_(overlap(1, 3))
    union = (box_area(rows) + box_area(columns)).sub_(intersection)
    return intersection.div_(union.clamp_(min=torch.finfo(union.dtype).tiny))


def clip_boxes(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Limit xyxy boxes to an image of `size` (height, width), [..., 4] to [..., 4]."""
    height, width = size
    x, y = boxes[..., 0::2].clamp(0, width), boxes[..., 1::2].clamp(0, height)
    return torch.stack((x, y), dim=-1).flatten(-2)


def scale_boxes(boxes: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Boxes of an image of size `old` (height, width) on the same image resized to `new`, [..., 4] to [..., 4]."""
    x, y = boxes[..., 0::2] * (new[1] / old[1]), boxes[..., 1::2] * (new[0] / old[0])
    return torch.stack((x, y), dim=-1).flatten(-2)


def below(value: float) -> float:
    """The next smaller float32: `scores > below(value)` is `scores >= value` for scores in float32.

    Raises:
        ValueError: for a value that is not positive: no threshold is below it.
    """
    if not value > 0:
        raise ValueError(f"only what is positive has a threshold below it, got {value}")
    smaller = torch.nextafter(torch.tensor(value, dtype=torch.float32), torch.tensor(0.0))
    return smaller.item()
