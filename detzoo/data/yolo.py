"""YOLO text files (https://docs.ultralytics.com/datasets/detect): beside each image a file of lines `class cx cy w h`,
as fractions of its width and height, and one data.yaml that names the classes and the splits."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..annotations import Annotations, ImageAnnotations
from ..categories import Categories
from ..lookup import suggest
from .base import FileDataset, InvalidBoxes, check_files, first_of, list_files, pack_names, repair_boxes, take_images
from .check import in_threads, read_sizes

_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
_LARGEST = 2.0  # a fraction beyond this is no slip of rounding or cutting: the numbers are pixels


class YoloDataset(FileDataset):
    """The images of a split with the label files that belong to them.

    The labels of `.../images/.../x.jpg` are `.../labels/.../x.txt` (the last folder called images counts), or `x.txt`
    beside the image where no folder is called so. An image without such a file has no objects. A polygon (class, then
    x and y of three points or more, also of a turned box) stands for the box around it; in a data set of poses
    (`kpt_shape` in its YAML) what follows the box is left out. Sizes are read from the images, as EXIF turns them.

    Args:
        data: a data.yaml, whose split is an image folder (with the folders in it), a text file that lists images, or
            several of these; or such a folder or list itself.
        split: of the data.yaml: "train", "val" or "test".
        classes: names in label order, for a folder or list; a data.yaml has its own.
        root: the folder that the splits are relative to, in place of the `path` of the data.yaml, which is relative to
            the YAML's folder.
        invalid: whether invalid boxes are dropped with a warning or an error that lists them.
        broken: whether images that cannot be read are dropped with a warning or an error that counts them.

    Raises:
        ValueError: for a data.yaml that says too little, an unknown split, images that are not there or have no label
            file at all, and lines that are no box; lines are named by file and number.
    """

    def __init__(
        self,
        data: str | Path,
        split: str | None = None,
        *,
        classes: Sequence[str] | None = None,
        root: str | Path | None = None,
        invalid: InvalidBoxes = "drop",
        broken: InvalidBoxes = "error",
    ) -> None:
        source = _find_source(Path(data), split, classes, root)
        images = [image for place in source.places for image in _list_images(place)]
        folder, names = _below_one_folder(images, data)
        labels = _find_labels(images, data)
        sizes, readable = read_sizes(images, broken=broken, source=data)
        label_of = {number: label for label, number in enumerate(source.categories.ids, start=1)}
        rows = in_threads(lambda file: _read_labels(file, label_of, source.poses), labels)
        annotations = Annotations.pack(
            source.categories, [_annotate(number, *item) for number, item in enumerate(zip(sizes, rows), start=1)]
        )
        names = [names[index] for index in readable]
        annotations = repair_boxes(
            take_images(annotations, readable), invalid=invalid, source=data, where=lambda index: names[index]
        )
        super().__init__(folder, pack_names(names), annotations, upright=True)


class _Source(NamedTuple):
    """Where the images are (folders and lists), what the classes are called, and whether label files hold poses."""

    places: list[Path]
    categories: Categories
    poses: bool


def _find_source(data: Path, split: str | None, classes: Sequence[str] | None, root: str | Path | None) -> _Source:
    if data.suffix.lower() in (".yaml", ".yml"):
        if classes is not None:
            raise ValueError(f"{data} names the classes: leave classes out")
        content = _load_yaml(data)
        places = _places(data, content, split, root)
        return _Source(places, _read_classes(data, content), "kpt_shape" in content)
    if classes is None:
        raise ValueError(f"{data} is no data.yaml: name the classes of its labels, classes=[...] in their order")
    if split is not None or root is not None:
        raise ValueError(f"{data} is no data.yaml: leave split and root out")
    return _Source([data], Categories(tuple(classes), tuple(range(len(classes)))), False)


def _load_yaml(path: Path) -> dict[str, Any]:
    import yaml  # `import detzoo` stays free of it

    try:
        content = yaml.safe_load(path.read_bytes())
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: no YAML ({error})") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected names, train and val, but the file holds a {type(content).__name__}")
    return content


def _read_classes(path: Path, content: Mapping[str, Any]) -> Categories:
    """`names`, a list or a mapping from class numbers; their numbers, from 0, become the ids."""
    names = content.get("names")
    numbered = dict(enumerate(names)) if isinstance(names, list) else names
    if not (isinstance(numbered, dict) and numbered and all(type(number) is int for number in numbered)):
        raise ValueError(f"{path}: names = {names!r}, expected a list of class names, or a mapping {{0: name, ...}}")
    if content.get("nc", len(numbered)) != len(numbered):
        raise ValueError(f"{path}: nc = {content['nc']}, but there are {len(numbered)} names")
    ids = tuple(sorted(numbered))
    try:
        return Categories(tuple(str(numbered[number]) for number in ids), ids)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _places(path: Path, content: Mapping[str, Any], split: str | None, root: str | Path | None) -> list[Path]:
    """The folders and lists of a split."""
    splits = [name for name in ("train", "val", "test") if content.get(name)]
    if split not in splits:
        known = suggest(str(split), splits) if split else f"say which one: {', '.join(splits)}"
        raise ValueError(f"{path} has no split {split!r}: {known}")
    entries = content[split] if isinstance(content[split], list) else [content[split]]
    if not all(isinstance(entry, str) for entry in entries):
        raise ValueError(f"{path}: {split} = {content[split]!r}, expected a folder, a text file, or a list of these")
    base = Path(root) if root is not None else path.parent / str(content.get("path") or "")
    return [_place(path, base, split, entry) for entry in entries]


def _place(path: Path, base: Path, split: str, entry: str) -> Path:
    """Exports of Roboflow write `../train/images` for a folder that lies beside the YAML: that is tried as well."""
    tried = [base / entry, *([base / entry.removeprefix("../")] if entry.startswith("../") else [])]
    for place in tried:
        if place.exists():
            return place
    looked = " and ".join(map(str, tried))
    raise ValueError(f"{path}: {split} = {entry!r} is not there, looked for {looked}; say where with root=FOLDER")


def _list_images(place: Path) -> list[str]:
    """The images of a folder and the folders in it, by name; or those that a text file lists, relative to its own."""
    if place.is_dir():
        return sorted(
            os.path.join(folder, name)
            for folder, _, names in os.walk(place)
            for name in names
            if os.path.splitext(name)[1].lower() in _SUFFIXES
        )
    try:
        lines = place.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{place}: expected a folder of images or a text file that lists them ({error})") from None
    return [os.path.normpath(place.parent / line.strip()) for line in lines if line.strip()]


def _below_one_folder(images: Sequence[str], data: str | Path) -> tuple[Path, list[str]]:
    """The folder that holds all images, and their names relative to it."""
    if not images:
        raise ValueError(f"{data}: found no image; expected files that end in {', '.join(_SUFFIXES)}")
    folder = os.path.commonpath([os.path.abspath(os.path.dirname(image)) for image in images])
    names = [os.path.relpath(image, folder) for image in images]
    check_files(Path(folder), names)
    return Path(folder), names


def _find_labels(images: Sequence[str], data: str | Path) -> list[str | None]:
    """The label file of each image, None where it has none."""
    files = [_label_file(image) for image in images]
    present = {folder: list_files(Path(folder)) for folder in {os.path.dirname(file) for file in files}}
    found = [file if os.path.basename(file) in present[os.path.dirname(file)] else None for file in files]
    if not any(found):
        raise ValueError(f"{data}: none of {len(images)} images has a label file; looked for {first_of(files)}")
    return found


def _label_file(image: str) -> str:
    *folders, name = Path(os.path.abspath(image)).parts
    if "images" in folders:
        last = len(folders) - 1 - folders[::-1].index("images")
        folders[last] = "labels"
    return os.path.join(*folders, os.path.splitext(name)[0] + ".txt")


def _read_labels(file: str | None, label_of: Mapping[float, int], poses: bool) -> np.ndarray:
    """Label and box (xyxy, fractions) of every object, [K, 5]."""
    rows = list(_parse_labels(file, label_of, poses)) if file else []
    return np.array(rows, np.float64).reshape(-1, 5)


def _parse_labels(file: str, label_of: Mapping[float, int], poses: bool) -> Iterator[tuple[float, ...]]:
    try:
        lines = Path(file).read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: no text ({error})") from None
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if words:
            yield _parse_row(words, f"{file}, line {number}", label_of, poses)


def _parse_row(words: Sequence[str], where: str, label_of: Mapping[float, int], poses: bool) -> tuple[float, ...]:
    try:
        kind, *values = map(float, words)
    except ValueError:
        raise ValueError(f"{where}: {' '.join(words[:9])!r}, expected numbers: class cx cy w h") from None
    if kind not in label_of:
        raise ValueError(f"{where}: class {words[0]}, expected one of {min(label_of)}..{max(label_of)}")
    fractions = values[:4] if poses else values  # what follows the box of a pose is not used
    if max(map(abs, fractions), default=0) > _LARGEST:
        raise ValueError(f"{where}: got {' '.join(words[1:9])}, expected fractions of the image's width and height")
    if len(values) == 4 or (poses and len(values) > 4):
        x, y, width, height = values[:4]
        box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    elif len(values) >= 6 and len(values) % 2 == 0:
        box = (min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2]))
    else:
        raise ValueError(
            f"{where}: {len(words)} columns, expected 5 (class cx cy w h) or a polygon (class, x and y of 3 or more)"
        )
    return (label_of[kind], *box)


def _annotate(number: int, size: np.ndarray, rows: np.ndarray) -> ImageAnnotations:
    height, width = size.tolist()
    return ImageAnnotations(
        image_id=number,
        size=(height, width),
        boxes=rows[:, 1:] * (width, height, width, height),
        labels=rows[:, 0].astype(np.int64),
    )
