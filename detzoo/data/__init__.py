"""Data sets, and the tables from which a config picks one."""

from collections.abc import Callable

from .base import DetectionDataset
from .coco import CocoDataset
from .loaders import Batch, evaluation_loader, training_loader
from .synthetic import SyntheticDataset
from .transforms import TRANSFORMS, Augmentation
from .voc import VocDataset

DATASETS: dict[str, Callable[..., DetectionDataset]] = {
    "coco": CocoDataset,
    "synthetic": SyntheticDataset,
    "voc": VocDataset,
}

__all__ = [
    "DATASETS",
    "TRANSFORMS",
    "Augmentation",
    "Batch",
    "CocoDataset",
    "DetectionDataset",
    "SyntheticDataset",
    "VocDataset",
    "evaluation_loader",
    "training_loader",
]
