"""Losses that ask of every class by itself whether it is there: all default boxes count, none is mined.

Logits are log odds of the classes; column 0, the background's, is not used. Every loss takes what `MultiBoxLoss` takes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..lookup import Part
from ..ops import elementwise_iou
from .coder import BoxCoder
from .losses import DetectionLoss


def foreground_sigmoid(logits: Tensor) -> Tensor:
    """Scores [B, A, C - 1] of the classes but background, from logits [B, A, C]; always float32."""
    return logits[..., 1:].float().sigmoid()


class SigmoidLoss(DetectionLoss):
    """What the losses of this file have in common.

    Both of their sums are divided by the number of matched boxes of the batch, at least one: a batch without objects
    teaches background.

    Args:
        prior: probability that every class has in the beginning, in (0, 1): the many default boxes without an object
            would otherwise drown the others in the first steps (arXiv:1708.02002, section 3.3).
        box: see `DetectionLoss`.
        box_weight: see there.
        coder: see there.
    """

    def __init__(self, prior: float, box: Part | nn.Module, box_weight: float, coder: BoxCoder | None) -> None:
        super().__init__(box, box_weight, coder)
        if not 0 < prior < 1:
            raise ValueError(f"{type(self).__name__}: prior is a probability between 0 and 1, got {prior}")
        self.prior = prior

    def scores(self, logits: Tensor) -> Tensor:
        """Scores of the classes but background, [B, A, C - 1]."""
        return foreground_sigmoid(logits)


class FocalLoss(SigmoidLoss):
    """Cross-entropy that fades as a box is understood (RetinaNet, arXiv:1708.02002, equation 5).

    Args:
        alpha: weight of the class that is there; that of each class that is not is 1 - alpha.
        gamma: how fast well understood boxes fade; 0 for plain cross-entropy.
        prior: see `SigmoidLoss`.
        box: see `DetectionLoss`.
        box_weight: see there.
        coder: see there.
    """

    def __init__(
        self,
        alpha: float = 0.25,
        gamma: float = 2.0,
        *,
        prior: float = 0.01,
        box: Part | nn.Module = "smooth_l1",
        box_weight: float = 1.0,
        coder: BoxCoder | None = None,
    ) -> None:
        super().__init__(prior, box, box_weight, coder)
        if not 0 < alpha < 1 or gamma < 0:
            raise ValueError(f"FocalLoss: expected alpha between 0 and 1 and gamma >= 0, got {alpha} and {gamma}")
        self.alpha, self.gamma = alpha, gamma

    def forward(
        self, logits: Tensor, deltas: Tensor, labels: Tensor, target_deltas: Tensor, default_boxes: Tensor
    ) -> dict[str, Tensor]:
        """Scalars `bbox_regression` and `classification`."""
        positive = labels > 0
        matches = self.at_least_one(self.of_the_batch(positive.sum()))
        entropy = self._entropy(logits[..., 1:].float(), one_hot(labels, logits.shape[-1]))
        return {
            "bbox_regression": self.box_error(deltas, target_deltas, default_boxes, positive) / matches,
            "classification": entropy.sum() / matches,
        }

    def _entropy(self, logits: Tensor, there: Tensor) -> Tensor:
        """[B, A, C - 1] from as many logits and whether each class is there."""
        right = torch.where(there, logits, -logits)  # log odds of what is true
        weight = torch.where(there, self.alpha, 1 - self.alpha)
        # the share of the error, to the power of gamma, as an exponential: its gradient is finite for any gamma
        return -weight * F.logsigmoid(right) * (self.gamma * F.logsigmoid(-right)).exp()

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}, gamma={self.gamma}, prior={self.prior}, {super().extra_repr()}"


class QualityFocalLoss(SigmoidLoss):
    """The score of the right class should be the IoU of the predicted box with its object, that of the others 0 (GFL,
    arXiv:2006.04388, section 3).

    No gradient flows through that IoU.

    Args:
        coder: the model's.
        beta: how fast well understood boxes fade.
        prior: see `SigmoidLoss`.
        box: see `DetectionLoss`; GIoU in the paper.
        box_weight: see there; 2 in the paper.
    """

    def __init__(
        self,
        coder: BoxCoder,
        beta: float = 2.0,
        *,
        prior: float = 0.01,
        box: Part | nn.Module = "smooth_l1",
        box_weight: float = 1.0,
    ) -> None:
        super().__init__(prior, box, box_weight, coder)
        if beta < 1:
            raise ValueError(f"QualityFocalLoss: expected beta >= 1, got {beta}")  # below, the gradient has a pole
        self.coder = coder
        self.beta = beta

    def forward(
        self, logits: Tensor, deltas: Tensor, labels: Tensor, target_deltas: Tensor, default_boxes: Tensor
    ) -> dict[str, Tensor]:
        """Scalars `bbox_regression` and `classification`."""
        positive = labels > 0
        matches = self.at_least_one(self.of_the_batch(positive.sum()))
        quality = self._quality(deltas, target_deltas, default_boxes)[..., None]  # [B, A, 1]
        wanted = torch.where(one_hot(labels, logits.shape[-1]), quality, 0)  # [B, A, C - 1]
        said = logits[..., 1:].float()
        entropy = F.binary_cross_entropy_with_logits(said, wanted, reduction="none")
        return {
            "bbox_regression": self.box_error(deltas, target_deltas, default_boxes, positive) / matches,
            "classification": (entropy * (wanted - said.sigmoid()).abs().pow(self.beta)).sum() / matches,
        }

    @torch.no_grad()
    def _quality(self, deltas: Tensor, target_deltas: Tensor, default_boxes: Tensor) -> Tensor:
        """IoU of what is predicted with what is wanted, [B, A]."""
        iou = elementwise_iou(*(self.coder.decode(x, default_boxes) for x in (deltas, target_deltas)))
        return iou.nan_to_num(nan=0)  # of a box that is not finite

    def extra_repr(self) -> str:
        return f"beta={self.beta}, prior={self.prior}, {super().extra_repr()}"


def one_hot(labels: Tensor, num_classes: int) -> Tensor:
    """Which class but background is there, [B, A, C - 1] bool, from labels [B, A]."""
    return labels[..., None] == torch.arange(1, num_classes, device=labels.device)
