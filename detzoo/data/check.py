"""Images that cannot be read, found before the first step rather than in the middle of training."""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import numpy as np
from PIL import Image

from ..images import UNREADABLE_IMAGE, unreadable
from .base import DetectionDataset, InvalidBoxes, first_of, orientation
from .subset import subset

ImageCheck = Literal["header", "decode", "none"]

_LOG = logging.getLogger("detzoo")
_THREADS = 8  # reading a header is waiting for the disk, decoding leaves Python's lock to the others
_CHUNK = 64  # images a thread takes at a time

T = TypeVar("T")
R = TypeVar("R")


def check_images(
    dataset: DetectionDataset, how: ImageCheck = "header", *, broken: InvalidBoxes = "error", threads: int = _THREADS
) -> DetectionDataset:
    """The data set, whose images were looked at: all of them, or those that can be read.

    Args:
        dataset: images that are drawn and not read (`stored` is false) are taken as they are.
        how: "header" opens every image and holds its size against the annotations (seconds for 100,000 on a local
            disk); "decode" reads the pixels as well and so finds truncated files, at the price of decoding the data set
            once; "none" does nothing.
        broken: whether images that cannot be read, or have another size, are an error or dropped with a warning.
        threads: that read at the same time.

    Raises:
        ValueError: counting the broken images and naming the first, if `broken` is "error"; for an unknown word.
    """
    _check_word("how", how, ImageCheck)
    _check_word("broken", broken, InvalidBoxes)
    if how == "none" or not dataset.stored:
        return dataset
    reasons = find_broken(dataset, decode=how == "decode", threads=threads)
    if not reasons:
        return dataset
    found = f"{len(reasons)} of {len(dataset)} images are broken"
    if broken == "error":
        raise ValueError(
            f"{found}: {first_of(list(reasons.values()))}. Mend them, or leave them out: broken_images=drop"
        )
    _LOG.warning("%s and were dropped: %s", found, first_of(list(reasons.values())))
    return subset(dataset, np.delete(np.arange(len(dataset)), list(reasons)))


def find_broken(dataset: DetectionDataset, *, decode: bool = False, threads: int = _THREADS) -> dict[int, str]:
    """Numbers of the images that cannot be read or have not the size of their annotations, and what is wrong."""
    told = in_threads(lambda index: _look_at(dataset, index, decode), range(len(dataset)), threads)
    return {index: reason for index, reason in enumerate(told) if reason}


def read_sizes(names: Sequence[str], *, broken: InvalidBoxes, source: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Sizes [N, 2] (height, width) of image files as they are shown, from their headers, for formats that state none.

    Args:
        names: of the files.
        broken: whether files that are no image are an error or told in a warning.
        source: what the data set is called in messages.

    Returns:
        The sizes, 0 where there is none, and the numbers of the images that have one.

    Raises:
        ValueError: counting the files that are no image and naming the first, if `broken` is "error"; for an unknown
            word.
    """
    _check_word("broken", broken, InvalidBoxes)
    found = in_threads(_size_of, names)
    reasons = [size for size in found if isinstance(size, str)]
    if reasons:
        what = f"{source}: {len(reasons)} of {len(names)} images cannot be read"
        if broken == "error":
            advice = 'mend them, or leave them out with the option broken="drop" of this data set'
            raise ValueError(f"{what}; {advice}: {first_of(reasons)}")
        _LOG.warning("%s and were dropped: %s", what, first_of(reasons))
    sizes = np.array([(0, 0) if isinstance(size, str) else size for size in found], np.int64).reshape(-1, 2)
    return sizes, np.flatnonzero(sizes[:, 0])


def in_threads(function: Callable[[T], R], items: Sequence[T], threads: int = _THREADS) -> list[R]:
    """`function` of every item, in their order; the first error is raised."""
    chunks = [items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK)]
    with ThreadPoolExecutor(threads) as pool:
        return [result for results in pool.map(lambda chunk: list(map(function, chunk)), chunks) for result in results]


def size_problem(image: Image.Image, dataset: DetectionDataset, index: int) -> str:
    """How the size of an opened image differs from that of its annotations; nothing if it does not."""
    height, width = dataset.annotations.image_sizes[index].tolist()
    if image.size == (width, height):
        return ""
    return (
        f"{dataset.name(index)} is {image.height}x{image.width} pixels (height x width) but was annotated as "
        f"{height}x{width}"
    )


def _look_at(dataset: DetectionDataset, index: int, decode: bool) -> str:
    """What is wrong with an image, or nothing."""
    try:
        with dataset.open_image(index) as image:
            if decode:
                image.load()
            return size_problem(image, dataset, index)
    except UNREADABLE_IMAGE as error:
        return unreadable(dataset.name(index), error)


def _size_of(name: str) -> tuple[int, int] | str:
    """Height and width, or what is wrong."""
    try:
        with Image.open(name) as image:
            turned = orientation(image) >= 5
            return (image.width, image.height) if turned else (image.height, image.width)
    except UNREADABLE_IMAGE as error:
        return unreadable(name, error)


def _check_word(what: str, word: str, known: Any) -> None:
    """Raise a ValueError that names the argument, if its word is none of its `Literal`."""
    if word not in get_args(known):
        raise ValueError(f"{what} = {word!r}: expected one of {', '.join(get_args(known))}")
