"""What a data set is to the rest of detzoo: flat annotations, images opened on demand, one policy for broken boxes."""

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from PIL import ExifTags, Image, ImageOps

from ..annotations import Annotations
from ..categories import Categories
from ..images import UNREADABLE_IMAGE

InvalidBoxes = Literal["drop", "error"]

OBJECT_COLUMNS = ("boxes", "labels", "areas", "crowd", "difficult")  # of `Annotations`, a row for each object

_LOG = logging.getLogger("detzoo")
_SHOWN = 5  # examples in a message
_TOLERANCE = 1.0  # pixels; files round their numbers, a box that sticks out by no more is nobody's mistake


class DetectionDataset(ABC):
    """Images that are opened one by one, and the annotations of all of them in flat arrays.

    Attributes:
        annotations: image number i here is image number i there.
        stored: whether images are read from somewhere, so that one of them may turn out to be broken; false where they
            are made.
    """

    annotations: Annotations
    stored: bool = True

    def __len__(self) -> int:
        return len(self.annotations)

    @property
    def categories(self) -> Categories:
        return self.annotations.categories

    @abstractmethod
    def open_image(self, index: int) -> Image.Image:
        """Image number `index` in whatever mode it is stored; nothing is decoded before the caller asks for pixels."""

    @abstractmethod
    def name(self, index: int) -> str:
        """What to call image number `index` in a message."""


class FileDataset(DetectionDataset):
    """A data set whose images are files below one folder.

    A camera that was turned says so in the file (EXIF), and what people see and annotate is the image set upright. So
    an image is turned where its annotations are known to be of the upright one, and where only then it has the size
    that they state.

    Args:
        folder: where the images lie.
        file_names: of image 0, 1, ..., relative to `folder`, as `pack_names` gives them.
        annotations: of the same images, in the same order.
        upright: whether the annotations are of the images as EXIF turns them.

    Raises:
        ValueError: if some of the files are not there.
    """

    def __init__(
        self, folder: str | Path, file_names: np.ndarray, annotations: Annotations, *, upright: bool = False
    ) -> None:
        self.folder = Path(folder)
        self.annotations = annotations
        self.upright = upright
        self._file_names = file_names
        check_files(self.folder, [self.file_name(index) for index in range(len(self))])

    def open_image(self, index: int) -> Image.Image:
        """The image file, opened but not decoded (`Image.draft` still works), unless it has to be turned; loading the
        pixels closes the file.
        """
        image = Image.open(self.name(index))
        height, width = self.annotations.image_sizes[index].tolist()
        if (self.upright or image.size != (width, height)) and orientation(image) != 1:
            return ImageOps.exif_transpose(image)
        return image

    def name(self, index: int) -> str:
        return os.path.join(self.folder, self.file_name(index))

    def file_name(self, index: int) -> str:
        """The name of image number `index`, relative to the folder of the images."""
        return os.fsdecode(self._file_names[index])


def orientation(image: Image.Image) -> int:
    """How a viewer is to turn an image, as EXIF numbers it: 1 for not at all, from 5 on its sides change places."""
    if image.format not in ("JPEG", "MPO"):  # what cameras write; to look for it in a PNG would decode it
        return 1
    try:
        turn = image.getexif().get(ExifTags.Base.Orientation, 1)
    except UNREADABLE_IMAGE:  # of the EXIF part alone: viewers show such an image as it is
        return 1
    return turn if turn in range(1, 9) else 1


def check_files(folder: Path, names: Sequence[str]) -> None:
    """Raise a ValueError that counts the files of a folder that are not there, folder by folder and not one by one."""
    present = {parent: list_files(folder / parent) for parent in {os.path.dirname(name) for name in names}}
    missing = [name for name in names if os.path.basename(name) not in present[os.path.dirname(name)]]
    if missing:
        raise ValueError(
            f"{folder}: {len(missing)} of {len(names)} annotated images are not there: {first_of(missing)}; "
            "expected the folder that the file names of the annotations are relative to"
        )


def pack_names(names: Sequence[str]) -> np.ndarray:
    """Strings as one fixed-width array of bytes; a list of str would be copied into every loader worker, bit by bit."""
    return np.array([os.fsencode(name) for name in names], dtype=np.bytes_)


def list_files(folder: Path) -> set[str]:
    """Names of the files in a folder, read at one go (a folder may hold 118,000); empty if there is no such folder."""
    if not folder.is_dir():
        return set()
    with os.scandir(folder) as entries:
        return {entry.name for entry in entries}


def repair_boxes(
    annotations: Annotations, *, invalid: InvalidBoxes, source: str | Path, where: Callable[[int], str]
) -> Annotations:
    """Clip every box to its image, and drop or refuse those of which nothing is left.

    A box is invalid if it is not finite, has no extent (in float32, in which training and evaluation compute), or lies
    wholly outside its image. What was dropped, and what stuck out by more than a pixel, is told in one warning of the
    logger `detzoo`. The area of a clipped box follows where it was width times height; another one (COCO: of the mask)
    stays as it is.

    Args:
        annotations: as the files have them.
        invalid: what becomes of invalid boxes.
        source: what the data set is called in messages.
        where: what the source of image number i is called in messages.

    Raises:
        ValueError: if `invalid` is "error", listing all invalid boxes; or if it is neither of the two words.
    """
    if invalid not in get_args(InvalidBoxes):
        raise ValueError(f'invalid = {invalid!r}: expected "drop" or "error"')
    boxes, image = annotations.boxes, image_of_rows(annotations)
    inside = _clip(boxes, annotations.image_sizes[image])
    broken = ~(np.isfinite(boxes).all(axis=1) & _has_extent(boxes) & _has_extent(inside.astype(np.float32)))
    sticks_out = ~broken & (np.abs(inside - boxes) > _TOLERANCE).any(axis=1)
    told = {
        what: [f"{where(image[row])}: {boxes[row].tolist()}" for row in np.flatnonzero(rows)]
        for what, rows in (
            ("empty, not finite or outside their image", broken),
            ("partly outside their image", sticks_out),
        )
    }
    _report(invalid, f"{source}, {len(boxes)} boxes", *told.items())
    kept, inside = keep_rows(annotations, ~broken), inside[~broken]
    return replace(kept, boxes=inside, areas=_clipped_areas(kept, inside))


def _report(
    invalid: InvalidBoxes, source: str, broken: tuple[str, list[str]], sticks_out: tuple[str, list[str]]
) -> None:
    what, boxes = broken
    if boxes and invalid == "error":
        listed = "\n  ".join(boxes)
        advice = 'correct them, or leave them out with invalid="drop"'
        raise ValueError(f"{source}: {len(boxes)} (xyxy) are {what}; {advice}:\n  {listed}")
    parts = [
        f"{len(boxes)} (xyxy) are {what} and were {done}: {first_of(boxes)}"
        for (what, boxes), done in ((broken, "dropped"), (sticks_out, "clipped"))
        if boxes
    ]
    if parts:
        _LOG.warning("%s: %s", source, "; ".join(parts))


def _clip(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Boxes [M, 4] limited to images of `sizes` [M, 2] (height, width)."""
    return np.clip(boxes, 0.0, sizes[:, [1, 0, 1, 0]])


def _has_extent(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])


def box_areas(boxes: np.ndarray) -> np.ndarray:
    """Width times height of boxes [M, 4], in square pixels."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _clipped_areas(annotations: Annotations, inside: np.ndarray) -> np.ndarray:
    follows = np.isclose(annotations.areas, box_areas(annotations.boxes)) & (inside != annotations.boxes).any(axis=1)
    return np.where(follows, box_areas(inside), annotations.areas)


def image_of_rows(annotations: Annotations) -> np.ndarray:
    """Number of the image that each object belongs to, [M]."""
    return np.repeat(np.arange(len(annotations)), np.diff(annotations.offsets))


def take_images(annotations: Annotations, indices: Iterable[int]) -> Annotations:
    """The annotations of some images, in the order of `indices`; ids stay.

    Raises:
        ValueError: for an index that is none, or that repeats.
    """
    indices = np.fromiter(indices, np.int64)
    foreign = indices[(indices < 0) | (indices >= len(annotations))]
    if len(foreign):
        raise ValueError(f"there is no image number {foreign[0]}: expected 0..{len(annotations) - 1}")
    if len(np.unique(indices)) != len(indices):
        raise ValueError("expected each image once, but some numbers repeat")
    counts = np.diff(annotations.offsets)[indices]
    offsets = np.concatenate(([0], np.cumsum(counts)))
    rows = np.arange(offsets[-1]) + np.repeat(annotations.offsets[:-1][indices] - offsets[:-1], counts)
    return replace(
        annotations,
        image_ids=annotations.image_ids[indices],
        image_sizes=annotations.image_sizes[indices],
        offsets=offsets,
        **{name: getattr(annotations, name)[rows] for name in OBJECT_COLUMNS},
    )


def keep_rows(annotations: Annotations, rows: np.ndarray) -> Annotations:
    """The annotations without the objects whose `rows` [M] is false; all images stay."""
    counts = np.bincount(image_of_rows(annotations)[rows], minlength=len(annotations))
    columns = {name: getattr(annotations, name)[rows] for name in OBJECT_COLUMNS}
    return replace(annotations, offsets=np.concatenate(([0], np.cumsum(counts))), **columns)


def first_of(examples: Sequence[str]) -> str:
    """The first few of many for a message, and how many more there are."""
    more = "" if len(examples) <= _SHOWN else f" and {len(examples) - _SHOWN} more"
    return "; ".join(examples[:_SHOWN]) + more
