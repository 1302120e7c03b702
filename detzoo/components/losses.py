"""What a detector is punished for.

Shape letters: B images, A default boxes per image, C classes (0 is background). Every loss takes the same five tensors.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MultiBoxLoss(nn.Module):
    """Softmax cross-entropy over mined boxes plus smooth L1 over matched ones (SSD, equations 1 to 3).

    Both sums are divided by the number of matched boxes in this process's share of the batch, as in torchvision; the
    classification loss, where `minimum_negatives` keeps more negatives than these matches ask for, by the number of
    matches that would. A batch without any object is treated as though each image had one match, so that it still
    teaches what background looks like (torchvision's loss is 0 there). Unlike torchvision's (0.29.1), the mining never
    takes a matched box for a negative when negatives run out.

    Args:
        negatives_per_positive: background boxes kept for each matched box, the worst ones first (section 2.2).
        minimum_negatives: background boxes kept in each image whatever its matches; above 0, images without objects
            teach in every batch.
    """

    def __init__(self, negatives_per_positive: float = 3.0, minimum_negatives: int = 0) -> None:
        super().__init__()
        if negatives_per_positive <= 0 or minimum_negatives < 0:
            raise ValueError(
                "MultiBoxLoss: expected negatives_per_positive > 0 and minimum_negatives >= 0, "
                f"got {negatives_per_positive} and {minimum_negatives}"
            )
        self.negatives_per_positive = negatives_per_positive
        self.minimum_negatives = minimum_negatives

    def forward(
        self, logits: Tensor, deltas: Tensor, labels: Tensor, target_deltas: Tensor, default_boxes: Tensor
    ) -> dict[str, Tensor]:
        """Scalars `bbox_regression` and `classification`.

        Args:
            logits: [B, A, C].
            deltas: [B, A, 4].
            labels: [B, A], 0 for background.
            target_deltas: [B, A, 4].
            default_boxes: [A, 4] xyxy, for losses that compare boxes; unused here.
        """
        positive = labels > 0  # [B, A]
        entropy = F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), reduction="none").view_as(labels)
        negative = hardest_negatives(entropy, positive, self._negatives_wanted(positive))
        matches = positive.sum().clamp(min=1)
        wanted_matches = torch.maximum(matches, negative.sum() / self.negatives_per_positive)

        box_error = F.smooth_l1_loss(deltas.float(), target_deltas, reduction="none").sum(dim=-1)  # [B, A]
        return {
            "bbox_regression": (box_error * positive).sum() / matches,
            "classification": (entropy * (positive | negative)).sum() / wanted_matches,
        }

    def _negatives_wanted(self, positive: Tensor) -> Tensor:
        """How many negatives each image should give, [B]."""
        matches = positive.sum(dim=1)
        wanted = (self.negatives_per_positive * matches).floor()
        wanted = torch.where(matches.sum() > 0, wanted, max(self.negatives_per_positive, 1.0))
        return wanted.clamp(min=self.minimum_negatives)

    def extra_repr(self) -> str:
        return f"negatives_per_positive={self.negatives_per_positive}, minimum_negatives={self.minimum_negatives}"


@torch.no_grad()
def hardest_negatives(loss: Tensor, positive: Tensor, wanted: Tensor) -> Tensor:
    """Mask [B, A] of the `wanted` [B] background boxes with the highest `loss` [B, A] of each image."""
    order = loss.masked_fill(positive, -torch.inf).argsort(dim=1, descending=True)
    first = torch.arange(loss.shape[1], device=loss.device) < wanted[:, None]
    return torch.zeros_like(positive).scatter(1, order, first) & ~positive
