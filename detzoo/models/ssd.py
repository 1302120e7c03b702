"""The detector itself."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..backbones import Backbone
from ..categories import Categories
from ..components import BoxCoder, DefaultBoxGenerator, Postprocess, Preprocess, assign_targets
from ..components.contracts import check_losses
from ..components.preprocess import Images, check_targets
from ..structures import Detection, PaddedTargets, Predictions, Target
from .sizes import size_problem


class SSD(nn.Module):
    """Single Shot MultiBox Detector (Liu et al., arXiv:1512.02325): parts in, detections out.

    Images are RGB, uint8 or float in [0, 1]: a list of [3, H, W] of any sizes, or a batch [B, 3, H, W]. Targets are
    torchvision's: per image a dict of `boxes` [N, 4], xyxy pixels of that image, and `labels` [N] from 1 on.

    `losses`, `detect` and `predict` work in any mode; dropout and batch statistics follow `train()` and `eval()` as
    ever.

    Args:
        backbone: images to feature maps; states `channels`.
        default_boxes: grid sizes to boxes; states `boxes_per_cell`.
        head: feature maps to logits and deltas.
        neck: feature maps to as many feature maps, on which the head works; None for none.
        matcher: which default box answers for which object.
        coder: boxes to deltas and back.
        loss: what is minimised, and what logits mean; a matcher that reads logits was built with it, so the two are
            replaced together.
        preprocess: images to the network's input, boxes there and back.
        postprocess: scores and boxes to detections.
        categories: names behind the labels, for whoever prints or draws them.

    Raises:
        ValueError: if backbone and default boxes have different numbers of levels, head and default boxes another
            number of boxes per cell, or the loss does not say what logits mean.
    """

    gives_losses = True  # `losses` and `evaluate` work; a network in another engine has no logits to compare

    def __init__(
        self,
        *,
        backbone: Backbone,
        default_boxes: DefaultBoxGenerator,
        head: nn.Module,
        matcher: nn.Module,
        coder: BoxCoder,
        loss: nn.Module,
        preprocess: Preprocess,
        postprocess: Postprocess,
        neck: nn.Module | None = None,
        categories: Categories | None = None,
    ) -> None:
        super().__init__()
        if problem := level_problem(backbone, default_boxes) or head_problem(head, default_boxes):
            raise ValueError(problem)
        if not hasattr(loss, "scores"):
            raise ValueError(
                f"{type(loss).__name__} does not say what logits mean: give it scores(logits) -> [B, A, C - 1], for "
                "softmax detzoo.components.foreground_softmax, or derive it from DetectionLoss or MultiBoxLoss"
            )
        self.backbone = backbone
        self.neck = nn.Identity() if neck is None else neck
        self.default_boxes = default_boxes
        self.head = head
        self.matcher = matcher
        self.coder = coder
        self.loss = loss
        self.preprocess = preprocess
        self.postprocess = postprocess
        self.categories = categories

    def forward(
        self, images: Images, targets: Sequence[Target] | PaddedTargets | None = None
    ) -> dict[str, Tensor] | list[Detection]:
        """Losses while training, detections otherwise (torchvision's contract); `losses` and `detect` choose
        themselves.
        """
        if not self.training:
            return self.detect(images)
        if targets is None:
            raise ValueError("a detector in training mode needs targets: pass them, or call eval() or detect(images)")
        return self.losses(images, targets)

    def losses(self, images: Images, targets: Sequence[Target] | PaddedTargets) -> dict[str, Tensor]:
        """Named scalars to sum and minimise.

        Padded targets, as the loader makes them, are in pixels of a batch whose size it chose, and were checked by the
        reader.

        Raises:
            ValueError: naming image and box, for a box without area or a label out of range; for images that are too
                small, and for a matcher or loss that gives something else than it should.
        """
        batch, targets = self._prepare(images, targets)
        return self._losses(self._predicted(batch), targets)

    @torch.no_grad()
    def detect(self, images: Images) -> list[Detection]:
        """What is in each image, best first; boxes in pixels of that image."""
        batch = self.preprocess(images)
        return self.detections(self._predicted(batch), tuple(batch.shape[-2:]), images)

    @torch.no_grad()
    def evaluate(self, images: Images, targets: Sequence[Target]) -> tuple[dict[str, Tensor], list[Detection]]:
        """`losses` and `detect` from one pass through the network, such as for a validation loss beside a metric."""
        batch, padded = self._prepare(images, targets)
        predictions = self._predicted(batch)
        return self._losses(predictions, padded), self.detections(predictions, tuple(batch.shape[-2:]), images)

    def detections(self, predictions: Predictions, size: tuple[int, int], images: Images) -> list[Detection]:
        """What `detect` gives, from predictions that may have been made elsewhere.

        Args:
            predictions: of `predict` for these images.
            size: height and width of the network's input.
            images: as given to `preprocess`; boxes go back to their pixels.
        """
        boxes = self.coder.decode(predictions.deltas, predictions.default_boxes)
        scores = self.loss.scores(predictions.logits)
        return self.preprocess.undo(self.postprocess(scores, boxes, size, predictions.levels), images)

    def _prepare(self, images: Images, targets: Sequence[Target] | PaddedTargets) -> tuple[Tensor, PaddedTargets]:
        """The network's input, and what is to be found in its pixels."""
        if isinstance(targets, PaddedTargets):
            batch = self.preprocess.normalise(images)
        else:
            check_targets(targets, images, self.head.num_classes)
            batch = self.preprocess(images)
        return batch, self.preprocess.fit_targets(targets, images)

    def _predicted(self, batch: Tensor) -> Predictions:
        """`predict`, with a ValueError for images whose size the network cannot take."""
        try:
            return self.predict(batch)
        except torch.OutOfMemoryError:  # a RuntimeError, too
            raise
        except RuntimeError as error:
            if (problem := size_problem(self.backbone, self.neck, tuple(batch.shape[-2:]))) is None:
                raise
            raise ValueError(problem) from error

    def _losses(self, predictions: Predictions, targets: PaddedTargets) -> dict[str, Tensor]:
        labels, target_deltas = assign_targets(predictions, targets, self.matcher, self.coder)
        losses = self.loss(predictions.logits, predictions.deltas, labels, target_deltas, predictions.default_boxes)
        check_losses(self.loss, losses)
        return losses

    def predict(self, batch: Tensor) -> Predictions:
        """Tensors to tensors, the part one exports: [B, 3, S, S], normalised, to logits, deltas and default boxes."""
        maps = self.neck(self.backbone(batch))  # one [B, C_k, H_k, W_k] per level
        logits, deltas = self.head(maps)  # [B, A, C], [B, A, 4]
        grids = [tuple(x.shape[-2:]) for x in maps]
        default_boxes = self.default_boxes(grids, tuple(batch.shape[-2:]), batch.device)
        levels = tuple(math.prod(grid) * k for grid, k in zip(grids, self.default_boxes.boxes_per_cell, strict=True))
        return Predictions(logits, deltas, default_boxes, levels)


def level_problem(backbone: Backbone, default_boxes: DefaultBoxGenerator) -> str | None:
    """Why these two cannot go together, or None."""
    levels = len(backbone.channels)
    if levels == default_boxes.num_levels:
        return None
    return (
        f"the backbone gives {levels} feature maps (channels {backbone.channels}) but default_boxes are for "
        f"{default_boxes.num_levels} levels: "
        f"give aspect_ratios for {levels} levels, and {levels + 1} scales or {levels} sizes"
    )


def head_problem(head: nn.Module, default_boxes: DefaultBoxGenerator) -> str | None:
    """Why these two cannot go together, or None; a head of your own need not state `boxes_per_cell`."""
    stated = getattr(head, "boxes_per_cell", default_boxes.boxes_per_cell)
    if list(stated) == default_boxes.boxes_per_cell:
        return None
    wanted = default_boxes.boxes_per_cell
    return f"the head predicts {list(stated)} boxes per cell, level by level, but default_boxes has {wanted}"
