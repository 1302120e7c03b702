"""From ground truth to what the head should have said."""

import torch
from torch import Tensor, nn

from ..structures import PaddedTargets, Predictions
from .coder import BoxCoder
from .contracts import check_match


@torch.no_grad()
def assign_targets(
    predictions: Predictions, targets: PaddedTargets, matcher: nn.Module, coder: BoxCoder
) -> tuple[Tensor, Tensor]:
    """Class and deltas wanted from every default box.

    Args:
        predictions: default boxes, in pixels of the network's input, and what the network says of them.
        targets: ground truth of B images in the same pixels.
        matcher: gives [B, A] indices into the objects, -1 for background.
        coder: turns boxes into deltas.

    Returns:
        labels [B, A], 0 for background, and deltas [B, A, 4], 0 for background.

    Raises:
        ValueError: for a matcher that gives something else.
    """
    default_boxes = predictions.default_boxes
    match = matcher(predictions, targets)  # [B, A]
    check_match(matcher, match, targets, len(default_boxes))
    positive = match >= 0
    index = match.clamp(min=0)
    labels = targets.labels.gather(1, index) * positive
    boxes = targets.boxes.gather(1, index[..., None].expand(-1, -1, 4))
    # a background box wants to stay where it is: keeps the logarithm of an absent object out of the gradient
    boxes = torch.where(positive[..., None], boxes, default_boxes)
    return labels, coder.encode(boxes, default_boxes)
