"""Pictures from files: whatever is stored, as 8-bit RGB."""

from pathlib import Path
from struct import error as StructError

import numpy as np
from PIL import Image

# What Pillow raises for a file that is no whole image: when it is opened, or later, when its pixels are decoded.
# RuntimeError is that of AVIF and, as NotImplementedError, of DDS and BLP; short headers, EXIF's too, fail to unpack.
UNREADABLE_IMAGE = (OSError, SyntaxError, ValueError, RuntimeError, StructError, Image.DecompressionBombError)


def to_rgb(image: Image.Image) -> Image.Image:
    """Any Pillow image as 8-bit RGB. Sixteen bits are scaled: Pillow's own conversion would cut them off, to white; so
    are floats in [0, 1], which it would make black. What is transparent keeps the colour that it has underneath.
    """
    if image.mode.startswith("I"):  # 16-bit grey, which some formats give as 32-bit integers
        grey = np.asarray(image).astype(np.int64)
        deep = image.mode != "I" or grey.max(initial=0) > 255
        image = Image.fromarray((grey // 257 if deep else grey).clip(0, 255).astype(np.uint8))
    if image.mode == "F":
        grey = np.nan_to_num(np.asarray(image))
        grey = grey * 255 if grey.max(initial=0) <= 1 else grey
        image = Image.fromarray(grey.round().clip(0, 255).astype(np.uint8))
    if "transparency" in image.info:  # Pillow warns of a palette whose colours are each more or less transparent
        return image.convert("RGBA").convert("RGB")
    return image.convert("RGB")


def unreadable(name: str | Path, error: BaseException) -> str:
    """What is told of an image that could not be opened or decoded."""
    return f"{name} cannot be read as an image: {error}"
