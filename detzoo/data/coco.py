"""COCO instances files (https://cocodataset.org/#format-data): one JSON for all images, xywh boxes, ids with holes."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..annotations import Annotations
from ..categories import Categories
from ..files import replacing
from .base import FileDataset, InvalidBoxes, box_areas, image_of_rows, pack_names, repair_boxes, take_images


class CocoDataset(FileDataset):
    """Images of a folder with their COCO instances JSON.

    Categories are those of the file, by ascending id, and become labels 1, 2, ... without holes. Images keep the order
    of the file; `iscrowd` and `area` are kept (an area that is not stated is width times height).

    Args:
        images: the folder that the `file_name`s are relative to.
        annotations: the JSON file.
        invalid: whether invalid boxes are dropped with a warning or an error that lists them.
        keep_empty: whether images without a box, other than of a crowd, stay in the data set.

    Raises:
        ValueError: for a file that is not COCO instances JSON, ids that refer to nothing, or images that are not there.
    """

    def __init__(
        self,
        images: str | Path,
        annotations: str | Path,
        *,
        invalid: InvalidBoxes = "drop",
        keep_empty: bool = True,
    ) -> None:
        found, file_names = read_coco(annotations, invalid=invalid)
        if not keep_empty:
            image = image_of_rows(found)
            full = np.bincount(image[~found.crowd], minlength=len(found)) > 0
            found, file_names = take_images(found, np.flatnonzero(full)), file_names[full]
        super().__init__(images, file_names, found)


def read_coco(path: str | Path, *, invalid: InvalidBoxes = "drop") -> tuple[Annotations, np.ndarray]:
    """Annotations of a COCO instances JSON, and the packed file names of its images, which need not be there.

    Raises:
        ValueError: as `CocoDataset` does.
    """
    file = _File(Path(path))
    categories, image_ids, sizes = file.categories(), file.column("images", "id"), file.sizes()
    names = pack_names(file.words("images", "file_name"))
    category_ids = np.array(categories.ids, np.int64)
    labels = file.positions("category_id", category_ids, "category") + 1
    image = file.positions("image_id", image_ids, "image")
    order = np.argsort(image, kind="stable")  # objects of one image side by side, in the order of the file
    boxes = file.boxes()
    columns = {
        "boxes": boxes,
        "labels": labels,
        "areas": file.areas(boxes),
        "crowd": file.column("annotations", "iscrowd", 0).astype(bool),
        "difficult": file.column("annotations", "difficult", 0).astype(bool),
    }
    annotations = Annotations(
        categories=categories,
        image_ids=image_ids,
        image_sizes=sizes,
        offsets=np.concatenate(([0], np.cumsum(np.bincount(image, minlength=len(image_ids))))),
        **{name: column[order] for name, column in columns.items()},
    )
    repaired = repair_boxes(
        annotations, invalid=invalid, source=path, where=lambda index: names[index].decode(errors="replace")
    )
    return repaired, names


def write_coco(path: str | Path, annotations: Annotations, file_names: Sequence[str]) -> None:
    """Write a COCO instances JSON, all of it or nothing.

    `difficult`, which COCO does not know, becomes a key of the objects that have it; `read_coco` reads it back.

    Args:
        path: of the JSON file; its folder must exist.
        annotations: boxes must be finite.
        file_names: of image 0, 1, ...

    Raises:
        ValueError: if the number of file names is not that of the images.
    """
    if len(file_names) != len(annotations):
        raise ValueError(f"got {len(file_names)} file names for {len(annotations)} images; expected one for each")
    categories = annotations.categories
    content = {
        "images": [
            {"id": image_id, "file_name": name, "width": width, "height": height}
            for image_id, name, (height, width) in zip(
                annotations.image_ids.tolist(), file_names, annotations.image_sizes.tolist()
            )
        ],
        "annotations": _objects(annotations),
        "categories": [{"id": id_, "name": name} for id_, name in zip(categories.ids, categories.names)],
    }
    with replacing(Path(path)) as unfinished:
        unfinished.write_text(json.dumps(content, allow_nan=False), encoding="utf-8")


def _objects(annotations: Annotations) -> list[dict[str, Any]]:
    image_ids = np.repeat(annotations.image_ids, np.diff(annotations.offsets)).tolist()
    category_ids = np.array(annotations.categories.ids, np.int64)[annotations.labels - 1].tolist()
    columns = (annotations.boxes, annotations.areas, annotations.crowd, annotations.difficult)
    return [
        {
            "id": number,  # from 1: pycocotools takes an object with id 0 for no object
            "image_id": image_id,
            "category_id": category_id,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": area,
            "iscrowd": int(crowd),
            **({"difficult": 1} if difficult else {}),
        }
        for number, (image_id, category_id, (x1, y1, x2, y2), area, crowd, difficult) in enumerate(
            zip(image_ids, category_ids, *(column.tolist() for column in columns)), start=1
        )
    ]


_REQUIRED = object()


class _File:
    """The parsed JSON, read column by column; every complaint names the file and the entry."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.content = _load(path)

    def error(self, message: str) -> ValueError:
        return ValueError(f"{self.path}: {message}")

    def values(self, table: str, key: str, default: Any = _REQUIRED) -> list[Any]:
        """`key` of every entry of a table, as it is in the file."""
        entries = self.content[table]
        if default is not _REQUIRED:
            return [entry.get(key, default) for entry in entries]
        lacking = [number for number, entry in enumerate(entries) if key not in entry]
        if lacking:
            raise self.error(f"{table}[{lacking[0]}] has no {key!r}: {str(entries[lacking[0]])[:200]}")
        return [entry[key] for entry in entries]

    def words(self, table: str, key: str) -> list[str]:
        """`key` of every entry of a table, as text."""
        values = self.values(table, key)
        self._refuse(table, key, values, [isinstance(value, str) for value in values], "text")
        return values

    def column(self, table: str, key: str, default: Any = _REQUIRED) -> np.ndarray:
        """`key` of every entry of a table, as int64."""
        values = self.values(table, key, default)
        self._refuse(table, key, values, map(_is_whole, values), "a whole number")
        return np.array(values, np.int64)

    def categories(self) -> Categories:
        ids, names = self.column("categories", "id"), self.words("categories", "name")
        try:
            return Categories(tuple(names[i] for i in np.argsort(ids)), tuple(np.sort(ids).tolist()))
        except ValueError as error:
            raise self.error(str(error)) from None

    def sizes(self) -> np.ndarray:
        """Height and width of every image, [N, 2]; image ids are checked on the way."""
        ids, counts = np.unique(self.column("images", "id"), return_counts=True)
        if (counts > 1).any():
            raise self.error(f"image ids must be unique, but these repeat: {ids[counts > 1][:5].tolist()}")
        sizes = np.stack([self.column("images", side) for side in ("height", "width")], axis=1)
        flat = np.flatnonzero((sizes <= 0).any(axis=1))
        if len(flat):
            height, width = sizes[flat[0]]
            raise self.error(f"images[{flat[0]}] is {width} pixels wide and {height} high; expected its size in pixels")
        return sizes

    def positions(self, key: str, known: np.ndarray, what: str) -> np.ndarray:
        """For every object, where its `key` stands in the ids `known`."""
        ids = self.column("annotations", key)
        lost = np.flatnonzero(~np.isin(ids, known))
        if len(lost):
            raise self.error(
                f"{len(lost)} annotations are for a {what} that the file does not have, the first is "
                f"annotations[{lost[0]}] with {key} = {ids[lost[0]]}; expected one of {_abridged(known)}"
            )
        order = np.argsort(known)
        return order[np.searchsorted(known, ids, sorter=order)]

    def boxes(self) -> np.ndarray:
        """[M, 4] xyxy."""
        values = self.values("annotations", "bbox")
        self._refuse("annotations", "bbox", values, map(_is_box, values), "[x, y, width, height]")
        boxes = np.array(values, np.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        return boxes

    def areas(self, boxes: np.ndarray) -> np.ndarray:
        """[M], width times height where none is stated."""
        values = self.values("annotations", "area", None)
        self._refuse("annotations", "area", values, (area is None or _is_number(area) for area in values), "a number")
        stated = np.array([np.nan if area is None else area for area in values], np.float64)
        return np.where(np.isnan(stated), box_areas(boxes), stated)

    def _refuse(self, table: str, key: str, values: list[Any], right: Iterable[bool], expected: str) -> None:
        for number, (value, is_right) in enumerate(zip(values, right)):
            if not is_right:
                raise self.error(f"{table}[{number}]: {key} = {value!r}, expected {expected}")


def _load(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:  # neither JSON nor text
        raise ValueError(f"{path}: not a JSON file ({error}); expected COCO instances") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected COCO instances, but the file holds a {type(content).__name__}")
    for key in ("images", "annotations", "categories"):
        if not _is_table(content.get(key)):
            raise ValueError(f"{path}: expected COCO instances with a list of {key}; the file has {sorted(content)}")
    return content


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(entry, dict) for entry in value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float))


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) or (isinstance(value, float) and value.is_integer())


def _is_box(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(map(_is_number, value))


def _abridged(ids: np.ndarray) -> str:
    return ", ".join(map(str, ids[:10])) + (f", ... ({len(ids)} ids)" if len(ids) > 10 else "")
