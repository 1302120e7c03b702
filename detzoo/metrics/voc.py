"""PASCAL VOC's average precision, by the rules of its development kit."""

from typing import Literal, NamedTuple

import numpy as np

from ..annotations import Annotations
from ..categories import UNUSED
from .base import ImageDetections, Metric

# Shape letters in this file: D detections and G objects of one class in all images, P pairs of the two in one image.


class _Boxes(NamedTuple):
    """Boxes [D or G, 4] of one class, and the number of the image [D or G] each lies in."""

    image: np.ndarray
    boxes: np.ndarray


class _Curve(NamedTuple):
    """Running counts [D] of right and wrong detections of one class, best first, and how many objects were wanted."""

    right: np.ndarray
    wrong: np.ndarray
    wanted: int


class VocMetric(Metric):
    """Mean average precision as the VOC development kit computes it (VOCevaldet.m and VOCap.m of VOCdevkit 2012).

    Per class, detections are taken by falling score, equal ones in the order they came in, images in the order of the
    annotations. Each claims the object of its image which it overlaps most, difficult ones and those already found
    included:

    * overlap below the threshold: false positive;
    * a difficult object (or a crowd region): neither right nor wrong, however often it is claimed;
    * an object nobody claimed before: true positive; otherwise a second detection, and that is a false positive.

    Recall is counted over the objects that are not difficult. A class without any has no AP (nan) and stays out of the
    mean. `area` is the area under the precision made monotonic (VOC 2010 on), `11-point` the mean of that precision at
    recalls 0, 0.1, ..., 1 (VOC 2007).

    Args:
        iou_threshold: smallest overlap of a hit, in (0, 1].
        inclusive_pixels: true if both corners of a box name pixels inside it, as in VOC's own files, so that widths and
            overlaps are one pixel larger than the difference of the corners.
    """

    primary = "mAP"

    def __init__(self, annotations: Annotations, iou_threshold: float = 0.5, inclusive_pixels: bool = False) -> None:
        super().__init__(annotations)
        if not 0 < iou_threshold <= 1:
            raise ValueError(f"iou_threshold is {iou_threshold}; expected a number above 0 and up to 1")
        self.iou_threshold = iou_threshold
        self.extra = 1.0 if inclusive_pixels else 0.0

    def compute(self) -> dict[str, float]:
        """`mAP` by the area, `mAP_11` by eleven points: means over the classes that have ground truth."""
        return {"mAP": _mean(self.per_class("area")), "mAP_11": _mean(self.per_class("11-point"))}

    def per_class(self, interpolation: Literal["area", "11-point"] = "area") -> dict[str, float]:
        if interpolation not in _AVERAGE:
            raise ValueError(f"unknown interpolation {interpolation!r}: expected one of {sorted(_AVERAGE)}")
        average = _AVERAGE[interpolation]
        return {name: average(curve) if curve.wanted else np.nan for name, curve in self._evaluated().items()}

    def _evaluate(self) -> dict[str, _Curve]:
        measured = np.array(self._measured())
        image, found = self._flatten(measured)
        curves = {}
        for label, name in enumerate(self.annotations.categories.names, start=1):
            if name != UNUSED:
                objects, ignored = self._objects(label, measured)
                curves[name] = self._curve(_best_first(label, image, found), objects, ignored)
        return curves

    def _flatten(self, measured: np.ndarray) -> tuple[np.ndarray, ImageDetections]:
        """All detections in one, and the number of the image each of them lies in."""
        found = [self.results[int(self.annotations.image_ids[index])] for index in measured]
        image = np.repeat(measured, [len(one.labels) for one in found])
        return image, ImageDetections(*(np.concatenate(column) for column in zip(*found)))

    def _objects(self, label: int, measured: np.ndarray) -> tuple[_Boxes, np.ndarray]:
        """The objects of one class, images ascending, and which of them [G] are left out of the count."""
        truth = self.annotations
        image = np.repeat(np.arange(len(truth)), np.diff(truth.offsets))
        mine = (truth.labels == label) & np.isin(image, measured)
        return _Boxes(image[mine], truth.boxes[mine]), (truth.difficult | truth.crowd)[mine]

    def _curve(self, detections: _Boxes, objects: _Boxes, ignored: np.ndarray) -> _Curve:
        overlap, claimed = _best_match(detections, objects, self.extra)
        right, wrong = _judge(overlap >= self.iou_threshold, claimed, ignored)
        return _Curve(np.cumsum(right), np.cumsum(wrong), int((~ignored).sum()))


def _best_first(label: int, image: np.ndarray, found: ImageDetections) -> _Boxes:
    mine = found.labels == label
    order = np.argsort(-found.scores[mine], kind="stable")
    return _Boxes(image[mine][order], found.boxes[mine][order])


def _best_match(detections: _Boxes, objects: _Boxes, extra: float) -> tuple[np.ndarray, np.ndarray]:
    """Largest overlap of each detection [D] with an object of its image, and that object [D]; 0 and -1 without one."""
    detection, candidate = _pairs(detections.image, objects.image)
    iou = _paired_iou(detections.boxes[detection], objects.boxes[candidate], extra)
    order = np.lexsort((-iou, detection))  # stable: of equal overlaps the first object wins, as in the kit
    having, first = np.unique(detection[order], return_index=True)
    overlap, claimed = np.zeros(len(detections.image)), np.full(len(detections.image), -1)
    overlap[having], claimed[having] = iou[order][first], candidate[order][first]
    return overlap, claimed


def _pairs(detection_images: np.ndarray, object_images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every detection with every object of its image, as two index arrays [P]; `object_images` must be ascending."""
    start = np.searchsorted(object_images, detection_images, side="left")
    count = np.searchsorted(object_images, detection_images, side="right") - start
    detection = np.repeat(np.arange(len(detection_images)), count)
    place = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)  # 0, 1, ... within each detection
    return detection, start[detection] + place


def _paired_iou(a: np.ndarray, b: np.ndarray, extra: float) -> np.ndarray:
    """Intersection over union of row i with row i, [P]; sides are the difference of corners plus `extra`."""
    sides = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2]) + extra
    intersection = sides.clip(min=0).prod(axis=1)
    union = (a[:, 2:] - a[:, :2] + extra).prod(axis=1) + (b[:, 2:] - b[:, :2] + extra).prod(axis=1) - intersection
    return np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)


def _judge(hit: np.ndarray, claimed: np.ndarray, ignored: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which detections [D] are right and which wrong; those on ignored objects are neither."""
    counted = hit.copy()
    counted[hit] = ~ignored[claimed[hit]]
    right = np.zeros_like(hit)
    rows = np.flatnonzero(counted)
    right[rows[np.unique(claimed[rows], return_index=True)[1]]] = True  # the first claim of each object
    return right, ~hit | (counted & ~right)


# Multiples of 0.1, not k / 10: 0.3, 0.6 and 0.7 come out a rounding error too high, so that a recall of exactly 3/10
# misses its point. The Python ports of the kit, with which numbers are published, do the same.
_POINTS = np.arange(11) * 0.1


def _area(curve: _Curve) -> float:
    """Area under the monotonic precision."""
    recall = np.concatenate(([0.0], curve.right / curve.wanted))
    return float(np.sum(np.diff(recall) * _monotonic(curve)))


def _eleven_points(curve: _Curve) -> float:
    """Mean of the monotonic precision where recall first reaches 0, 0.1, ..., 1, taken as 0 where it never does."""
    first = np.searchsorted(curve.right / curve.wanted, _POINTS, side="left")
    return float(np.append(_monotonic(curve), 0.0)[first].mean())


def _monotonic(curve: _Curve) -> np.ndarray:
    """The best precision [D] at this recall or any higher one."""
    precision = curve.right / np.maximum(curve.right + curve.wrong, 1)
    return np.maximum.accumulate(precision[::-1])[::-1]


_AVERAGE = {"area": _area, "11-point": _eleven_points}


def _mean(per_class: dict[str, float]) -> float:
    measured = [value for value in per_class.values() if not np.isnan(value)]
    return float(np.mean(measured)) if measured else float("nan")
