"""PASCAL VOC folders (http://host.robots.ox.ac.uk/pascal/VOC): an XML for each image, and lists of images as splits."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from ..annotations import Annotations, ImageAnnotations
from ..categories import VOC, Categories
from ..lookup import suggest
from .base import FileDataset, InvalidBoxes, list_files, pack_names, repair_boxes

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_SUFFIXES = (".jpg", ".jpeg", ".png")
_SIDES = ("xmin", "ymin", "xmax", "ymax")


class VocDataset(FileDataset):
    """The images that `ImageSets/Main/<split>.txt` lists, with their `Annotations/<id>.xml`.

    The image is `JPEGImages/<id>.jpg` (.jpeg, .png), whatever the XML calls it. Image ids are 1, 2, ... in the order of
    the split; `difficult` flags are kept; a size that the XML does not state is read from the image.

    Args:
        root: the folder that holds Annotations, ImageSets and JPEGImages (of the devkit: `VOCdevkit/VOC2007`).
        split: name of a list, such as "trainval".
        classes: names in label order. By default the 20 of VOC if no other name occurs, else all names in alphabetical
            order; they are looked for in every file of Annotations, so that all splits number them alike.
        invalid: whether invalid boxes are dropped with a warning or an error that lists them.
        one_based: whether pixels are counted from 1 and both ends belong to the box, so that `xmin` 1 and `xmax` 500
            span an image of 500 pixels. True for the files of PASCAL VOC itself (the devkit's definition); tools that
            write this format (LabelImg) count edges from 0, and such numbers are taken as they are.

    Raises:
        ValueError: for an unknown split, a name that is not in `classes`, a broken XML, or images that are not there.
        FileNotFoundError: for a listed image that has no XML.
    """

    def __init__(
        self,
        root: str | Path,
        split: str,
        *,
        classes: Sequence[str] | None = None,
        invalid: InvalidBoxes = "drop",
        one_based: bool = False,
    ) -> None:
        root = Path(root)
        if not root.is_dir():
            raise ValueError(f"{root} is no folder: expected one that holds Annotations, ImageSets and JPEGImages")
        ids = _read_split(root, split)
        files = [root / "Annotations" / f"{image_id}.xml" for image_id in ids]
        file_names = _image_names(root / "JPEGImages", ids)
        parsed = {file: _parse(file) for file in files}
        categories = (
            Categories(tuple(classes)) if classes is not None else _find_categories(root / "Annotations", parsed)
        )
        _check_names(parsed, categories)
        images = [
            _annotate(number, parsed[file], root / "JPEGImages" / name, categories, one_based)
            for number, (file, name) in enumerate(zip(files, file_names), start=1)
        ]
        annotations = repair_boxes(
            Annotations.pack(categories, images), invalid=invalid, source=root, where=lambda index: str(files[index])
        )
        super().__init__(root / "JPEGImages", pack_names(file_names), annotations)


class _Parsed(NamedTuple):
    """What detection needs of one XML: `size` (height, width), 0 where not stated, and an entry for each object."""

    size: tuple[int, int]
    names: list[str]
    boxes: list[list[float]]
    difficult: list[bool]


def _read_split(root: Path, split: str) -> list[str]:
    folder = root / "ImageSets" / "Main"
    file = folder / f"{split}.txt"
    if not file.is_file():
        splits = [name.removesuffix(".txt") for name in list_files(folder)]
        raise ValueError(f"{folder} has no split {split!r}: {suggest(split, splits)}")
    ids = [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    repeated = [image_id for image_id, count in Counter(ids).items() if count > 1]
    if repeated:
        raise ValueError(f"{file}: expected each image once, but these repeat: {', '.join(repeated[:5])}")
    return ids


def _image_names(folder: Path, ids: Sequence[str]) -> list[str]:
    """The file of each image; .jpg is assumed where there is none, and then missed by `FileDataset`."""
    images = [name for name in list_files(folder) if Path(name).suffix.lower() in _SUFFIXES]
    images.sort(key=lambda name: _SUFFIXES.index(Path(name).suffix.lower()), reverse=True)
    by_id = {Path(name).stem: name for name in images}  # .jpg comes last, and stays
    return [by_id.get(image_id, f"{image_id}.jpg") for image_id in ids]


def _parse(file: Path) -> _Parsed:
    from defusedxml import ElementTree

    try:
        root = ElementTree.parse(file).getroot()
    except (ElementTree.ParseError, ValueError) as error:  # defusedxml refuses entities with a ValueError
        raise ValueError(f"{file}: broken or unsafe XML ({error})") from None
    objects = root.findall("object")
    return _Parsed(
        size=(_whole(root, "size/height", file), _whole(root, "size/width", file)),
        names=[_text(item, "name", file) for item in objects],
        boxes=[[_number(item, f"bndbox/{side}", file) for side in _SIDES] for item in objects],
        difficult=[_whole(item, "difficult", file) != 0 for item in objects],
    )


def _text(item: "Element", path: str, file: Path) -> str:
    text = (item.findtext(path) or "").strip()
    if not text:
        raise ValueError(f"{file}: an <{item.tag}> has no <{path}>")
    return text


def _number(item: "Element", path: str, file: Path) -> float:
    text = _text(item, path, file)
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{file}: <{path}> is {text!r}, expected a number") from None


def _whole(item: "Element", path: str, file: Path) -> int:
    """A whole number, 0 where the file has none."""
    text = (item.findtext(path) or "0").strip()
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{file}: <{path}> is {text!r}, expected a whole number") from None


def _find_categories(folder: Path, parsed: Mapping[Path, _Parsed]) -> Categories:
    names = {name for item in parsed.values() for name in item.names}
    if names != set(VOC.names):  # with all twenty of them there is nothing left to look for
        others = (folder / name for name in list_files(folder) if name.endswith(".xml"))
        names.update(name for file in others if file not in parsed for name in _parse(file).names)
    return VOC if names <= set(VOC.names) else Categories(tuple(sorted(names)))


def _check_names(parsed: Mapping[Path, _Parsed], categories: Categories) -> None:
    unknown = {name: file for file, item in parsed.items() for name in item.names if name not in categories.names}
    if unknown:
        listed = "".join(
            f"\n  {file}: {name!r}, {_nearest(name, categories.names)}" for name, file in sorted(unknown.items())
        )
        raise ValueError(f"{len(unknown)} object names are not among the classes {list(categories.names)}:{listed}")


def _nearest(name: str, classes: Sequence[str]) -> str:
    by_lower = {known.lower(): known for known in classes}  # a wrong capital is the likeliest slip
    return suggest(by_lower.get(name.lower(), name), classes)


def _annotate(number: int, item: _Parsed, image: Path, categories: Categories, one_based: bool) -> ImageAnnotations:
    boxes = np.array(item.boxes, np.float64).reshape(-1, 4)
    if one_based:  # pixel 1 spans [0, 1], so the first edge moves and the last one is where it should be
        boxes[:, :2] -= 1
    return ImageAnnotations(
        image_id=number,
        size=item.size if min(item.size) > 0 else _size_of(image),
        boxes=boxes,
        labels=np.array([categories.names.index(name) + 1 for name in item.names], np.int64),
        difficult=np.array(item.difficult, bool),
    )


def _size_of(image: Path) -> tuple[int, int]:
    with Image.open(image) as opened:
        return opened.height, opened.width
