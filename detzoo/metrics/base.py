"""What all metrics share: detections by image id, so that an image which several processes saw counts once."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
from torch import Tensor

from ..annotations import Annotations
from ..structures import Detection


class ImageDetections(NamedTuple):
    """Of one image: `boxes` [D, 4] float64 xyxy pixels, `labels` [D] int64 and `scores` [D] float64."""

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray


class Metric(ABC):
    """Collects detections and measures them against the ground truth of the images they came from.

    Labels are those of `annotations.categories`; detections with label 0, a class the data set lacks, are dropped.

    Attributes:
        results: image id -> its detections; what a process sends to the one that computes. Change it through `update`,
            `merge` and `reset` only.
        primary: name of the one number by which models are ranked; more is better.
    """

    primary: ClassVar[str]

    def __init__(self, annotations: Annotations) -> None:
        self.annotations = annotations
        self.results: dict[int, ImageDetections] = {}
        self._evaluation: Any = None
        self._index = {int(image_id): index for index, image_id in enumerate(annotations.image_ids)}

    def update(self, image_ids: Sequence[int], detections: Sequence[Detection]) -> None:
        """Take the detections of a few images, boxes in pixels of the original image; an image seen before is replaced.

        Raises:
            ValueError: for an image or a label that the annotations do not have, or for numbers that are not finite.
        """
        if len(image_ids) != len(detections):
            raise ValueError(f"got {len(image_ids)} image ids and {len(detections)} detections; expected one for each")
        self.merge({int(image_id): _to_arrays(found) for image_id, found in zip(image_ids, detections)})

    def merge(self, other_results: Mapping[int, ImageDetections]) -> None:
        """Take the `results` of another process; raises as `update` does."""
        for image_id, found in other_results.items():
            self._check(image_id, found)
        self.results.update(other_results)
        self._evaluation = None

    def reset(self) -> None:
        """Forget all detections, to measure the same data set again."""
        self.results = {}
        self._evaluation = None

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """The numbers over all images that were updated, nan where nothing was there to be measured.

        Raises:
            ValueError: if no image was updated.
        """

    @abstractmethod
    def per_class(self) -> dict[str, float]:
        """Average precision by class name, nan for a class without ground truth."""

    @abstractmethod
    def _evaluate(self) -> Any:
        """What `compute` and `per_class` are read from."""

    def _evaluated(self) -> Any:
        """The evaluation of the present results, made once and kept until they change."""
        if self._evaluation is None:
            self._evaluation = self._evaluate()
        return self._evaluation

    def _measured(self) -> list[int]:
        """Numbers of the updated images in the order of the annotations, so that no result depends on who saw what."""
        if not self.results:
            raise ValueError("no detections to measure: call update(image_ids, detections) before compute()")
        return sorted(self._index[image_id] for image_id in self.results)

    def _check(self, image_id: int, found: ImageDetections) -> None:
        if image_id not in self._index:
            raise ValueError(
                f"image id {image_id} is not among the {len(self._index)} annotated images; "
                "measure with the annotations of the data set that was predicted"
            )
        count = len(found.labels)
        if found.boxes.shape != (count, 4) or found.labels.shape != (count,) or found.scores.shape != (count,):
            raise ValueError(
                f"image {image_id}: boxes {found.boxes.shape}, labels {found.labels.shape} and scores "
                f"{found.scores.shape} do not fit; expected [D, 4], [D] and [D]"
            )
        if not (np.isfinite(found.boxes).all() and np.isfinite(found.scores).all()):
            raise ValueError(f"image {image_id}: boxes or scores are nan or infinite; has the training diverged?")
        most = len(self.annotations.categories)
        if count and (found.labels.min() < 0 or found.labels.max() > most):
            wrong = sorted({int(label) for label in found.labels if not 0 <= label <= most})
            raise ValueError(f"image {image_id}: labels {wrong} are not in 0..{most}; map them to the data set's first")


def _to_arrays(found: Detection) -> ImageDetections:
    labels = _array(found["labels"], np.int64)
    kept = labels != 0
    boxes, scores = _array(found["boxes"], np.float64), _array(found["scores"], np.float64)
    if len(boxes) == len(labels) == len(scores):  # otherwise the check to come names the image and the shapes
        boxes, labels, scores = boxes[kept], labels[kept], scores[kept]
    return ImageDetections(boxes, labels, scores)


def _array(tensor: Tensor, dtype: type) -> np.ndarray:
    return tensor.detach().cpu().double().numpy().astype(dtype)
