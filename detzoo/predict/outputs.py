"""Files that tell what was found: made of the lines of shards, one by one, whole or not there."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, TextIO

from ..files import replacing
from .records import Record
from .result import Result, to_xywh

JPEG_QUALITY = 92
CSV_COLUMNS = ("image", "frame", "time", "label", "score", "xmin", "ymin", "xmax", "ymax")


class Lines:
    """The lines of shards in order, read anew each time they are gone through.

    Args:
        shards: files with a line of JSON for each image.
    """

    def __init__(self, shards: Sequence[Path]) -> None:
        self.shards = shards

    def __iter__(self) -> Iterator[Record]:
        for path in self.shards:
            with path.open(encoding="utf-8") as file:
                yield from map(json.loads, file)


class Classes(NamedTuple):
    """The names of a model's labels from 1 on, and how COCO's files number them."""

    names: Sequence[str]
    ids: Sequence[int]


def write_jsonl(lines: Iterable[Record], folder: Path, classes: Classes) -> list[Path]:
    """`detections.jsonl`: the lines themselves, broken images among them."""
    with _replacing_text(path := folder / "detections.jsonl") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    return [path]


def write_csv(lines: Iterable[Record], folder: Path, classes: Classes) -> list[Path]:
    """`detections.csv`: a row for each box, an empty one where nothing was found, as the data set `csv` reads it."""
    with _replacing_text(path := folder / "detections.csv") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(CSV_COLUMNS)
        for line in lines:
            table.writerows(_csv_rows(line))
    return [path]


def _csv_rows(line: Record) -> list[list[Any]]:
    if "error" in line:
        return []
    which = [line["image"], line.get("frame", ""), line.get("time", "")]
    boxes = [[*which, found["label"], found["score"], *found["box"]] for found in line["detections"]]
    return boxes or [which + [""] * 6]


def write_coco(lines: Iterable[Record], folder: Path, classes: Classes) -> list[Path]:
    """`coco_detections.json`, a list of rows as `COCO.loadRes` reads it, and `coco_images.json`, what their numbers
    stand for.

    An image's number is that which its file is called by, if all files are called by different numbers, as COCO's are;
    else images, and frames of videos, are counted from 1.
    """
    category = dict(zip(classes.names, classes.ids, strict=True))
    by_name = _called_by_numbers(lines)
    rows, images = folder / "coco_detections.json", folder / "coco_images.json"
    with _replacing_text(rows) as row_file, _replacing_text(images) as image_file:
        categories = [{"id": number, "name": name} for name, number in category.items()]
        image_file.write(f'{{"categories": {json.dumps(categories)}, "images": ')
        add_row, add_image = _list_in(row_file), _list_in(image_file)
        for count, line in enumerate((line for line in lines if "error" not in line), 1):
            number = _number_of(line) if by_name else count
            size = {"width": line["width"], "height": line["height"]}
            add_image({"id": number, "file_name": _file_name(line), **size})
            for found in line["detections"]:
                box, label = to_xywh(found["box"]), category[found["label"]]
                add_row({"image_id": number, "category_id": label, "bbox": box, "score": found["score"]})
        add_row(None)
        add_image(None)
        image_file.write("}\n")
    return [rows, images]


def _called_by_numbers(lines: Iterable[Record]) -> bool:
    """Whether all files are called by numbers, each by another one; their numbers are held in memory meanwhile."""
    seen: set[int] = set()
    for line in lines:
        if "error" in line:
            continue
        number = _number_of(line)
        if number is None or number in seen:
            return False
        seen.add(number)
    return True


def _number_of(line: Record) -> int | None:
    """The number that a file is called by; a frame of a video has none."""
    stem = PurePosixPath(line["image"].replace("\\", "/")).stem
    is_number = stem.isascii() and stem.isdecimal() and len(stem) < 19
    return int(stem) if is_number and "frame" not in line else None


def _file_name(line: Record) -> str:
    return f"{line['image']}#{line['frame']}" if "frame" in line else line["image"]


def _list_in(file: TextIO) -> Callable[[Any], None]:
    """What writes a JSON list thing by thing; None ends it."""
    before = "[\n"

    def add(thing: Any) -> None:
        nonlocal before
        if thing is None:
            file.write("\n]\n" if before == ",\n" else "[]\n")
            return
        file.write(before + json.dumps(thing))
        before = ",\n"

    return add


@contextmanager
def _replacing_text(path: Path) -> Iterator[TextIO]:
    """A text file that takes the place of `path` only if the block ends well. Paths on disk need not be UTF-8."""
    with replacing(path) as unfinished, unfinished.open("w", encoding="utf-8", errors="surrogateescape") as file:
        yield file


# What can be asked for besides pictures.
TABLES: dict[str, Callable[[Iterable[Record], Path, Classes], list[Path]]] = {
    "coco": write_coco,
    "csv": write_csv,
    "jsonl": write_jsonl,
}
FILES = {
    "coco": ("coco_detections.json", "coco_images.json"),
    "csv": ("detections.csv",),
    "jsonl": ("detections.jsonl",),
}
PICTURES = "pictures"
FORMATS = (PICTURES, *TABLES)


def picture_path(folder: Path, name: str, suffix: str) -> Path:
    """Where the picture or video of an item goes: `photo.png` to `photo.png_detections.jpg`, in subfolders as there
    are. All of the name stays in it: `x`, `x.jpg` and `x.png` are different files.
    """
    path = PurePosixPath(name)
    return folder / path.with_name(f"{path.name}_detections{suffix}")


def write_picture(result: Result, path: Path) -> None:
    """Write an image with its boxes."""
    with replacing(path) as unfinished:
        result.draw(enlarge=True).save(unfinished, quality=JPEG_QUALITY)
