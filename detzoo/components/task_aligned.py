"""Task alignment: objects choose the default boxes that both name and locate them best."""

import torch
from torch import Tensor, nn

from ..ops import pairwise_iou
from ..structures import PaddedTargets, Predictions
from .coder import BoxCoder
from .matching import Scores, least_margin, of_their_class, predicted_iou, settle


class TaskAlignedMatcher(nn.Module):
    """An object gets the `top_k` default boxes with the highest s^alpha u^beta, where s is the score of its class and u
    the IoU of the predicted box with it (TOOD, arXiv:2108.07755, section 3.2).

    Only default boxes with their centre inside the object are asked; one that several objects choose goes to the one
    its predicted box overlaps most. The paper weighs its losses by the alignment too; here that is up to the loss, of
    which `quality_focal` comes nearest. An object without a box to choose keeps its best default box, as in SSD.

    Args:
        coder: the model's.
        scores: logits to scores; the loss's.
        alpha: exponent of the score.
        beta: exponent of the IoU.
        top_k: boxes an object; m in the paper.
    """

    def __init__(self, coder: BoxCoder, scores: Scores, alpha: float = 1.0, beta: float = 6.0, top_k: int = 13) -> None:
        super().__init__()
        if alpha < 0 or beta < 0 or top_k < 1:
            raise ValueError(
                f"TaskAlignedMatcher: expected alpha and beta >= 0 and top_k >= 1, got {alpha}, {beta} and {top_k}"
            )
        self.coder = coder
        self.scores = scores
        self.alpha, self.beta, self.top_k = alpha, beta, top_k

    @torch.no_grad()
    def forward(self, predictions: Predictions, targets: PaddedTargets) -> Tensor:
        """The object of each default box, [B, A]."""
        default_boxes, mask = predictions.default_boxes, targets.mask
        candidate = (least_margin(targets, default_boxes) > 0) & mask[..., None]  # [B, N, A]
        overlap = predicted_iou(predictions, targets, self.coder)
        score = of_their_class(self.scores(predictions.logits), targets)
        alignment = (score.pow(self.alpha) * overlap.pow(self.beta)).masked_fill(~candidate, 0)
        values, index = alignment.topk(min(self.top_k, len(default_boxes)), dim=2)
        chosen = torch.zeros_like(candidate).scatter(2, index, values > 0)
        return settle(chosen, overlap, pairwise_iou(targets.boxes, default_boxes), mask)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}, beta={self.beta}, top_k={self.top_k}"
