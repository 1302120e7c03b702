"""How far a predicted box is from the one that was wanted.

Every one takes deltas [B, A, 4], wanted deltas [B, A, 4] and the default boxes [A, 4] that both refer to, and gives one
float32 number for each default box, [B, A]: some compare the deltas, others the boxes that these come to.
"""

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import complete_box_iou_loss, distance_box_iou_loss, generalized_box_iou_loss

from ..lookup import Part, build_part, split_part, suggest
from .coder import BoxCoder

LARGEST_LOG = 10.0  # of a box side over its default box's: a factor of 22,000
FAREST, THINNEST = 1e5, 0.01  # pixels: between these, float32 squares and divides boxes without overflow or 0 / 0


class SmoothL1BoxLoss(nn.Module):
    """Smooth L1 (Fast R-CNN, arXiv:1504.08083, equation 3), summed over the four deltas.

    Args:
        beta: error at which the parabola becomes a line; 1 / sigma^2 where others write sigma.
    """

    def __init__(self, beta: float = 1.0) -> None:
        super().__init__()
        if beta <= 0:
            raise ValueError(f"smooth_l1: expected beta > 0, got {beta}; without a parabola it is the box loss 'l1'")
        self.beta = beta

    def forward(self, deltas: Tensor, target_deltas: Tensor, default_boxes: Tensor) -> Tensor:
        """One number for each default box, [B, A]; see the module."""
        return F.smooth_l1_loss(deltas.float(), target_deltas, reduction="none", beta=self.beta).sum(dim=-1)

    def extra_repr(self) -> str:
        return f"beta={self.beta}"


class L1BoxLoss(nn.Module):
    """Absolute errors, summed over the four deltas."""

    def forward(self, deltas: Tensor, target_deltas: Tensor, default_boxes: Tensor) -> Tensor:
        """One number for each default box, [B, A]; see the module."""
        return (deltas.float() - target_deltas).abs().sum(dim=-1)


class BalancedL1BoxLoss(nn.Module):
    """Balanced L1 (Libra R-CNN, arXiv:1904.02701, section 3.3), summed over the four deltas.

    Its gradient is alpha ln(b x / beta + 1) up to an error of beta and gamma from there on, with b such that both meet:
    small errors count for more than in smooth L1.

    Args:
        alpha: the smaller, the steeper for small errors.
        gamma: slope for large errors.
        beta: error from which on the slope stays the same; 1 in the paper.
    """

    def __init__(self, alpha: float = 0.5, gamma: float = 1.5, beta: float = 1.0) -> None:
        super().__init__()
        if min(alpha, gamma, beta) <= 0:
            raise ValueError(f"balanced_l1: expected alpha, gamma and beta > 0, got {alpha}, {gamma} and {beta}")
        self.alpha, self.gamma, self.beta = alpha, gamma, beta

    def forward(self, deltas: Tensor, target_deltas: Tensor, default_boxes: Tensor) -> Tensor:
        """One number for each default box, [B, A]; see the module."""
        b = math.expm1(self.gamma / self.alpha)  # alpha ln(b + 1) = gamma
        error = (deltas.float() - target_deltas).abs() / self.beta
        inner = error.clamp(max=1)  # so that the branch not taken has no infinite gradient
        curved = self.alpha / b * (b * inner + 1) * torch.log1p(b * inner) - self.alpha * inner
        straight = self.gamma * (error + 1 / b) - self.alpha
        return self.beta * torch.where(error < 1, curved, straight).sum(dim=-1)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}, gamma={self.gamma}, beta={self.beta}"


class OverlapBoxLoss(nn.Module):
    """How little two boxes overlap, in pixels; subclasses choose the measure.

    Decoded boxes are kept to where float32 can compute with them, so that a wild delta costs a finite amount.

    Args:
        measure: two times [..., 4] xyxy to [...].
        coder: the model's.
    """

    def __init__(self, measure: Callable[[Tensor, Tensor], Tensor], coder: BoxCoder) -> None:
        super().__init__()
        self.measure = measure
        self.coder = coder

    def forward(self, deltas: Tensor, target_deltas: Tensor, default_boxes: Tensor) -> Tensor:
        """One number for each default box, [B, A]; see the module."""
        found, wanted = (_tamed(self.coder.decode(x, default_boxes)) for x in (self._bounded(deltas), target_deltas))
        return self.measure(found, wanted)

    def _bounded(self, deltas: Tensor) -> Tensor:
        """Log sizes within `LARGEST_LOG`: a coder without a limit of its own would overflow."""
        width, height = (LARGEST_LOG * weight for weight in self.coder.weights[2:])
        bound = deltas.new_tensor((width, height))
        return torch.cat((deltas[..., :2], deltas[..., 2:].clamp(-bound, bound)), dim=-1)


class GIoUBoxLoss(OverlapBoxLoss):
    """1 - GIoU (arXiv:1902.09630, algorithm 1): from 0 to 2."""

    def __init__(self, coder: BoxCoder) -> None:
        super().__init__(generalized_box_iou_loss, coder)


class DIoUBoxLoss(OverlapBoxLoss):
    """1 - DIoU (arXiv:1911.08287, equation 7): IoU and the distance of the centres, from 0 to 2."""

    def __init__(self, coder: BoxCoder) -> None:
        super().__init__(distance_box_iou_loss, coder)


class CIoUBoxLoss(OverlapBoxLoss):
    """1 - CIoU (arXiv:1911.08287, equation 10): DIoU and the difference of the aspect ratios."""

    def __init__(self, coder: BoxCoder) -> None:
        super().__init__(complete_box_iou_loss, coder)


BOX_LOSSES: Mapping[str, Callable[..., nn.Module]] = {
    "smooth_l1": SmoothL1BoxLoss,
    "l1": L1BoxLoss,
    "balanced_l1": BalancedL1BoxLoss,
    "giou": GIoUBoxLoss,
    "diou": DIoUBoxLoss,
    "ciou": CIoUBoxLoss,
}


def build_box_loss(box: Part | nn.Module, coder: BoxCoder | None) -> nn.Module:
    """A box loss of the table, or one that is finished already.

    No dotted path: the loss of a checkpoint is checked against its table, and what it is made of must be as safe.

    Raises:
        ValueError: for an unknown name or wrong options.
    """
    if isinstance(box, nn.Module):
        return box
    name, _ = split_part(box, "loss.box")
    if name not in BOX_LOSSES:
        raise ValueError(
            f"unknown loss.box {name!r}: {suggest(name, BOX_LOSSES)} (one of your own is given finished, in Python)"
        )
    return build_part(BOX_LOSSES, box, "loss.box", **({} if coder is None else {"coder": coder}))


def _tamed(boxes: Tensor) -> Tensor:
    """Boxes [..., 4] not further out than `FAREST` and not thinner than `THINNEST`."""
    low, high = boxes.clamp(-FAREST, FAREST).split(2, dim=-1)
    return torch.cat((low, torch.maximum(high, low + THINNEST)), dim=-1)
