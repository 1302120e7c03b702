"""TinySSD of Dive into Deep Learning (d2l.ai, chapter "Single Shot Multibox Detection")."""

import math
from typing import Any

from .config import SSDConfig
from .entry import WeightsLike, make_model
from .ssd import SSD

# sides of the two squares of each level, as fractions of the image; the ratios 2 and 1/2 have the first one's area
SQUARES = ((0.2, 0.272), (0.37, 0.447), (0.54, 0.619), (0.71, 0.79), (0.88, 0.961))
ROOT = math.sqrt(2)

TINY_SSD = SSDConfig(
    backbone={"name": "tiny_ssd"},
    default_boxes={
        "name": "shapes",
        "shapes": tuple(
            ((low, low), (high, high), (low * ROOT, low / ROOT), (low / ROOT, low * ROOT)) for low, high in SQUARES
        ),
        "steps": None,
        "clip": "none",
    },
    size=(256, 256),
    num_classes=2,
    head={"name": "ssd"},
    matcher={"name": "ssd", "iou_threshold": 0.5},
    coder={"name": "centre_size", "max_log_size": None},
    loss={
        "name": "multibox",
        "negatives_per_positive": 3.0,
        "minimum_negatives": 0,
        "box": "smooth_l1",
        "box_weight": 1.0,
    },
    preprocess={  # bytes as they are
        "name": "warp",
        "mean": (0.0, 0.0, 0.0),
        "std": (1 / 255, 1 / 255, 1 / 255),
        "resize": "bilinear_antialias",
    },
    # Overlap and score are the book's, which suppresses across classes and without limits; it has one class.
    postprocess={
        "name": "nms",
        "score_threshold": 0.01,
        "iou_threshold": 0.5,
        "top_k": 400,
        "detections_per_image": 200,
    },
)


def tiny_ssd(
    *,
    pretrained: bool = False,
    weights: WeightsLike = None,
    weights_backbone: Any = None,
    num_classes: int | None = None,
    trainable_layers: int | None = None,
    progress: bool = True,
) -> SSD:
    """TinySSD, 1.0 M parameters: 5444 default boxes on maps of 32, 16, 8, 4 and 1 cells a side at 256 pixels.

    Args:
        pretrained: an error, since no weights are published.
        weights: the path of a checkpoint.
        weights_backbone: an error, since torchvision has none for this trunk.
        num_classes: classes with background.
        trainable_layers: stages of the trunk that are trained, of 6; all by default.
        progress: show a bar while downloading.
    """
    return make_model(
        TINY_SSD,
        None,
        pretrained=pretrained,
        weights=weights,
        weights_backbone=weights_backbone,
        num_classes=num_classes,
        trainable_layers=trainable_layers,
        finetuned_layers=None,
        progress=progress,
    )
