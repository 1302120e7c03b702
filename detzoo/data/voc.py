"""PASCAL VOC folders (http://host.robots.ox.ac.uk/pascal/VOC): an XML for each image, and lists of images as splits."""

import hashlib
import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from ..annotations import Annotations, ImageAnnotations
from ..categories import VOC, Categories
from ..lookup import suggest
from .base import FileDataset, InvalidBoxes, first_of, keep_rows, list_files, pack_names, repair_boxes

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_LOG = logging.getLogger("detzoo")
_SUFFIXES = (".jpg", ".jpeg", ".png")
_SIDES = ("xmin", "ymin", "xmax", "ymax")


class VocDataset(FileDataset):
    """The images that `ImageSets/Main/<split>.txt` lists, with their `Annotations/<id>.xml`.

    The image is `JPEGImages/<id>.jpg` (.jpeg, .png), whatever the XML calls it; only where there is no such file it is
    the one that the XML names. Image ids are 1, 2, ... in the order of the split; a size that the XML does not state is
    read from the image.

    `difficult` flags are kept, and the VOC metric needs them. Recipes differ in whether such objects are trained on:
    SSD's own code does (`use_difficult_gt`, arXiv:1512.02325), and so does this class; amdegroot's ssd.pytorch,
    lufficc's SSD and qfgaohao's pytorch-ssd leave them out, which is `keep_difficult=False` for the training set.

    Args:
        root: the folder that holds Annotations, ImageSets and JPEGImages (of the devkit: `VOCdevkit/VOC2007`).
        split: name of a list, such as "trainval"; None for all that have an XML, in the order of their names.
        annotations: the folder of the XMLs, relative to `root`.
        images: the folder of the images, relative to `root`.
        part: for a folder without lists, the share of the images to take, such as (0.0, 0.8) for training and
            (0.8, 1.0) for validation: they are brought into an order that depends on their names and on `seed` alone,
            and those from the first to the second fraction of it are taken. None for all.
        seed: of `part`; another one is another division.
        classes: names in label order. By default the 20 of VOC if no other name occurs, else all names in alphabetical
            order; they are looked for in every XML of the folder, so that all splits number them alike.
        invalid: whether invalid boxes are dropped with a warning or an error that lists them.
        one_based: whether pixels are counted from 1 and both ends belong to the box, so that `xmin` 1 and `xmax` 500
            span an image of 500 pixels. True for the files of PASCAL VOC itself (the devkit's definition); tools that
            write this format (LabelImg) count edges from 0, and such numbers are taken as they are.
        keep_difficult: whether objects flagged as difficult stay. Leave it so for validation, where a detection of one
            would otherwise be counted as wrong.

    Raises:
        ValueError: for an unknown split, a name that is not in `classes`, a broken XML, or images that are not there.
        FileNotFoundError: for a listed image that has no XML.
    """

    def __init__(
        self,
        root: str | Path,
        split: str | None,
        *,
        annotations: str = "Annotations",
        images: str = "JPEGImages",
        part: tuple[float, float] | None = None,
        seed: int = 0,
        classes: Sequence[str] | None = None,
        invalid: InvalidBoxes = "drop",
        one_based: bool = False,
        keep_difficult: bool = True,
    ) -> None:
        root, xmls, pictures = Path(root), Path(root) / annotations, Path(root) / images
        _check_folders(root, xmls, pictures)
        ids = _read_split(root, split) if split is not None else sorted(_xml_ids(xmls))
        ids = ids if part is None else _share(ids, part, seed)
        files = [xmls / f"{image_id}.xml" for image_id in ids]
        parsed = {file: _parse(file) for file in files}
        file_names = _image_names(pictures, parsed)
        categories = Categories(tuple(classes)) if classes is not None else _find_categories(xmls, parsed)
        _check_names(parsed, categories)
        objects = [
            _annotate(number, parsed[file], pictures / name, categories, one_based)
            for number, (file, name) in enumerate(zip(files, file_names), start=1)
        ]
        if one_based:
            _warn_of_zeros(objects, files)
        found = Annotations.pack(categories, objects)
        found = found if keep_difficult else keep_rows(found, ~found.difficult)
        found = repair_boxes(found, invalid=invalid, source=root, where=lambda index: str(files[index]))
        super().__init__(pictures, pack_names(file_names), found)


class _Parsed(NamedTuple):
    """What detection needs of one XML: `size` (height, width), 0 where not stated, and an entry for each object;
    `image` is the file name it states, without folders, or empty.
    """

    size: tuple[int, int]
    image: str
    names: list[str]
    boxes: list[list[float]]
    difficult: list[bool]


def _check_folders(root: Path, xmls: Path, pictures: Path) -> None:
    if not root.is_dir():
        raise ValueError(f"{root} is no folder: expected one that holds Annotations, ImageSets and JPEGImages")
    years = sorted(folder.name for folder in root.iterdir() if (folder / xmls.name).is_dir())
    if not xmls.is_dir() and years:
        raise ValueError(f"{root} holds several data sets, {', '.join(years)}: name one of them, {root / years[0]}")
    for folder, option in ((xmls, "annotations"), (pictures, "images")):
        if not folder.is_dir():
            present = ", ".join(sorted(path.name for path in root.iterdir() if path.is_dir())) or "none"
            raise ValueError(
                f"{root} has no folder {folder.name} (folders: {present}): say what it is called, {option}=NAME"
            )


def _read_split(root: Path, split: str) -> list[str]:
    folder = root / "ImageSets" / "Main"
    file = folder / f"{split}.txt"
    if not file.is_file():
        splits = [name.removesuffix(".txt") for name in list_files(folder)]
        known = suggest(split, splits) if splits else "it has none; for all images say split=null, and part=[0.0,0.8]"
        raise ValueError(f"{folder} has no split {split!r}: {known}")
    ids = [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    repeated = [image_id for image_id, count in Counter(ids).items() if count > 1]
    if repeated:
        raise ValueError(f"{file}: expected each image once, but these repeat: {', '.join(repeated[:5])}")
    return ids


def _xml_ids(folder: Path) -> list[str]:
    return [name.removesuffix(".xml") for name in list_files(folder) if name.endswith(".xml")]


def _share(ids: Sequence[str], part: tuple[float, float], seed: int) -> list[str]:
    """The ids from one fraction to another of an order that hashing gives, the same on every machine; their own order
    stays.
    """
    low, high = part
    if not 0 <= low < high <= 1:
        raise ValueError(f"part = {list(part)}: expected two fractions, 0 <= first < second <= 1")
    order = sorted(ids, key=lambda image_id: hashlib.sha256(f"{seed} {image_id}".encode()).digest())
    taken = set(order[round(low * len(ids)) : round(high * len(ids))])
    return [image_id for image_id in ids if image_id in taken]


def _image_names(folder: Path, parsed: Mapping[Path, _Parsed]) -> list[str]:
    """The file of each image; .jpg is assumed where there is none, and then missed by `FileDataset`."""
    present = list_files(folder)
    images = [name for name in present if Path(name).suffix.lower() in _SUFFIXES]
    images.sort(key=lambda name: _SUFFIXES.index(Path(name).suffix.lower()), reverse=True)
    by_id = {Path(name).stem: name for name in images}  # .jpg comes last, and stays
    return [
        by_id.get(file.stem, item.image if item.image in present else f"{file.stem}.jpg")
        for file, item in parsed.items()
    ]


def _parse(file: Path) -> _Parsed:
    from defusedxml import ElementTree

    try:
        root = ElementTree.parse(file).getroot()
    except (ElementTree.ParseError, ValueError) as error:  # defusedxml refuses entities with a ValueError
        raise ValueError(f"{file}: broken or unsafe XML ({error})") from None
    objects = root.findall("object")
    return _Parsed(
        size=(_whole(root, "size/height", file), _whole(root, "size/width", file)),
        image=re.split(r"[\\/]", (root.findtext("filename") or "").strip())[-1],
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


def _warn_of_zeros(objects: Sequence[ImageAnnotations], files: Sequence[Path]) -> None:
    """Where pixels are counted from 1 there is no pixel 0: whoever wrote one counted otherwise."""
    wrong = [str(file) for file, image in zip(files, objects) if (image.boxes[:, :2] < 0).any()]
    if wrong:
        _LOG.warning(
            "%d files have an xmin or ymin of 0, although one_based=True says that pixels are counted from 1; if they "
            "were not written by PASCAL VOC's own tools, say one_based=False: %s",
            len(wrong),
            first_of(wrong),
        )


def _size_of(image: Path) -> tuple[int, int]:
    with Image.open(image) as opened:
        return opened.height, opened.width
