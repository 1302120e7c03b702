"""Greedy non-maximum suppression of many groups at once, without a loop over images, classes or boxes.

The trick is to list the pairs of boxes that could suppress one another (same group, one better than the other), compute
the overlap of those pairs alone, and settle who suppresses whom by iterating to the fixed point, which takes as many
rounds as the longest chain of suppressions: a handful.
"""

import torch
from torch import Tensor

from ..ops import elementwise_iou


def rank_in_group(groups: Tensor) -> Tensor:
    """For each element of `groups` [M], how many elements of the same group stand before it, [M]."""
    order = groups.argsort(stable=True)
    in_order = groups[order]
    first = torch.searchsorted(in_order, in_order)
    ranks = torch.empty_like(order)
    ranks[order] = torch.arange(len(order), device=groups.device) - first
    return ranks


def nms_mask(boxes: Tensor, groups: Tensor, iou_threshold: float) -> Tensor:
    """Which boxes survive when, within each group, a box goes if a better survivor overlaps it by more than the
    threshold.

    Args:
        boxes: [M, 4] xyxy, best first within each group.
        groups: [M] integers; boxes of different groups never suppress one another.
        iou_threshold: overlap above which the worse box goes.

    Returns:
        [M] bool. The same boxes as the greedy algorithm, `torchvision.ops.nms`, keeps.
    """
    order = groups.argsort(stable=True)
    better, worse = _pairs(groups[order])
    boxes = boxes[order]
    overlapping = elementwise_iou(boxes[better], boxes[worse]) > iou_threshold
    keep = _greedy(len(order), better[overlapping], worse[overlapping])
    mask = torch.empty_like(keep)
    mask[order] = keep
    return mask


def _pairs(groups: Tensor) -> tuple[Tensor, Tensor]:
    """Positions (earlier, later) of all pairs within each run of equal, sorted `groups`."""
    position = torch.arange(len(groups), device=groups.device)
    followers = torch.searchsorted(groups, groups, right=True) - position - 1
    earlier = position.repeat_interleave(followers)
    start = followers.cumsum(0) - followers
    later = torch.arange(len(earlier), device=groups.device) - start[earlier] + earlier + 1
    return earlier, later


def _greedy(count: int, better: Tensor, worse: Tensor) -> Tensor:
    """Fixed point of: a box stays unless a better box that stays overlaps it. It is unique."""
    keep = torch.ones(count, dtype=torch.bool, device=better.device)
    while True:
        new = torch.ones_like(keep)
        new[worse[keep[better]]] = False
        if torch.equal(new, keep):
            return keep
        keep = new
