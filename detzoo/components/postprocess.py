"""From scores and boxes to detections."""

from typing import NamedTuple

from torch import Tensor, nn

from ..ops import clip_boxes
from ..structures import Detection
from .suppression import elementwise_diou, nms_mask, rank_in_group


class Candidates(NamedTuple):
    """M boxes of a whole batch, best first within each image: `boxes` [M, 4]; `scores`, `labels` and `images` [M]."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    images: Tensor

    def select(self, mask_or_order: Tensor) -> "Candidates":
        return Candidates(*(tensor[mask_or_order] for tensor in self))

    def best_first(self) -> "Candidates":
        """By image, and by falling score; equal scores in the order in which they are."""
        order = self.scores.argsort(descending=True, stable=True)
        return self.select(order[self.images[order].argsort(stable=True)])


class Postprocess(nn.Module):
    """Threshold, the best `top_k` of each class, suppression, the best of each image.

    The suppression is the greedy one, and other kinds are subclasses that override `suppress`.

    Args:
        score_threshold: scores must be above it.
        iou_threshold: a box goes if a better one of its class overlaps it by more.
        top_k: boxes of each class and image that enter suppression; of each image where it is class-agnostic.
        detections_per_image: boxes of each image that leave it.
        class_agnostic: boxes of different classes suppress one another, too.
        clip: boxes are clipped to the image before suppression, as in torchvision; if not, they never are, as in the
            Caffe original and its ports.
    """

    def __init__(
        self,
        score_threshold: float = 0.01,
        iou_threshold: float = 0.45,
        top_k: int = 400,
        detections_per_image: int = 200,
        class_agnostic: bool = False,
        clip: bool = True,
    ) -> None:
        super().__init__()
        check_fractions(score_threshold=score_threshold, iou_threshold=iou_threshold)
        for name, value in (("top_k", top_k), ("detections_per_image", detections_per_image)):
            if value < 1:
                raise ValueError(f"postprocess: {name} must be at least 1, got {value}")
        self.score_threshold = score_threshold
        self.iou_threshold = iou_threshold
        self.top_k = top_k
        self.detections_per_image = detections_per_image
        self.class_agnostic = class_agnostic
        self.clip = clip

    def forward(self, scores: Tensor, boxes: Tensor, size: tuple[int, int]) -> list[Detection]:
        """Detections of each image, best first.

        Args:
            scores: [B, A, C - 1], of the classes but background.
            boxes: [B, A, 4] xyxy pixels of the network's input.
            size: height and width of the network's input.
        """
        candidates = self._candidates(scores, clip_boxes(boxes, size) if self.clip else boxes)
        return _split(self._best(candidates, len(scores)), len(scores))

    def suppress(self, candidates: Candidates) -> Candidates:
        """What is left of the candidates, best first within each image.

        Scores may fall and must not rise, and what comes out with some score must not depend on candidates that came
        in with a lower one.
        """
        return candidates.select(nms_mask(candidates.boxes, self.groups(candidates), self.iou_threshold))

    def groups(self, candidates: Candidates) -> Tensor:
        """One number for those that may suppress one another, [M]: for each pair of image and class, or each image."""
        if self.class_agnostic or len(candidates.labels) == 0:
            return candidates.images
        return candidates.images * (candidates.labels.max() + 1) + candidates.labels

    def _candidates(self, scores: Tensor, boxes: Tensor) -> Candidates:
        """What is above the threshold and among the `top_k` of its class, by image, best first."""
        images, anchors, classes = (scores > self.score_threshold).nonzero(as_tuple=True)
        found = Candidates(boxes[images, anchors], scores[images, anchors, classes], classes + 1, images).best_first()
        return found.select(rank_in_group(self.groups(found)) < self.top_k)

    def _best(self, candidates: Candidates, num_images: int) -> Candidates:
        """The best `detections_per_image` of what suppression leaves of each image.

        Only the best few candidates of an image can be among its best survivors, so suppression starts with five times
        as many as may leave, and takes more only where too few come out of it with a score as good as that of the first
        candidate that was left out. The result is the same as with all of them.
        """
        rank = rank_in_group(candidates.images)
        budget = 5 * self.detections_per_image
        while True:
            kept = self.suppress(candidates.select(rank < budget))
            first_out = candidates.select(rank == budget)
            bar = candidates.scores.new_zeros(num_images).index_put((first_out.images,), first_out.scores)
            good = kept.images[kept.scores >= bar[kept.images]].bincount(minlength=num_images)
            if (good[first_out.images] >= self.detections_per_image).all():
                return kept.select(rank_in_group(kept.images) < self.detections_per_image)
            budget *= 4

    def extra_repr(self) -> str:
        return (
            f"score_threshold={self.score_threshold}, iou_threshold={self.iou_threshold}, top_k={self.top_k}, "
            f"detections_per_image={self.detections_per_image}, class_agnostic={self.class_agnostic}, clip={self.clip}"
        )


class DIoUNMS(Postprocess):
    """Greedy suppression by distance IoU (Zheng et al., arXiv:1911.08287, section 3.4): of two boxes that overlap by as
    much, the one whose centre is further away stays. Here, `iou_threshold` is one of DIoU.
    """

    def suppress(self, candidates: Candidates) -> Candidates:
        groups = self.groups(candidates)
        return candidates.select(nms_mask(candidates.boxes, groups, self.iou_threshold, elementwise_diou))


def check_fractions(**values: float) -> None:
    """Raise a ValueError that names the first option outside of [0, 1]."""
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise ValueError(f"postprocess: {name} must lie in [0, 1], got {value}")


def _split(candidates: Candidates, num_images: int) -> list[Detection]:
    counts = candidates.images.bincount(minlength=num_images).tolist()
    columns = (candidates.boxes.split(counts), candidates.labels.split(counts), candidates.scores.split(counts))
    return [
        Detection(boxes=boxes, labels=labels, scores=scores) for boxes, labels, scores in zip(*columns, strict=True)
    ]
