"""Tables of boxes: a CSV file with a header, a line for each box, and a folder of images."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..annotations import Annotations
from ..categories import Categories
from ..lookup import suggest
from .base import FileDataset, InvalidBoxes, box_areas, check_files, pack_names, repair_boxes, take_images
from .check import read_sizes

_SIDES = ("xmin", "ymin", "xmax", "ymax")
_COLUMNS = ("image", "label", *_SIDES)


class CsvDataset(FileDataset):
    """The images that a CSV file names, with their boxes in pixels.

    The header names the columns image, label, xmin, ymin, xmax, ymax, in any order; others are left out. An image has
    as many lines as objects, anywhere in the file; one without objects has a line with empty label and box. Images keep
    the order in which they are named first. Sizes are read from the images, as EXIF turns them.

    Args:
        images: the folder that the file names are relative to.
        annotations: the CSV file, columns separated by commas.
        classes: names in label order; a label is one of them, or a number that counts them from 0. By default the
            labels of the file in alphabetical order.
        columns: what this file calls the columns, where it calls them otherwise, such as {image: img_name}.
        invalid: whether invalid boxes are dropped with a warning or an error that lists them.
        broken: whether images that cannot be read are dropped with a warning or an error that counts them.

    Raises:
        ValueError: for columns that are missing, lines that are no box (named by number), labels that are not in
            `classes`, labels that are numbers where no classes are given, or images that are not there.
    """

    def __init__(
        self,
        images: str | Path,
        annotations: str | Path,
        *,
        classes: Sequence[str] | None = None,
        columns: Mapping[str, str] | None = None,
        invalid: InvalidBoxes = "drop",
        broken: InvalidBoxes = "error",
    ) -> None:
        rows = list(_read_rows(Path(annotations), {name: name for name in _COLUMNS} | _checked(columns)))
        names = list(dict.fromkeys(row.image for row in rows))
        check_files(Path(images), names)
        sizes, readable = read_sizes([str(Path(images) / name) for name in names], broken=broken, source=annotations)
        objects = [row for row in rows if row.label]
        categories = _find_categories(objects, classes, annotations)
        found = take_images(_annotate(objects, names, sizes, categories, annotations), readable)
        names = [names[index] for index in readable]
        found = repair_boxes(found, invalid=invalid, source=annotations, where=lambda index: names[index])
        super().__init__(images, pack_names(names), found, upright=True)


class _Row(NamedTuple):
    """A line of the file; `label` and `box` are empty where the image has no objects."""

    line: int
    image: str
    label: str
    box: tuple[float, ...]


def _checked(columns: Mapping[str, str] | None) -> dict[str, str]:
    for name in columns or {}:
        if name not in _COLUMNS:
            raise ValueError(f"columns has {name!r}: {suggest(name, _COLUMNS)}")
    return dict(columns or {})


def _read_rows(path: Path, columns: Mapping[str, str]) -> Iterator[_Row]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:  # spreadsheets begin with a byte order mark
            reader = csv.DictReader(file, skipinitialspace=True)
            _check_header(path, [name.strip() for name in reader.fieldnames or ()], columns)
            reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
            for entry in reader:
                yield _parse(f"{path}, line {reader.line_num}", reader.line_num, entry, columns)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: no CSV ({error})") from None


def _check_header(path: Path, header: Sequence[str], columns: Mapping[str, str]) -> None:
    missing = [(name, column) for name, column in columns.items() if column not in header]
    if missing:
        name, column = missing[0]
        raise ValueError(
            f"{path}: the first line has no column {column!r}, it has {', '.join(map(repr, header)) or 'nothing'}; "
            f"expected {','.join(columns.values())} separated by commas, or columns={{{name}: NAME}} to say what this "
            "file calls it"
        )


def _parse(where: str, line: int, entry: Mapping[str | None, str | None], columns: Mapping[str, str]) -> _Row:
    if None in entry or None in entry.values():
        raise ValueError(f"{where}: expected as many columns as the first line has")
    image, label, *sides = (entry[columns[name]].strip() for name in _COLUMNS)
    if not image:
        raise ValueError(f"{where}: names no image")
    if not any((label, *sides)):
        return _Row(line, image, "", ())
    try:
        box = tuple(map(float, sides))
    except ValueError:
        raise ValueError(
            f"{where}: the box is {','.join(sides)}, expected four numbers (or no label and none)"
        ) from None
    if not label:
        raise ValueError(f"{where}: a box without a label")
    return _Row(line, image, label, box)


def _find_categories(objects: Sequence[_Row], classes: Sequence[str] | None, path: str | Path) -> Categories:
    if classes is not None:
        return Categories(tuple(classes))
    names = sorted({row.label for row in objects})
    if names and all(name.isdecimal() for name in names):
        raise ValueError(f"{path}: the labels are numbers ({', '.join(names[:5])}): say what they mean, classes=[...]")
    return Categories(tuple(names))


def _annotate(
    objects: Sequence[_Row], names: Sequence[str], sizes: np.ndarray, categories: Categories, path: str | Path
) -> Annotations:
    number_of = {name: number for number, name in enumerate(names)}
    label_of = {str(number): number + 1 for number in range(len(categories))}
    label_of |= {name: label for label, name in enumerate(categories.names, start=1)}  # a name that is a number wins
    _check_labels(objects, label_of, categories, path)
    image = np.array([number_of[row.image] for row in objects], np.int64)
    order = np.argsort(image, kind="stable")  # objects of one image side by side, in the order of the file
    boxes = np.array([row.box for row in objects], np.float64).reshape(-1, 4)[order]
    return Annotations(
        categories=categories,
        image_ids=np.arange(1, len(names) + 1),
        image_sizes=sizes,
        offsets=np.concatenate(([0], np.cumsum(np.bincount(image, minlength=len(names))))),
        boxes=boxes,
        labels=np.array([label_of[row.label] for row in objects], np.int64)[order],
        areas=box_areas(boxes),
        crowd=np.zeros(len(boxes), bool),
        difficult=np.zeros(len(boxes), bool),
    )


def _check_labels(
    objects: Sequence[_Row], label_of: Mapping[str, int], categories: Categories, path: str | Path
) -> None:
    unknown = [row for row in objects if row.label not in label_of]
    if unknown:
        row = unknown[0]
        raise ValueError(
            f"{path}: {len(unknown)} labels are not among the classes, the first is {row.label!r} in line {row.line}: "
            f"{suggest(row.label, categories.names)}"
        )
