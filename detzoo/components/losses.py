"""What a detector is punished for, and what its logits mean.

Shape letters: B images, A default boxes per image, C classes (0 is background). Every loss takes the same five tensors.
Its `scores` turns logits [B, A, C] into the scores of the classes but background, [B, A, C - 1], as they were trained.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import distributed
from ..lookup import Part
from .box_losses import build_box_loss
from .coder import BoxCoder


def foreground_softmax(logits: Tensor) -> Tensor:
    """Scores [B, A, C - 1] of the classes but background, from logits [B, A, C]; always float32."""
    return logits.float().softmax(dim=-1)[..., 1:]


class DetectionLoss(nn.Module):
    """What losses have in common: the error of the matched boxes, and the matches that a batch is divided by.

    While several processes train, the batch is that of all of them: the divisor is their mean number of matches, so
    that the mean of their gradients is the gradient of the one batch (torchvision divides by each process's own). In
    `eval()` no process waits for another.

    Args:
        box: how the error of a box is measured: a part of `BOX_LOSSES`, or a finished module.
        box_weight: factor of the box error beside the classification.
        coder: the model's, for those `box` that need it.

    Attributes:
        prior: probability that every class has in the beginning, for the head to start at; None to leave it as it is.
    """

    prior: float | None = None

    def __init__(self, box: Part | nn.Module, box_weight: float, coder: BoxCoder | None) -> None:
        super().__init__()
        if box_weight < 0:
            raise ValueError(f"{type(self).__name__}: expected box_weight >= 0, got {box_weight}")
        self.box = build_box_loss(box, coder)
        self.box_weight = box_weight

    def box_error(self, deltas: Tensor, target_deltas: Tensor, default_boxes: Tensor, positive: Tensor) -> Tensor:
        """Weighted sum over the `positive` [B, A] boxes; what the others say counts for nothing, finite or not."""
        deltas = torch.where(positive[..., None], deltas, target_deltas)
        error = self.box(deltas, target_deltas, default_boxes)  # [B, A]
        return self.box_weight * (error * positive).sum()

    def of_the_batch(self, count: Tensor) -> Tensor:
        """A count per process: this one's own, or while several train the mean of theirs."""
        return distributed.mean_tensor(count.float()) if self.training else count.float()

    def at_least_one(self, found: Tensor) -> Tensor:
        """Matches per process, with one in the whole batch where there is none."""
        return found.clamp(min=1 / distributed.world_size() if self.training else 1)

    def extra_repr(self) -> str:
        return f"box_weight={self.box_weight}"


class MultiBoxLoss(DetectionLoss):
    """Softmax cross-entropy over mined boxes plus the error of the matched ones (SSD, equations 1 to 3).

    Both sums are divided by the number of matched boxes of the batch; the classification loss, where
    `minimum_negatives` keeps more negatives than these matches ask for, by the number of matches that would. A batch
    without any object is treated as though each image had one match, so that it still teaches what background looks
    like (torchvision's loss is 0 there). Unlike torchvision's (0.29.1), the mining never takes a matched box for a
    negative when negatives run out.

    Args:
        negatives_per_positive: background boxes kept for each matched box, the worst ones first (section 2.2).
        minimum_negatives: background boxes kept in each image whatever its matches; above 0, images without objects
            teach in every batch.
        box: see `DetectionLoss`; smooth L1 in the paper.
        box_weight: see there; alpha in the paper, 1.
        coder: see there.
    """

    def __init__(
        self,
        negatives_per_positive: float = 3.0,
        minimum_negatives: int = 0,
        *,
        box: Part | nn.Module = "smooth_l1",
        box_weight: float = 1.0,
        coder: BoxCoder | None = None,
    ) -> None:
        super().__init__(box, box_weight, coder)
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
            default_boxes: [A, 4] xyxy.
        """
        positive = labels > 0  # [B, A]
        entropy = F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), reduction="none").view_as(labels)
        found = self.of_the_batch(positive.sum())
        negative = hardest_negatives(entropy, positive, self._negatives_wanted(positive, found > 0))
        matches = self.at_least_one(found)
        asked_for = self.of_the_batch(negative.sum()) / self.negatives_per_positive
        return {
            "bbox_regression": self.box_error(deltas, target_deltas, default_boxes, positive) / matches,
            "classification": (entropy * (positive | negative)).sum() / torch.maximum(matches, asked_for),
        }

    def scores(self, logits: Tensor) -> Tensor:
        """Scores of the classes but background, [B, A, C - 1]."""
        return foreground_softmax(logits)

    def _negatives_wanted(self, positive: Tensor, any_match: Tensor) -> Tensor:
        """How many negatives each image should give, [B]."""
        wanted = (self.negatives_per_positive * positive.sum(dim=1)).floor()
        wanted = torch.where(any_match, wanted, max(self.negatives_per_positive, 1.0))
        return wanted.clamp(min=self.minimum_negatives)

    def extra_repr(self) -> str:
        return (
            f"negatives_per_positive={self.negatives_per_positive}, minimum_negatives={self.minimum_negatives}, "
            + super().extra_repr()
        )


@torch.no_grad()
def hardest_negatives(loss: Tensor, positive: Tensor, wanted: Tensor) -> Tensor:
    """Mask [B, A] of the `wanted` [B] background boxes with the highest `loss` [B, A] of each image."""
    order = loss.masked_fill(positive, -torch.inf).argsort(dim=1, descending=True)
    first = torch.arange(loss.shape[1], device=loss.device) < wanted[:, None]
    return torch.zeros_like(positive).scatter(1, order, first) & ~positive
