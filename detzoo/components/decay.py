"""Suppression that lowers scores instead of removing boxes; like `suppression`, of many groups at once.

A box that overlaps a better one keeps the part of its score that a falling function of the overlap leaves it:
`linear_decay` or `gaussian_decay`.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from ..ops import elementwise_iou
from .suppression import Overlap, pairs_in_groups

ROUNDS_UNASKED = 16  # whether anything is left makes a GPU wait: it is asked once in so many rounds
Decay = Callable[[Tensor], Tensor]  # what is left of a score, by overlap; 1 where there is none


def linear_decay(iou: Tensor, iou_threshold: float) -> Tensor:
    """1 - IoU, and 1 up to the threshold (Bodla et al., arXiv:1704.04503, section 3)."""
    return torch.where(iou > iou_threshold, 1 - iou, 1)


def gaussian_decay(iou: Tensor, iou_threshold: float, sigma: float) -> Tensor:
    """exp(-IoU^2 / sigma) (Bodla et al., section 3), and 1 up to the threshold."""
    return torch.where(iou > iou_threshold, (-iou.square() / sigma).exp(), 1)


def soft_nms(
    boxes: Tensor,
    scores: Tensor,
    groups: Tensor,
    decay: Decay,
    rounds: int | None,
    least: float,
    overlap: Overlap = elementwise_iou,
) -> tuple[Tensor, Tensor]:
    """Soft-NMS (Bodla et al., arXiv:1704.04503, figure 2) of all images at once: in each round the best box that is
    left of each image is taken, and lowers the scores of those of its group that are left.

    Boxes of other groups do not care when a box is taken, so a round serves all groups of an image, and after `rounds`
    rounds the best boxes of each image are there, in order. Equal scores: the first one is taken first.

    Args:
        boxes: [B, M, 4] xyxy.
        scores: [B, M] not negative, 0 where there is no box.
        groups: [B, M] integers.
        decay: factor of a score, by overlap with the box that is taken.
        rounds: how many boxes of each image are taken at most; None for all.
        least: boxes are taken while their score is above it; not negative.
        overlap: how it is measured.

    Returns:
        The places in each image of what was taken and its scores at that time, [B, R] each, R <= rounds; places where
        the score is not above `least` hold no box.
    """
    places, values = [scores.new_zeros(len(scores), 0, dtype=torch.int64)], [scores[:, :0]]
    width = scores.shape[1]
    for number in range(width if rounds is None else min(rounds, width)):
        place = scores.argmax(dim=1, keepdim=True)  # [B, 1]
        value = scores.gather(1, place)
        if number % ROUNDS_UNASKED == 0 and not (value > least).any():
            break
        places.append(place)
        values.append(value)
        chosen = boxes.gather(1, place[:, :, None].expand(-1, -1, 4))  # [B, 1, 4]
        factor = decay(overlap(chosen, boxes))
        scores = torch.where(groups == groups.gather(1, place), scores * factor, scores).scatter(1, place, 0)
    return torch.cat(places, dim=1), torch.cat(values, dim=1)


def matrix_nms(
    boxes: Tensor, scores: Tensor, groups: Tensor, decay: Decay, overlap: Overlap = elementwise_iou
) -> Tensor:
    """Matrix NMS (SOLOv2, Wang et al., arXiv:2003.10152, section 3.3): what soft-NMS comes to if one guesses how much
    each better box was suppressed itself; nothing waits for anything.

    A score falls to the least of f(overlap) / f(largest overlap of the better box with a still better one), over all
    better boxes of the group.

    Args:
        boxes: [M, 4] xyxy, best first within each group.
        scores: [M].
        groups: [M] integers.
        decay: the function f.
        overlap: how it is measured.

    Returns:
        The lowered scores, [M].
    """
    order = groups.argsort(stable=True)
    boxes, in_order = boxes[order], groups[order]
    spared, factor = torch.ones_like(scores), torch.ones_like(scores)  # f(largest overlap), and the result
    for better, worse in pairs_in_groups(in_order):  # the pairs of a better box come before or with those of a worse
        left = decay(overlap(boxes[better], boxes[worse]))
        spared = spared.scatter_reduce(0, worse, left, "amin")
        # what lies on a box that is suppressed altogether lies on what suppressed that: 0 / 0 is 0
        guess = left / spared[better].clamp(min=torch.finfo(left.dtype).tiny)
        factor = factor.scatter_reduce(0, worse, guess, "amin")
    lowered = torch.empty_like(scores)
    lowered[order] = scores[order] * factor
    return lowered
