"""Several data sets as one, and the table of all kinds of them, in which it looks up its parts."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from ..annotations import Annotations
from ..categories import Categories
from ..lookup import ConfigError, Part, build_part, resolve_part
from .base import OBJECT_COLUMNS, DetectionDataset
from .coco import CocoDataset
from .csv_boxes import CsvDataset
from .synthetic import SyntheticDataset
from .voc import VocDataset
from .yolo import YoloDataset


class UnionDataset(DetectionDataset):
    """Several data sets of the same classes as one, such as VOC 2007 and VOC 2012, in the order they are given.

    Image ids become 1, 2, ... Labels are those of the first set; where another one lists the same names in another
    order, its labels are translated.

    Args:
        sets: parts of `detzoo.data.DATASETS`, or finished data sets.

    Raises:
        ConfigError: listing what is wrong with the parts, before any of them is read.
        ValueError: if their classes differ, or there is nothing to unite.
    """

    def __init__(self, sets: Sequence[Part | DetectionDataset]) -> None:
        problems = _problems_of(sets, "sets")
        if problems:
            raise ConfigError(problems)
        if not sets:
            raise ValueError("sets is empty: expected at least one data set")
        self._sets = [
            item if isinstance(item, DetectionDataset) else build_part(DATASETS, item, f"sets[{number}]")
            for number, item in enumerate(sets)
        ]
        self.annotations = concatenate([item.annotations for item in self._sets])
        self.stored = any(item.stored for item in self._sets)
        self._starts = np.cumsum([0, *map(len, self._sets)])

    def open_image(self, index: int) -> Image.Image:
        """As the set that has it opens it."""
        dataset, index = self._find(index)
        return dataset.open_image(index)

    def name(self, index: int) -> str:
        dataset, index = self._find(index)
        return dataset.name(index)

    def _find(self, index: int) -> tuple[DetectionDataset, int]:
        number = int(np.searchsorted(self._starts, index, side="right")) - 1
        return self._sets[number], int(index - self._starts[number])


DATASETS: dict[str, Callable[..., DetectionDataset]] = {
    "coco": CocoDataset,
    "csv": CsvDataset,
    "synthetic": SyntheticDataset,
    "union": UnionDataset,
    "voc": VocDataset,
    "yolo": YoloDataset,
}


def dataset_problems(part: Part, what: str) -> list[str]:
    """What is wrong with a data set in a config, and with those it is made of; nothing is read for it.

    Args:
        part: a part of `detzoo.data.DATASETS`.
        what: what it is called in messages, such as "dataset.train".
    """
    try:
        builder, options = resolve_part(DATASETS, part, what)
    except ConfigError as error:
        return error.problems
    made_of_others = isinstance(builder, type) and issubclass(builder, UnionDataset)
    return _problems_of(options["sets"], f"{what}.sets") if made_of_others else []


def _problems_of(sets: Sequence[str | Mapping[str, Any] | DetectionDataset], what: str) -> list[str]:
    return [
        problem
        for number, item in enumerate(sets)
        if not isinstance(item, DetectionDataset)
        for problem in dataset_problems(item, f"{what}[{number}]")
    ]


def concatenate(parts: Sequence[Annotations]) -> Annotations:
    """Annotations of the images of several sets, numbered from 1; the classes are those of the first.

    Raises:
        ValueError: for a set that has other classes.
    """
    first = parts[0].categories
    labels = [_translated(part, first, number) for number, part in enumerate(parts)]
    counts = np.concatenate([np.diff(part.offsets) for part in parts])
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in OBJECT_COLUMNS}
    return Annotations(
        categories=first if all(part.categories == first for part in parts) else Categories(first.names),
        image_ids=np.arange(1, len(counts) + 1),
        image_sizes=np.concatenate([part.image_sizes for part in parts]),
        offsets=np.concatenate(([0], np.cumsum(counts))),
        **{**columns, "labels": np.concatenate(labels)},
    )


def _translated(part: Annotations, first: Categories, number: int) -> np.ndarray:
    """Labels [M] of a set as the first set numbers its classes."""
    names = part.categories.names
    if sorted(names) != sorted(first.names):
        lacking = ", ".join(name for name in first.names if name not in names) or "none"
        foreign = ", ".join(name for name in names if name not in first.names) or "none"
        raise ValueError(
            f"sets[{number}] has other classes than sets[0]: missing {lacking}; added {foreign}. Expected the same, "
            "since an object that one of them does not annotate is background there"
        )
    return np.array([0, *(first.names.index(name) + 1 for name in names)])[part.labels]
