"""The words every floor shares: what a target, a detection and a prediction are.

Conventions (the only ones inside detzoo):

* boxes are xyxy, float32, in absolute pixels: of the network's input inside the model, of the original image at the
public door;
* labels are int64, 0 is background, `num_classes` counts it;
* images are RGB, uint8 or float in [0, 1].

Shape letters used in this project: B images, A default boxes of one image, N objects of one image (padded), C classes
with background, K boxes per cell, S side of the network's input.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypedDict

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


class Target(TypedDict):
    """Ground truth of one image: `boxes` [N, 4] xyxy pixels and `labels` [N] in 1..num_classes-1."""

    boxes: Tensor
    labels: Tensor


class Detection(TypedDict):
    """What was found in one image, best first: `boxes` [D, 4] xyxy pixels, `labels` [D], `scores` [D] in (0, 1]."""

    boxes: Tensor
    labels: Tensor
    scores: Tensor


class Predictions(NamedTuple):
    """Raw output of the network: `logits` [B, A, C], `deltas` [B, A, 4], their `default_boxes` [A, 4], and how many of
    these each level has, finest first.
    """

    logits: Tensor
    deltas: Tensor
    default_boxes: Tensor
    levels: tuple[int, ...]


class PaddedTargets(NamedTuple):
    """Ground truth of a batch: `boxes` [B, N, 4], `labels` [B, N] and `mask` [B, N], true where there is an object; N
    >= 1.
    """

    boxes: Tensor
    labels: Tensor
    mask: Tensor

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "PaddedTargets":
        return PaddedTargets(*(tensor.to(device, non_blocking=non_blocking) for tensor in self))


def pad_targets(targets: Sequence[Target]) -> PaddedTargets:
    """Stack the targets of B images into one tensor each, padded to the largest count (at least one row)."""
    counts = torch.tensor([len(target["labels"]) for target in targets])
    width = max(int(counts.max()), 1)
    boxes = pad_sequence([target["boxes"].reshape(-1, 4).float() for target in targets], batch_first=True)
    labels = pad_sequence([target["labels"].long() for target in targets], batch_first=True)
    if boxes.shape[1] == 0:  # no object in the whole batch: one empty row keeps every later reduction defined
        boxes, labels = boxes.new_zeros(len(targets), 1, 4), labels.new_zeros(len(targets), 1)
    mask = torch.arange(width) < counts[:, None]
    return PaddedTargets(boxes, labels, mask.to(boxes.device))
