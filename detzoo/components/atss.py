"""Adaptive training sample selection: each object sets its own threshold."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..ops import pairwise_iou
from ..structures import PaddedTargets, Predictions
from .matching import centre_offsets, least_margin, settle


class ATSSMatcher(nn.Module):
    """An object gets those of the default boxes around its centre that overlap it more than most of them do (ATSS,
    arXiv:1912.02424, algorithm 1).

    On every level the default boxes with the nearest centres are candidates: `candidates` of them for each box that a
    cell has, as in the authors' code for several anchors a cell, so that every shape of the nearest cells is asked.
    Those whose IoU reaches mean plus standard deviation of all candidates', with their centre inside the object, are
    matches. The paper leaves an object without such a box alone; here it keeps its best one, as in SSD.

    Args:
        boxes_per_cell: default boxes per cell of each level.
        candidates: cells a level; k in the paper.
    """

    def __init__(self, boxes_per_cell: Sequence[int], candidates: int = 9) -> None:
        super().__init__()
        if candidates < 1:
            raise ValueError(f"ATSSMatcher: candidates must be at least 1, got {candidates}")
        self.boxes_per_cell = list(boxes_per_cell)
        self.candidates = candidates

    @torch.no_grad()
    def forward(self, predictions: Predictions, targets: PaddedTargets) -> Tensor:
        """The object of each default box, [B, A]; what the network says does not count."""
        default_boxes = predictions.default_boxes
        iou = pairwise_iou(targets.boxes, default_boxes)  # [B, N, A]
        index = self._nearest(predictions, targets)  # [B, N, M]
        candidate = iou.gather(2, index)
        deviation = candidate.std(dim=2, keepdim=True, correction=min(1, index.shape[2] - 1))
        inside = least_margin(targets, default_boxes).gather(2, index) > 0
        good = inside & (candidate >= candidate.mean(dim=2, keepdim=True) + deviation) & targets.mask[..., None]
        chosen = torch.zeros_like(iou, dtype=torch.bool).scatter(2, index, good)
        return settle(chosen, iou, iou, targets.mask)

    def _nearest(self, predictions: Predictions, targets: PaddedTargets) -> Tensor:
        """The candidates of each object, all levels' together, as indices into A: [B, N, M]."""
        squared = centre_offsets(targets, predictions.default_boxes).square().sum(dim=-1)  # [B, N, A]
        found, start = [], 0
        for distances, count in zip(squared.split(predictions.levels, dim=2), self.boxes_per_cell, strict=True):
            size = distances.shape[2]
            found.append(distances.topk(min(self.candidates * count, size), dim=2, largest=False).indices + start)
            start += size
        return torch.cat(found, dim=2)

    def extra_repr(self) -> str:
        return f"candidates={self.candidates}"
