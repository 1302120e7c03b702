"""What matchers have in common.

Shape letters: B images, N objects of one image (padded), A default boxes, C classes with background. Between objects
and default boxes everything is [B, N, A], so that no matcher goes through images or objects one by one.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from ..ops import pairwise_iou, xyxy_to_cxcywh
from ..structures import PaddedTargets, Predictions
from .coder import BoxCoder

Scores = Callable[[Tensor], Tensor]  # logits [B, A, C] to scores of the classes but background, [B, A, C - 1]


def force_best(match: Tensor, iou: Tensor, objects: Tensor) -> Tensor:
    """Give `objects` [B, N] (bool) the default box that each overlaps most, whoever had it.

    Where it is the best of several of them, the last one gets it.

    Args:
        match: [B, A], the object of each default box or -1.
        iou: [B, N, A].
        objects: those to be given one.
    """
    best = iou.argmax(dim=2)  # [B, N]
    forced = torch.where(objects, torch.arange(objects.shape[1], device=objects.device), -1)
    # amax, not plain assignment: with two objects on one box the winner must not depend on the device
    forced = torch.full_like(match, -1).scatter_reduce(1, best, forced, "amax")
    return torch.where(forced >= 0, forced, match)


def settle(chosen: Tensor, quality: Tensor, iou: Tensor, mask: Tensor) -> Tensor:
    """The object of each default box, [B, A], when objects have chosen theirs.

    A default box that several chose goes to the one where `quality` is highest, the first of equals. An object that
    chose none gets the default box it overlaps most, as every object does in SSD; one that loses all it chose to others
    has none, as in the papers.

    Args:
        chosen: [B, N, A] bool; false for padding.
        quality: [B, N, A].
        iou: of objects and default boxes, [B, N, A].
        mask: where there is an object, [B, N].
    """
    match = quality.masked_fill(~chosen, -torch.inf).argmax(dim=1)
    match = match.masked_fill(~chosen.any(dim=1), -1)
    return force_best(match, iou, mask & ~chosen.any(dim=2))


def least_margin(targets: PaddedTargets, default_boxes: Tensor) -> Tensor:
    """How far inside an object the centre of a default box lies, in pixels, [B, N, A]; negative outside."""
    x, y = xyxy_to_cxcywh(default_boxes)[:, :2].unbind(dim=-1)  # [A]
    left, top, right, bottom = targets.boxes[..., None].unbind(dim=-2)  # [B, N, 1]
    return torch.minimum(torch.minimum(x - left, right - x), torch.minimum(y - top, bottom - y))


def centre_offsets(targets: PaddedTargets, default_boxes: Tensor) -> Tensor:
    """From the centres of default boxes to those of objects, (x, y) pixels, [B, N, A, 2]."""
    there, here = (xyxy_to_cxcywh(boxes)[..., :2] for boxes in (default_boxes, targets.boxes))
    return here[..., None, :] - there


def predicted_iou(predictions: Predictions, targets: PaddedTargets, coder: BoxCoder) -> Tensor:
    """Overlap of objects and predicted boxes, [B, N, A]; 0 for a box that is not finite."""
    boxes = coder.decode(predictions.deltas, predictions.default_boxes)
    return pairwise_iou(targets.boxes, boxes).nan_to_num(nan=0)


def of_their_class(scores: Tensor, targets: PaddedTargets) -> Tensor:
    """How each default box scores on the class of each object, [B, N, A], from scores [B, A, C - 1]."""
    classes = (targets.labels - 1).clamp(min=0)[..., None].expand(-1, -1, scores.shape[1])
    return scores.transpose(1, 2).gather(1, classes)
