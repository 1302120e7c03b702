"""Data sets, and the tables from which a config picks one."""

from collections.abc import Callable

from .base import DetectionDataset
from .check import ImageCheck, check_images
from .coco import CocoDataset
from .csv_boxes import CsvDataset
from .loaders import Batch, EvaluationLoader, TrainingLoader, evaluation_loader, training_loader
from .synthetic import SyntheticDataset
from .transforms import TRANSFORMS, Augmentation
from .union import UnionDataset, dataset_problems, subset
from .voc import VocDataset
from .yolo import YoloDataset

DATASETS: dict[str, Callable[..., DetectionDataset]] = {
    "coco": CocoDataset,
    "csv": CsvDataset,
    "synthetic": SyntheticDataset,
    "union": UnionDataset,
    "voc": VocDataset,
    "yolo": YoloDataset,
}

__all__ = [
    "DATASETS",
    "TRANSFORMS",
    "Augmentation",
    "Batch",
    "CocoDataset",
    "CsvDataset",
    "DetectionDataset",
    "EvaluationLoader",
    "ImageCheck",
    "SyntheticDataset",
    "TrainingLoader",
    "UnionDataset",
    "VocDataset",
    "YoloDataset",
    "check_images",
    "dataset_problems",
    "evaluation_loader",
    "subset",
    "training_loader",
]
