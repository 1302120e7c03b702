"""How good detections are: collect them image by image, merge what other processes collected, compute.

What a metric needs beyond numpy is imported when it computes, not here.
"""

from .base import ImageDetections, Metric
from .coco import CocoMetric
from .voc import VocMetric

METRICS: dict[str, type[Metric]] = {"coco": CocoMetric, "voc": VocMetric}

__all__ = ["METRICS", "CocoMetric", "ImageDetections", "Metric", "VocMetric"]
