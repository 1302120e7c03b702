"""A detector for people: images, folders, videos and cameras in; boxes, tables and pictures out."""

from .detector import SCORE_THRESHOLD, Detector
from .reading import OnDemand, read_image
from .result import Result, class_names, describe, to_dataframe
from .sources import find, images_of

__all__ = [
    "SCORE_THRESHOLD",
    "Detector",
    "OnDemand",
    "Result",
    "class_names",
    "describe",
    "find",
    "images_of",
    "read_image",
    "to_dataframe",
]
