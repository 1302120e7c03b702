import logging
import os
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from PIL import Image

from detzoo.annotations import Annotations, ImageAnnotations
from detzoo.categories import Categories
from detzoo.data import DetectionDataset
from detzoo.models import SSDConfig


class PictureSet(DetectionDataset):
    """Images in memory, or what opens them, with their annotations; picture k is called `picture k`."""

    def __init__(self, images: Sequence[Image.Image | str | os.PathLike], annotations: Annotations) -> None:
        self.images = images
        self.annotations = annotations

    def name(self, index: int) -> str:
        return f"picture {index}"

    def open_image(self, index: int) -> Image.Image:
        image = self.images[index]
        return image.copy() if isinstance(image, Image.Image) else Image.open(image)


def _picture_set(
    images: Sequence[Image.Image | str | os.PathLike],
    objects: Sequence[ImageAnnotations],
    names: tuple[str, ...] = ("cat", "dog"),
) -> PictureSet:
    return PictureSet(images, Annotations.pack(Categories(names), objects))


def _objects(image_id: int, size: tuple[int, int], boxes: list, labels: list, **flags: list) -> ImageAnnotations:
    flags = {name: np.array(values) for name, values in flags.items()}
    return ImageAnnotations(image_id, size, np.array(boxes, float).reshape(-1, 4), np.array(labels, int), **flags)


@pytest.fixture
def picture_set() -> Callable[..., PictureSet]:
    """Images and their `objects` to a data set."""
    return _picture_set


@pytest.fixture
def objects() -> Callable[..., ImageAnnotations]:
    """Id, (height, width), boxes, labels and perhaps `crowd` or `difficult` of one image."""
    return _objects


@pytest.fixture
def small_config() -> SSDConfig:
    """A detector of 96x96 pixels that is built and trained in no time: maps of 12 and 6 cells a side, 720 boxes."""
    return SSDConfig(
        backbone={"name": "tiny", "channels": [8, 16, 16, 16], "first_level": 3},
        default_boxes={"name": "scales", "scales": (0.2, 0.5, 0.9), "aspect_ratios": ((2,), (2,))},
        size=(96, 96),
    )


@pytest.fixture
def one_thread():
    """For models so small that threads wait for each other most of the time, above all where cores are busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def runs_leave_no_trace(monkeypatch):
    """For runs started in this process: the logger is put back, glibc and the environment are left out of it."""
    logger = logging.getLogger("detzoo")
    state = logger.handlers[:], logger.propagate, logger.level
    monkeypatch.setattr("detzoo.engine.run.tune_allocator", lambda: None)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    yield
    logger.handlers[:], logger.propagate = state[:2]
    logger.setLevel(state[2])
