"""Ground truth of a whole data set in a few flat arrays.

Lists of Python objects are copied page by page into every loader worker as soon as their reference counts are touched;
flat arrays stay shared. Everything that reads a format fills this class, everything that measures reads it.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from .categories import Categories


@dataclass(frozen=True, eq=False)
class Annotations:
    """Boxes of N images and M objects; objects of image i are rows `offsets[i]:offsets[i + 1]`.

    Attributes:
        categories: the names behind the labels; label k is `categories.names[k - 1]`.
        image_ids: [N] int64, unique.
        image_sizes: [N, 2] int64, height and width in pixels.
        offsets: [N + 1] int64.
        boxes: [M, 4] float64 xyxy pixels (double, so that a metric sees the file's own numbers, cut at the image).
        labels: [M] int64 in 1..len(categories).
        areas: [M] float64, square pixels, as the file states them (COCO: of the mask).
        crowd: [M] bool, regions a detector is neither trained on nor punished for (COCO iscrowd).
        difficult: [M] bool, objects the VOC metric leaves out.
    """

    categories: Categories
    image_ids: np.ndarray
    image_sizes: np.ndarray
    offsets: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    areas: np.ndarray
    crowd: np.ndarray
    difficult: np.ndarray

    def __len__(self) -> int:
        return len(self.image_ids)

    def rows(self, index: int) -> slice:
        """Where the objects of image number `index` lie in the flat arrays."""
        return slice(self.offsets[index], self.offsets[index + 1])

    @classmethod
    def pack(cls, categories: Categories, images: Iterable["ImageAnnotations"]) -> "Annotations":
        """Flatten image after image; areas that are not given are width times height."""
        images = list(images)
        counts = [len(image.labels) for image in images]
        boxes = _concatenate([image.boxes for image in images], np.float64).reshape(-1, 4)
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        return cls(
            categories=categories,
            image_ids=np.array([image.image_id for image in images], np.int64),
            image_sizes=np.array([image.size for image in images], np.int64).reshape(-1, 2),
            offsets=np.concatenate(([0], np.cumsum(counts))).astype(np.int64),
            boxes=boxes,
            labels=_concatenate([image.labels for image in images], np.int64),
            areas=np.where(np.isnan(given := _given_areas(images, counts)), areas, given),
            crowd=_concatenate([_flags(image.crowd, count) for image, count in zip(images, counts)], bool),
            difficult=_concatenate([_flags(image.difficult, count) for image, count in zip(images, counts)], bool),
        )


@dataclass(frozen=True, eq=False)
class ImageAnnotations:
    """One image on its way into `Annotations.pack`; `size` is (height, width), flags default to false, areas to w *
    h.
    """

    image_id: int
    size: tuple[int, int]
    boxes: np.ndarray
    labels: np.ndarray
    areas: np.ndarray | None = None
    crowd: np.ndarray | None = None
    difficult: np.ndarray | None = None


def _concatenate(parts: list[np.ndarray], dtype: type) -> np.ndarray:
    flat = [np.asarray(part, dtype).reshape(-1) for part in parts]
    return np.concatenate(flat) if flat else np.zeros(0, dtype)


def _flags(flags: np.ndarray | None, count: int) -> np.ndarray:
    return np.zeros(count, bool) if flags is None else np.asarray(flags, bool)


def _given_areas(images: list[ImageAnnotations], counts: list[int]) -> np.ndarray:
    missing = [np.full(count, np.nan) for count in counts]
    return _concatenate(
        [blank if image.areas is None else image.areas for image, blank in zip(images, missing)], np.float64
    )
