"""SimOTA: objects choose the default boxes that predict them most cheaply, as many as there are good ones."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..ops import pairwise_iou, xyxy_to_cxcywh
from ..structures import PaddedTargets, Predictions
from .coder import BoxCoder
from .matching import Scores, centre_offsets, least_margin, of_their_class, predicted_iou, settle

# cost of a centre that is inside the object or near its centre, but not both: more than the others come to (unless
# scores are wild), and little enough (YOLOX adds 1e5) that float32 still tells the costs behind it apart
OUTSIDE = 1e3
EPSILON = 1e-8  # of an IoU under a logarithm
LEAST_LOG = -100.0  # of a probability, as in torch's binary cross-entropy


class SimOTAMatcher(nn.Module):
    """Dynamic label assignment by cost (YOLOX, arXiv:2107.08430, section 2.1).

    The candidates of an object are default boxes whose centre lies inside it or within `radius` strides of its own
    centre, on both axes. A candidate costs the cross-entropy of its scores against the object's class, and
    `iou_weight` times -log of its predicted box's IoU. The object takes the cheapest k, where k is the sum of the
    `top_k` highest IoUs, at least 1; a default box chosen twice stays where it is cheapest. YOLOX's scores are
    multiplied by its objectness, which SSD has not, and its objects may also take each other's candidates. An object
    without a candidate keeps its best default box, as in SSD.

    Args:
        coder: the model's.
        scores: logits to scores; the loss's.
        boxes_per_cell: default boxes per cell of each level.
        iou_weight: lambda in the paper, 3 in the authors' code.
        radius: of the centre prior, in strides.
        top_k: IoUs that are summed.
    """

    def __init__(
        self,
        coder: BoxCoder,
        scores: Scores,
        boxes_per_cell: Sequence[int],
        iou_weight: float = 3.0,
        radius: float = 2.5,
        top_k: int = 10,
    ) -> None:
        super().__init__()
        if iou_weight < 0 or radius <= 0 or top_k < 1:
            raise ValueError(
                "SimOTAMatcher: expected iou_weight >= 0, radius > 0 and top_k >= 1, "
                f"got {iou_weight}, {radius} and {top_k}"
            )
        self.coder = coder
        self.scores = scores
        self.boxes_per_cell = list(boxes_per_cell)
        self.iou_weight, self.radius, self.top_k = iou_weight, radius, top_k

    @torch.no_grad()
    def forward(self, predictions: Predictions, targets: PaddedTargets) -> Tensor:
        """The object of each default box, [B, A]."""
        default_boxes, mask = predictions.default_boxes, targets.mask
        inside, near = least_margin(targets, default_boxes) > 0, self._near(predictions, targets)
        candidate = (inside | near) & mask[..., None]  # [B, N, A]
        iou = predicted_iou(predictions, targets, self.coder).masked_fill(~candidate, 0)
        cost = self._class_cost(predictions, targets) - self.iou_weight * (iou + EPSILON).log()
        cost = (cost + OUTSIDE * ~(inside & near)).masked_fill(~candidate, torch.inf)
        return settle(self._cheapest(cost, iou), -cost, pairwise_iou(targets.boxes, default_boxes), mask)

    def _near(self, predictions: Predictions, targets: PaddedTargets) -> Tensor:
        """Whether a default box lies in the centre region of an object, [B, N, A]."""
        apart = centre_offsets(targets, predictions.default_boxes).abs().amax(dim=-1)
        return apart < self.radius * self._strides(predictions)

    def _strides(self, predictions: Predictions) -> Tensor:
        """Pixels from cell to cell, for each default box: [A]."""
        strides = []
        for boxes, count in zip(predictions.default_boxes.split(predictions.levels), self.boxes_per_cell, strict=True):
            centres = xyxy_to_cxcywh(boxes[::count])[:, :2]
            # from the first cell to its neighbour on the right, or below; a single cell is near everything
            stride = (centres[1] - centres[0]).amax() if len(centres) > 1 else boxes.new_full((), torch.inf)
            strides.append(stride.expand(len(boxes)))
        return torch.cat(strides)

    def _class_cost(self, predictions: Predictions, targets: PaddedTargets) -> Tensor:
        """Binary cross-entropy of all scores against the class of each object, [B, N, A]."""
        scores = self.scores(predictions.logits)  # [B, A, C - 1]
        absent = -(-scores).log1p().clamp(min=LEAST_LOG)  # cost of each class where it is not there
        right = of_their_class(scores, targets)
        return absent.sum(dim=-1)[:, None] - of_their_class(absent, targets) - right.log().clamp(min=LEAST_LOG)

    def _cheapest(self, cost: Tensor, iou: Tensor) -> Tensor:
        """What each object chooses, [B, N, A] bool."""
        count = min(self.top_k, cost.shape[2])
        wanted = iou.topk(count, dim=2).values.sum(dim=2, keepdim=True).floor().clamp(min=1)  # at most `count`
        costs, index = cost.topk(count, dim=2, largest=False)
        good = (torch.arange(count, device=cost.device) < wanted) & costs.isfinite()
        return torch.zeros_like(cost, dtype=torch.bool).scatter(2, index, good)

    def extra_repr(self) -> str:
        return f"iou_weight={self.iou_weight}, radius={self.radius}, top_k={self.top_k}"
