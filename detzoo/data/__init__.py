"""Data sets, and the tables from which a config picks one."""

from .base import DetectionDataset
from .check import ImageCheck, check_images
from .coco import CocoDataset
from .csv_boxes import CsvDataset
from .loaders import Batch, EvaluationLoader, TrainingLoader, evaluation_loader, training_loader
from .subset import subset
from .synthetic import SyntheticDataset
from .transforms import TRANSFORMS, Augmentation
from .union import DATASETS, UnionDataset, dataset_problems
from .voc import VocDataset
from .yolo import YoloDataset

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
