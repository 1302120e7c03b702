"""Which default box is responsible for which object.

A matcher takes the predictions of a batch, whose default boxes it matches, and the padded ground truth in the same
pixels; it gives the object of each default box, [B, A] int64 indices into N, -1 for background.
"""

import torch
from torch import Tensor, nn

from ..ops import pairwise_iou
from ..structures import PaddedTargets, Predictions
from .matching import force_best


class SSDMatcher(nn.Module):
    """Every object gets its best default box, and every default box the object it overlaps enough (SSD, section 2.2).

    Where one default box is the best of several objects, the last of them gets it, as in torchvision.

    Args:
        iou_threshold: overlap from which a default box counts as a match.
    """

    def __init__(self, iou_threshold: float = 0.5) -> None:
        super().__init__()
        if not 0 <= iou_threshold <= 1:
            raise ValueError(f"SSDMatcher: iou_threshold must lie in [0, 1], got {iou_threshold}")
        self.iou_threshold = iou_threshold

    @torch.no_grad()
    def forward(self, predictions: Predictions, targets: PaddedTargets) -> Tensor:
        """The object of each default box, [B, A]; what the network says does not count."""
        mask = targets.mask
        iou = pairwise_iou(targets.boxes, predictions.default_boxes).masked_fill(~mask[..., None], -1)  # [B, N, A]
        overlap, match = iou.max(dim=1)  # [B, A]
        match = match.masked_fill(overlap < self.iou_threshold, -1)
        return force_best(match, iou, mask)

    def extra_repr(self) -> str:
        return f"iou_threshold={self.iou_threshold}"
