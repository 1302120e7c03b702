"""Some images of a data set, as a data set."""

from collections.abc import Iterable

import numpy as np
from PIL import Image

from .base import DetectionDataset, take_images


class Subset(DetectionDataset):
    """Some images of a data set, with the ids they have there."""

    def __init__(self, dataset: DetectionDataset, indices: np.ndarray) -> None:
        self.annotations = take_images(dataset.annotations, indices)
        self.stored = dataset.stored
        self._dataset = dataset
        self._indices = indices

    def open_image(self, index: int) -> Image.Image:
        """As the whole set opens it."""
        return self._dataset.open_image(int(self._indices[index]))

    def name(self, index: int) -> str:
        return self._dataset.name(int(self._indices[index]))


def subset(dataset: DetectionDataset, indices: Iterable[int]) -> DetectionDataset:
    """The data set of some images of another one, in the order of `indices`, with the same image ids.

    Raises:
        ValueError: for an index that is none, or that repeats.
    """
    return Subset(dataset, np.fromiter(indices, np.int64))
