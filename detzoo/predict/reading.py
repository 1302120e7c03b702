"""Whatever people call an image, as RGB bytes."""

from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from ..components.preprocess import ToRGB
from ..images import UNREADABLE_IMAGE, unreadable

BEYOND = 0.25  # [0, 1], as bicubic resizing goes at edges; neither bytes nor normalised floats are so near
# A path, a Pillow image, an array [H, W] or [H, W, 3], a tensor [3, H, W]; bytes, or floats in [0, 1]; RGB.
ImageLike = str | Path | Image.Image | np.ndarray | Tensor


def read_image(path: str | Path) -> Tensor:
    """An image file as [3, H, W] RGB bytes, turned as its EXIF says.

    Raises:
        ValueError: naming the file, if it is not there or no image.
    """
    return decode(path, str(path))


def decode(file: str | Path | BytesIO, name: str) -> Tensor:
    """The same of a file that need not be on disk; `name` is for messages."""
    try:
        with Image.open(file) as image:
            return ToRGB()(image)
    except UNREADABLE_IMAGE as error:
        raise ValueError(unreadable(name, error)) from error


class OnDemand(Sequence[Tensor]):
    """Images that are read whenever they are asked for: only those in use are in memory.

    Args:
        read: an image from what stands for it.
        items: what stands for them, such as paths.
    """

    def __init__(self, read: Callable[[Any], Tensor], items: Sequence[Any]) -> None:
        self.read, self.items = read, items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int | slice) -> "Tensor | OnDemand":
        items = self.items[index]
        return OnDemand(self.read, items) if isinstance(index, slice) else self.read(items)

    def __iter__(self) -> Iterator[Tensor]:
        """Not by `__getitem__`, where an IndexError of reading would be taken for the end."""
        return map(self.read, self.items)


def as_image(thing: ImageLike) -> Tensor:
    """Any image as [3, H, W].

    Raises:
        ValueError: for a file that cannot be read, and for what is no RGB image of bytes or of floats in [0, 1].
    """
    if isinstance(thing, str | Path):
        return read_image(thing)
    if not isinstance(thing, Image.Image | np.ndarray | Tensor):
        raise ValueError(f"got a {type(thing).__name__}: expected a path, a Pillow image, an array or a tensor")
    if isinstance(thing, np.ndarray) and not thing.flags.writeable:  # torch warns of those
        thing = thing.copy()
    image = ToRGB()(thing)
    if image.is_floating_point() and not (image.min() > -BEYOND and image.max() < 1 + BEYOND):  # nor where it is NaN
        raise ValueError(
            f"got floats from {float(image.min()):g} to {float(image.max()):g}: expected [0, 1], or bytes (uint8)"
        )
    return image


def is_one_image(thing: object) -> bool:
    """Whether this is a single image, and not several of them."""
    if isinstance(thing, np.ndarray | Tensor):
        return thing.ndim < 4
    return isinstance(thing, str | Path | Image.Image)
