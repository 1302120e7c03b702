"""From ground truth to what the head should have said."""

import torch
from torch import Tensor, nn

from ..structures import PaddedTargets
from .coder import BoxCoder


@torch.no_grad()
def assign_targets(
    targets: PaddedTargets, default_boxes: Tensor, matcher: nn.Module, coder: BoxCoder
) -> tuple[Tensor, Tensor]:
    """Class and deltas wanted from every default box.

    Args:
        targets: ground truth of B images in pixels of the network's input.
        default_boxes: [A, 4] xyxy in the same pixels.
        matcher: gives [B, A] indices into the objects, -1 for background.
        coder: turns boxes into deltas.

    Returns:
        labels [B, A], 0 for background, and deltas [B, A, 4], 0 for background.
    """
    match = matcher(default_boxes, targets.boxes, targets.mask)  # [B, A]
    positive = match >= 0
    index = match.clamp(min=0)
    labels = targets.labels.gather(1, index) * positive
    boxes = targets.boxes.gather(1, index[..., None].expand(-1, -1, 4))
    # a background box wants to stay where it is: keeps the logarithm of an absent object out of the gradient
    boxes = torch.where(positive[..., None], boxes, default_boxes)
    return labels, coder.encode(boxes, default_boxes)
