"""From scores and boxes to detections."""

from typing import NamedTuple

from torch import Tensor, nn

from ..ops import clip_boxes
from ..structures import Detection
from .suppression import nms_mask, rank_in_group


class Candidates(NamedTuple):
    """M boxes of a whole batch, best first within each image: `boxes` [M, 4]; `scores`, `labels` and `images` [M]."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    images: Tensor

    def select(self, mask_or_order: Tensor) -> "Candidates":
        return Candidates(*(tensor[mask_or_order] for tensor in self))


class Postprocess(nn.Module):
    """Threshold, the best `top_k` of each class, greedy suppression, the best of each image.

    Boxes are clipped to the image before suppression, as in torchvision.

    Args:
        score_threshold: scores must be above it.
        iou_threshold: a box goes if a better one of its class overlaps it by more.
        top_k: boxes of each class and image that enter suppression.
        detections_per_image: boxes of each image that leave it.
    """

    def __init__(
        self,
        score_threshold: float = 0.01,
        iou_threshold: float = 0.45,
        top_k: int = 400,
        detections_per_image: int = 200,
    ) -> None:
        super().__init__()
        for name, value in (("score_threshold", score_threshold), ("iou_threshold", iou_threshold)):
            if not 0 <= value <= 1:
                raise ValueError(f"postprocess: {name} must lie in [0, 1], got {value}")
        for name, value in (("top_k", top_k), ("detections_per_image", detections_per_image)):
            if value < 1:
                raise ValueError(f"postprocess: {name} must be at least 1, got {value}")
        self.score_threshold = score_threshold
        self.iou_threshold = iou_threshold
        self.top_k = top_k
        self.detections_per_image = detections_per_image

    def forward(self, scores: Tensor, boxes: Tensor, size: tuple[int, int]) -> list[Detection]:
        """Detections of each image, best first.

        Args:
            scores: [B, A, C - 1], of the classes but background.
            boxes: [B, A, 4] xyxy pixels of the network's input.
            size: height and width of the network's input.
        """
        candidates = self._candidates(scores, clip_boxes(boxes, size))
        kept = self._suppress(candidates, len(scores))
        return _split(kept, len(scores))

    def _candidates(self, scores: Tensor, boxes: Tensor) -> Candidates:
        """What is above the threshold and among the `top_k` of its class, by image, best first."""
        images, anchors, classes = (scores > self.score_threshold).nonzero(as_tuple=True)
        scores = scores[images, anchors, classes]
        order = scores.argsort(descending=True, stable=True)
        order = order[images[order].argsort(stable=True)]
        images, anchors, labels = images[order], anchors[order], classes[order] + 1
        candidates = Candidates(boxes[images, anchors], scores[order], labels, images)
        return candidates.select(rank_in_group(_class_groups(candidates)) < self.top_k)

    def _suppress(self, candidates: Candidates, num_images: int) -> Candidates:
        """Survivors, at most `detections_per_image` of each image.

        Only the best few candidates of an image can be among its best survivors, so suppression starts with five times
        as many as may leave and takes more only where these run out. The result is the same as with all of them.
        """
        rank = rank_in_group(candidates.images)
        available = candidates.images.bincount(minlength=num_images)
        budget = 5 * self.detections_per_image
        while True:
            tried = candidates.select(rank < budget)
            kept = tried.select(nms_mask(tried.boxes, _class_groups(tried), self.iou_threshold))
            found = kept.images.bincount(minlength=num_images)
            if not ((found < self.detections_per_image) & (available > budget)).any():
                return kept.select(rank_in_group(kept.images) < self.detections_per_image)
            budget *= 4

    def extra_repr(self) -> str:
        return (
            f"score_threshold={self.score_threshold}, iou_threshold={self.iou_threshold}, top_k={self.top_k}, "
            f"detections_per_image={self.detections_per_image}"
        )


def _class_groups(candidates: Candidates) -> Tensor:
    """One number for each pair of image and class."""
    if len(candidates.labels) == 0:
        return candidates.labels
    return candidates.images * (candidates.labels.max() + 1) + candidates.labels


def _split(candidates: Candidates, num_images: int) -> list[Detection]:
    counts = candidates.images.bincount(minlength=num_images).tolist()
    columns = (candidates.boxes.split(counts), candidates.labels.split(counts), candidates.scores.split(counts))
    return [
        Detection(boxes=boxes, labels=labels, scores=scores) for boxes, labels, scores in zip(*columns, strict=True)
    ]
