"""Default boxes and input scales that several origins share."""

from collections.abc import Sequence
from typing import Any

Part = dict[str, Any]

# Boxes of a cell beyond the squares, and pixels between cells, of the Caffe original and its ports.
RATIOS_300 = [[2], [2, 3], [2, 3], [2, 3], [2], [2]]
RATIOS_512 = [[2], [2, 3], [2, 3], [2, 3], [2, 3], [2], [2]]
STEPS_300 = [8, 16, 32, 64, 100, 300]
STEPS_512 = [8, 16, 32, 64, 128, 256, 512]
# Each is the smaller square of its level and the larger one's partner of the level before.
SIZES_300_VOC = [30, 60, 111, 162, 213, 264, 315]
SIZES_300_COCO = [21, 45, 99, 153, 207, 261, 315]
SIZES_512_VOC = [35.84, 76.8, 153.6, 230.4, 307.2, 384.0, 460.8, 537.6]
SIZES_512_COCO = [20.48, 51.2, 133.12, 215.04, 296.96, 378.88, 460.8, 542.72]

CAFFE_MEAN = (123.0, 117.0, 104.0)  # RGB, of bytes; Caffe's own order is blue first
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of RGB in [0, 1]


def sized_boxes(
    sizes: Sequence[float], ratios: Sequence[Sequence[float]], steps: Sequence[float] | None, clip: str
) -> Part:
    """Default boxes from a row of sizes in pixels, one more than there are levels."""
    return {
        "name": "sizes",
        "min_sizes": list(sizes[:-1]),
        "max_sizes": list(sizes[1:]),
        "aspect_ratios": [list(level) for level in ratios],
        "steps": None if steps is None else list(steps),
        "clip": clip,
    }


def warp(mean: Sequence[float], std: Sequence[float], resize: str) -> Part:
    """Preprocessing from mean and standard deviation of bytes, RGB."""
    return {
        "name": "warp",
        "mean": [value / 255 for value in mean],
        "std": [value / 255 for value in std],
        "resize": resize,
    }


def imagenet(resize: str) -> Part:
    """Preprocessing of networks that grew from a classifier of torchvision's."""
    return {"name": "warp", "mean": list(IMAGENET_MEAN), "std": list(IMAGENET_STD), "resize": resize}
