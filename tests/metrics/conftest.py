from collections.abc import Callable

import numpy as np
import pytest
import torch

from detzoo.annotations import Annotations, ImageAnnotations
from detzoo.categories import Categories
from detzoo.structures import Detection


def _truth(images: list[dict], names: tuple[str, ...] = ("cat", "dog"), ids: tuple[int, ...] = ()) -> Annotations:
    """One dict per image: `boxes`, `labels`, if need be `crowd`, `difficult`, `areas`; image ids are 10, 20, ..."""
    packed = [
        ImageAnnotations(10 * number, (100, 100), np.array(image.pop("boxes")), np.array(image.pop("labels")), **image)
        for number, image in enumerate(images, start=1)
    ]
    return Annotations.pack(Categories(names, ids), packed)


def _found(boxes: list, labels: list, scores: list) -> Detection:
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4),
        "labels": torch.tensor(labels, dtype=torch.int64),
        "scores": torch.tensor(scores, dtype=torch.float64),
    }


def _random_truth(rng: np.random.Generator) -> tuple[Annotations, list[Detection]]:
    images, detections = [], []
    for _ in range(12):
        objects, found = rng.integers(0, 6), rng.integers(0, 130)
        boxes = _random_boxes(rng, objects)
        images.append({
            "boxes": boxes,
            "labels": rng.integers(1, 4, objects),
            "crowd": rng.random(objects) < 0.2,
            "difficult": rng.random(objects) < 0.2,
        })  # fmt: skip
        near = boxes[rng.integers(0, objects, found // 2)] + rng.normal(0, 3, (found // 2, 4)) if objects else boxes
        moved = np.concatenate((near, _random_boxes(rng, found - len(near))))
        moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 1)
        scores = rng.integers(1, 20, found) / 20  # few values: many ties
        detections.append(_found(moved.tolist(), rng.integers(1, 4, found).tolist(), scores.tolist()))
    return _truth(images, ("cat", "dog", "cow", "never"), (7, 3, 5, 1)), detections


def _random_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    corners, sides = rng.uniform(0, 150, (count, 2)), rng.uniform(5, 150, (count, 2))
    return np.concatenate((corners, corners + sides), axis=1)


@pytest.fixture
def truth() -> Callable[..., Annotations]:
    return _truth


@pytest.fixture
def found() -> Callable[..., Detection]:
    return _found


@pytest.fixture
def random_truth() -> Callable[..., tuple[Annotations, list[Detection]]]:
    return _random_truth
