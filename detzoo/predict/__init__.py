"""A detector for people: images, folders, videos and cameras in; boxes, tables and pictures out."""

from .detector import SCORE_THRESHOLD, Detector
from .reading import OnDemand, read_image
from .result import Result, class_names, describe, to_dataframe
from .sources import find

__all__ = [
    "SCORE_THRESHOLD",
    "Detector",
    "OnDemand",
    "Result",
    "class_names",
    "describe",
    "find",
    "read_image",
    "to_dataframe",
]
