"""What was found in an image, and the forms in which others want it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..categories import UNUSED
from ..models import SSD
from ..packages import package
from ..structures import Detection
from ..viz import draw_boxes
from .reading import read_image

if TYPE_CHECKING:
    import pandas
    import supervision

COLUMNS = ("image", "label", "score", "xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """What was found in one image, best first.

    Attributes:
        path: of the file; None for an image that came without one.
        size: height and width of the image in pixels, after it was turned as its EXIF says.
        boxes: [D, 4], xyxy pixels.
        labels: [D], from 1 on.
        scores: [D].
        names: of the labels from 1 on.
        ids: by which COCO's files call the labels from 1 on.
        image: [3, H, W]; None for a file, which is read again where its pixels are asked for.
    """

    path: str | None
    size: tuple[int, int]
    boxes: Tensor
    labels: Tensor
    scores: Tensor
    names: Sequence[str]
    ids: Sequence[int]
    image: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        height, width = self.size
        count = f"{len(self)} box{'' if len(self) == 1 else 'es'}"
        return f"Result({self.path or 'image'}, {width}x{height} pixels, {count})"

    @property
    def found(self) -> Detection:
        """Boxes, labels and scores as `SSD.detect` gives them."""
        return Detection(boxes=self.boxes, labels=self.labels, scores=self.scores)

    def to_coco(self, image_id: int | str) -> list[dict[str, Any]]:
        """Rows of COCO's result format: xywh boxes, and `category_id` of the data set's own numbers."""
        return [
            {"image_id": image_id, "category_id": self.ids[label - 1], "bbox": to_xywh(box), "score": round(score, 6)}
            for box, label, score in self._rows()
        ]

    def to_supervision(self) -> "supervision.Detections":
        """`class_id` counts the names from 0, as supervision's data sets do; `data["class_name"]` has them.

        Raises:
            ValueError: if supervision is not installed.
        """
        supervision = package("supervision", "supervision")
        return supervision.Detections(
            xyxy=self.boxes.numpy().reshape(-1, 4),
            confidence=self.scores.numpy(),
            class_id=self.labels.numpy() - 1,
            data={"class_name": np.array([self.names[label - 1] for label in self.labels.tolist()], dtype=str)},
        )

    def to_dataframe(self) -> "pandas.DataFrame":
        """See the function of this name; of several results, too."""
        return to_dataframe([self])

    def draw(self, *, enlarge: bool = False) -> Image.Image:
        """The image with its boxes, names and scores.

        Args:
            enlarge: draw a small image larger than it is, so that letters can be read.
        """
        image = read_image(self.path) if self.image is None else self.image
        return draw_boxes(as_bytes(image), self.found, self.names, enlarge=enlarge)

    def _rows(self) -> Iterable[tuple[list[float], int, float]]:
        return zip(self.boxes.tolist(), self.labels.tolist(), self.scores.tolist(), strict=True)

    def records(self) -> list[dict[str, Any]]:
        """For each box the class by name, its score and its corners, rounded to a thousandth of a pixel."""
        return [
            {"label": self.names[label - 1], "score": round(score, 6), "box": [round(side, 3) for side in box]}
            for box, label, score in self._rows()
        ]


def to_dataframe(results: Iterable[Result]) -> "pandas.DataFrame":
    """A row for each box: image, label (by name), score, xmin, ymin, xmax, ymax.

    Raises:
        ValueError: if pandas is not installed.
    """
    rows = [
        (result.path, record["label"], record["score"], *record["box"])
        for result in results
        for record in result.records()
    ]
    return package("pandas", "pandas").DataFrame(rows, columns=list(COLUMNS))


def to_xywh(box: Sequence[float]) -> list[float]:
    """Corners to COCO's x, y, width and height, rounded to a thousandth of a pixel."""
    x1, y1, x2, y2 = box
    return [round(side, 3) for side in (x1, y1, x2 - x1, y2 - y1)]


def as_bytes(image: Tensor) -> Tensor:
    """Bytes of an image that may be floats in [0, 1]."""
    return (image * 255).round().clamp(0, 255).to(torch.uint8) if image.is_floating_point() else image


def class_names(model: SSD) -> list[str]:
    """The names behind a model's labels from 1 on, made up where nobody gave any."""
    if model.categories is None:
        return [f"class {label}" for label in range(1, model.head.num_classes)]
    return [f"class {k} ({name})" if name == UNUSED else name for k, name in enumerate(model.categories.names, 1)]


def class_ids(model: SSD) -> list[int]:
    """What files of COCO call a model's labels from 1 on: the labels themselves where nobody says otherwise."""
    return list(range(1, model.head.num_classes)) if model.categories is None else list(model.categories.ids)


def describe(found: Detection, names: Sequence[str]) -> list[str]:
    """One line for each box: name, score, corners in pixels."""
    rows = zip(found["labels"].tolist(), found["scores"].tolist(), found["boxes"].tolist(), strict=True)
    return [describe_box(names[label - 1], score, box) for label, score, box in rows]


def describe_box(name: str, score: float, box: Sequence[float]) -> str:
    """A box on one line."""
    return f"{name:<16s} {score:.3f}  " + " ".join(f"{side:7.1f}" for side in box)
