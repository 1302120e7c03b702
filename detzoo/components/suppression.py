"""Suppression of many groups at once, without a loop over images, classes or boxes.

The trick is to list the pairs of boxes that could suppress one another (same group, one better than the other) and to
compute the overlap of those pairs alone. Greedy suppression then settles who suppresses whom by iterating to the fixed
point, which takes as many rounds as the longest chain of suppressions: a handful. Matrix suppression (see `decay`)
reads its answer off the pairs.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ..ops import box_area, elementwise_iou

PAIRS = 1 << 20  # listed at a time; an untrained network gives tens of millions of them for a batch
Overlap = Callable[[Tensor, Tensor], Tensor]  # of boxes [..., 4] with those at the same place, [...]


def rank_in_group(groups: Tensor) -> Tensor:
    """For each element of `groups` [M], how many elements of the same group stand before it, [M]."""
    order = groups.argsort(stable=True)
    ranks = torch.empty_like(order)
    ranks[order] = torch.arange(len(order), device=groups.device) - run_starts(groups[order])
    return ranks


def run_starts(groups: Tensor) -> Tensor:
    """For each element of `groups` [M], where its run of equal ones begins, [M]."""
    starts = torch.arange(len(groups), device=groups.device)
    starts[1:].masked_fill_(groups[1:] == groups[:-1], 0)
    return starts.cummax(dim=0).values if len(groups) else starts


def iou_with_margin(boxes: Tensor, others: Tensor, margin: float) -> Tensor:
    """`elementwise_iou` with a union larger by `margin`, square pixels: what keeps others from 0 / 0 makes small boxes
    overlap less.
    """
    low = torch.maximum(boxes[..., :2], others[..., :2])
    high = torch.minimum(boxes[..., 2:], others[..., 2:])
    intersection = (high - low).clamp(min=0).prod(dim=-1)
    return intersection / (box_area(boxes) + box_area(others) - intersection + margin)


def elementwise_diou(boxes: Tensor, others: Tensor, iou: Overlap = elementwise_iou) -> Tensor:
    """Intersection over union less the squared distance of the centres over the squared diagonal of the smallest box
    that holds both (Zheng et al., arXiv:1911.08287, equation 7), in (-1, 1]; shapes are those of `elementwise_iou`.
    """
    low = torch.minimum(boxes[..., :2], others[..., :2])
    high = torch.maximum(boxes[..., 2:], others[..., 2:])
    diagonal = (high - low).square().sum(dim=-1)
    apart = (boxes[..., :2] + boxes[..., 2:] - others[..., :2] - others[..., 2:]) / 2
    distance = apart.square().sum(dim=-1)
    return iou(boxes, others) - distance / diagonal.clamp(min=torch.finfo(diagonal.dtype).tiny)


def nms_mask(boxes: Tensor, groups: Tensor, threshold: float, overlap: Overlap = elementwise_iou) -> Tensor:
    """Which boxes survive when, within each group, a box goes if a better survivor overlaps it by more than the
    threshold.

    Args:
        boxes: [M, 4] xyxy, best first within each group.
        groups: [M] integers; boxes of different groups never suppress one another.
        threshold: overlap above which the worse box goes.
        overlap: how it is measured.

    Returns:
        [M] bool. The same boxes as the greedy algorithm, `torchvision.ops.nms`, keeps.
    """
    order = groups.argsort(stable=True)
    boxes = boxes[order]
    overlapping = [
        pair[:, overlap(boxes[pair[0]], boxes[pair[1]]) > threshold] for pair in pairs_in_groups(groups[order])
    ]
    keep = _greedy(len(order), *torch.cat(overlapping, dim=1))
    mask = torch.empty_like(keep)
    mask[order] = keep
    return mask


def pairs_in_groups(groups: Tensor, limit: int = PAIRS) -> Iterator[Tensor]:
    """Positions (earlier, later) of all pairs within each run of equal, sorted `groups` [M], as [2, P]: the pairs of
    one later element after those of another, and about `limit` of them at a time.
    """
    first = run_starts(groups)
    position = torch.arange(len(groups), device=groups.device)
    predecessors = position - first
    blocks = predecessors.cumsum(0) // limit
    for later in position.split(blocks.unique_consecutive(return_counts=True)[1].tolist() or [0]):
        count = predecessors[later]
        start = (count.cumsum(0) - count - first[later]).repeat_interleave(count)
        earlier = torch.arange(len(start), device=groups.device) - start
        yield torch.stack((earlier, later.repeat_interleave(count)))


def _greedy(count: int, better: Tensor, worse: Tensor) -> Tensor:
    """Fixed point of: a box stays unless a better box that stays overlaps it. It is unique."""
    keep = torch.ones(count, dtype=torch.bool, device=better.device)
    while True:
        new = torch.ones_like(keep)
        new[worse[keep[better]]] = False
        if torch.equal(new, keep):
            return keep
        keep = new
