"""From scores and boxes to detections."""

from collections.abc import Sequence
from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from ..ops import clip_boxes, elementwise_iou
from ..structures import Detection
from .suppression import Overlap, elementwise_diou, iou_with_margin, nms_mask, rank_in_group

SCOPES = ("class", "level", "image")


class Candidates(NamedTuple):
    """M boxes of a whole batch, best first within each image: `boxes` [M, 4]; `scores`, `labels` and `images` [M]; the
    `size`, height and width, of the images in whose pixels the boxes are.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    images: Tensor
    size: tuple[int, int]

    def select(self, mask_or_order: Tensor) -> "Candidates":
        is_mask = mask_or_order.dtype == torch.bool  # looked through once, not once for each column
        chosen = mask_or_order.nonzero().flatten() if is_mask else mask_or_order
        return Candidates(*(tensor.index_select(0, chosen) for tensor in self[:-1]), self.size)

    def best_first(self) -> "Candidates":
        return self.select(_best_first(self.scores, self.images))


def _best_first(scores: Tensor, images: Tensor) -> Tensor:
    """The order by image, and by falling score; equal scores in the order in which they are."""
    order = scores.argsort(descending=True, stable=True)
    return order[images[order].argsort(stable=True)]


class Postprocess(nn.Module):
    """Threshold, the best `top_k` of each class, suppression, the best of each image.

    The suppression is the greedy one, and other kinds are subclasses that override `suppress`. Where published
    detectors differ there is an option; whose threshold says "at least" is served by `ops.below`.

    Args:
        score_threshold: scores must be above it.
        iou_threshold: a box goes if a better one of its class overlaps it by more.
        top_k: boxes of each class and image that enter suppression; of each image where it is class-agnostic. None for
            all of them.
        detections_per_image: boxes of each image that leave it; None for all of them.
        class_agnostic: boxes of different classes suppress one another, too.
        clip: boxes are clipped to the image before suppression, as in torchvision; if not, they never are, as in the
            Caffe original and its ports.
        top_k_per: of what `top_k` is the best: `"class"`; `"level"`, pairs of box and class on each feature map, as in
            mmdetection; `"image"`, such pairs of the image.
        union_margin: added to the union of two boxes when their overlap is measured, as a fraction of the image's area;
            1e-5 in pytorch-ssd.
        best_class_only: a default box speaks for its best class alone, as in Dive into Deep Learning.
        drop_empty: boxes without area, perhaps because they were clipped, go before suppression, as in mmdetection.
    """

    def __init__(
        self,
        score_threshold: float = 0.01,
        iou_threshold: float = 0.45,
        top_k: int | None = 400,
        detections_per_image: int | None = 200,
        class_agnostic: bool = False,
        clip: bool = True,
        top_k_per: Literal["class", "level", "image"] = "class",
        union_margin: float = 0.0,
        best_class_only: bool = False,
        drop_empty: bool = False,
    ) -> None:
        super().__init__()
        check_fractions(score_threshold=score_threshold, iou_threshold=iou_threshold, union_margin=union_margin)
        for name, value in (("top_k", top_k), ("detections_per_image", detections_per_image)):
            if value is not None and value < 1:
                raise ValueError(f"postprocess: {name} must be at least 1, got {value}; None is no limit")
        if top_k_per not in SCOPES:
            raise ValueError(f"postprocess: top_k_per must be one of {SCOPES}, got {top_k_per!r}")
        self.score_threshold = score_threshold
        self.iou_threshold = iou_threshold
        self.top_k = top_k
        self.detections_per_image = detections_per_image
        self.class_agnostic = class_agnostic
        self.clip = clip
        self.top_k_per = top_k_per
        self.union_margin = union_margin
        self.best_class_only = best_class_only
        self.drop_empty = drop_empty

    def forward(
        self, scores: Tensor, boxes: Tensor, size: tuple[int, int], levels: Sequence[int] | None = None
    ) -> list[Detection]:
        """Detections of each image, best first.

        Args:
            scores: [B, A, C - 1], of the classes but background.
            boxes: [B, A, 4] xyxy pixels of the network's input.
            size: height and width of the network's input.
            levels: how many of the A boxes each feature map has, `Predictions.levels`; only `top_k_per="level"` asks.

        Raises:
            ValueError: where `top_k_per="level"` and `levels` are missing, or do not add up to A.
        """
        boxes = clip_boxes(boxes, size) if self.clip else boxes
        best = scores.amax(dim=2)  # [B, A]; few default boxes have any score that counts, and only these are gone into
        budget = boxes.shape[1] if self.detections_per_image is None else 5 * self.detections_per_image
        while True:
            bar = self._bar(best, budget)
            found = self.suppress(self._candidates(scores, boxes, size, levels, best, bar))
            if self._are_enough(found, bar):
                return _split(self._best(found), len(scores))
            budget *= 4

    def suppress(self, candidates: Candidates) -> Candidates:
        """What is left of the candidates, best first within each image.

        Scores may fall and must not rise, and what comes out with some score must not depend on candidates that came
        in with a lower one.
        """
        groups, overlap = self.groups(candidates), self.overlap(candidates)
        return candidates.select(nms_mask(candidates.boxes, groups, self.iou_threshold, overlap))

    def overlap(self, candidates: Candidates) -> Overlap:
        """How much boxes overlap: what suppression measures."""
        if self.union_margin == 0:
            return elementwise_iou
        height, width = candidates.size
        return partial(iou_with_margin, margin=self.union_margin * height * width)

    def groups(self, candidates: Candidates) -> Tensor:
        """One number for those that may suppress one another, [M]: for each pair of image and class, or each image."""
        return self._groups(candidates.images, candidates.labels)

    def _groups(self, images: Tensor, labels: Tensor) -> Tensor:
        if self.class_agnostic or len(labels) == 0:
            return images
        return images * (labels.max() + 1) + labels

    def _bar(self, best: Tensor, budget: int) -> Tensor:
        """A score for each image, [B]: at least `budget` candidates reach it, or all that are above the threshold do.

        Args:
            best: [B, A], the best score of each default box.
            budget: how many candidates may be enough: only the best can be among the best survivors.
        """
        if budget >= best.shape[1]:
            return best.new_full((len(best),), self.score_threshold)
        return best.topk(budget).values[:, -1].clamp(min=self.score_threshold)

    def _are_enough(self, found: Candidates, bar: Tensor) -> bool:
        """Whether candidates below the bar could not change what leaves the image: as many as may leave are left with
        scores that reach it, or no candidate is below.
        """
        if self.detections_per_image is None:
            return True
        good = found.images[found.scores >= bar[found.images]].bincount(minlength=len(bar))
        return bool(((good >= self.detections_per_image) | (bar <= self.score_threshold)).all())

    def _candidates(
        self,
        scores: Tensor,
        boxes: Tensor,
        size: tuple[int, int],
        levels: Sequence[int] | None,
        best: Tensor,
        bar: Tensor,
    ) -> Candidates:
        """What is above the threshold, reaches the `bar` [B] and is among the `top_k`, by image, best first."""
        images, anchors, classes = self._that_count(scores, best, bar)
        worth = scores[images, anchors, classes]
        order = _best_first(worth, images)
        if self.top_k is not None:
            pools = self._pools(images, anchors, classes, boxes.shape[1], levels)
            order = order[rank_in_group(pools[order]) < self.top_k]
        images, anchors, classes = images[order], anchors[order], classes[order]
        found = Candidates(boxes[images, anchors], worth[order], classes + 1, images, size)
        if self.drop_empty:
            found = found.select((found.boxes[:, 2:] > found.boxes[:, :2]).all(dim=1))
        return found

    def _that_count(self, scores: Tensor, best: Tensor, bar: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Images, default boxes and classes (from 0 on) of scores that count, [M] each."""
        images, anchors = ((best > self.score_threshold) & (best >= bar[:, None])).nonzero(as_tuple=True)
        rows = scores[images, anchors]
        if self.best_class_only:
            return images, anchors, rows.max(dim=1).indices  # the first of equal ones
        which, classes = ((rows > self.score_threshold) & (rows >= bar[images, None])).nonzero(as_tuple=True)
        return images[which], anchors[which], classes

    def _pools(
        self, images: Tensor, anchors: Tensor, classes: Tensor, count: int, levels: Sequence[int] | None
    ) -> Tensor:
        """One number for those of which the best `top_k` stay, [M]; `anchors` [M] are their places among `count`."""
        if self.top_k_per == "class":
            return self._groups(images, classes)
        if self.top_k_per == "image":
            return images
        if levels is None or sum(levels) != count:
            raise ValueError(
                f"postprocess: top_k_per='level' needs to know how many of the {count} default boxes each feature map "
                f"has, got levels={levels}: pass those of the predictions, predict(batch).levels"
            )
        level = torch.repeat_interleave(torch.tensor(levels, device=anchors.device))  # [A]
        return images * len(levels) + level[anchors]

    def _best(self, found: Candidates) -> Candidates:
        if self.detections_per_image is None:
            return found
        return found.select(rank_in_group(found.images) < self.detections_per_image)

    def extra_repr(self) -> str:
        shown = [
            f"score_threshold={self.score_threshold}, iou_threshold={self.iou_threshold}, top_k={self.top_k}, "
            f"detections_per_image={self.detections_per_image}, class_agnostic={self.class_agnostic}, clip={self.clip}"
        ]
        rare = {"top_k_per": "class", "union_margin": 0, "best_class_only": False, "drop_empty": False}
        shown += [f"{name}={getattr(self, name)!r}" for name, usual in rare.items() if getattr(self, name) != usual]
        return ", ".join(shown)


class DIoUNMS(Postprocess):
    """Greedy suppression by distance IoU (Zheng et al., arXiv:1911.08287, section 3.4): of two boxes that overlap by as
    much, the one whose centre is further away stays. Here, `iou_threshold` is one of DIoU.
    """

    def overlap(self, candidates: Candidates) -> Overlap:
        return partial(elementwise_diou, iou=super().overlap(candidates))


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
