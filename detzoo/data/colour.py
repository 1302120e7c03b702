"""Photometric distortion (SSD, section 2.2) with torchvision's ranges and order, once, on few pixels and on bytes.

Changes that treat every level alike are one look-up table, saturation is one matrix, and a turned hue is linear in each
of the six sectors of the colour circle. Each change is rounded to whole levels and cut at 0 and 255, as torchvision's
are; where those cut off the fraction, these round, so a pixel may differ by a few levels. Contrast is about the mean
grey of the part of the image that is seen, there of all of it.
"""

from itertools import permutations
from typing import NamedTuple

import numpy as np
from PIL import Image

BRIGHTNESS, CONTRAST, SATURATION = (0.875, 1.125), (0.5, 1.5), (0.5, 1.5)
HUE = (-0.05, 0.05)  # of a full turn
ORDERS = tuple(permutations(range(3)))

_GREY = np.array((0.2989, 0.587, 0.114))  # what red, green and blue add to the grey of a pixel
_LEVELS = np.arange(256.0)


class Colours(NamedTuple):
    """What becomes of the colours of an image: factors, of which 1 changes nothing, and a hue turned by a part of the
    circle.

    Brightness comes first, contrast second or after the hue, saturation and hue in between, and last the channels are
    put into another order.
    """

    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0
    contrast_first: bool = True
    order: tuple[int, int, int] = (0, 1, 2)


def draw_colours(rng: np.random.Generator) -> Colours:
    """Each of the five changes with probability one half."""
    drawn = rng.random(11).tolist()
    amounts = [
        low + (high - low) * amount if coin < 0.5 else nothing
        for (low, high), nothing, amount, coin in zip(
            (BRIGHTNESS, CONTRAST, SATURATION, HUE), Colours(), drawn[:4], drawn[4:8]
        )
    ]
    order = ORDERS[int(6 * drawn[8])] if drawn[9] < 0.5 else ORDERS[0]
    return Colours(*amounts, contrast_first=drawn[10] < 0.5, order=order)


def change_colours(image: Image.Image, colours: Colours) -> Image.Image:
    """An RGB image with its colours changed; the image itself stays as it is."""
    first, last = (colours.contrast, 1.0) if colours.contrast_first else (1.0, colours.contrast)
    image = _change_levels(image, colours.brightness, first)
    if colours.saturation != 1:
        image = image.convert("RGB", _saturation_matrix(colours.saturation))
    if colours.hue:
        image = _turn_hue(image, colours.hue)
    image = _change_levels(image, 1.0, last)
    if colours.order != ORDERS[0]:
        channels = image.split()
        image = Image.merge("RGB", [channels[channel] for channel in colours.order])
    return image


def _change_levels(image: Image.Image, brightness: float, contrast: float) -> Image.Image:
    """Brightness, then contrast about the mean grey."""
    if brightness == contrast == 1:
        return image
    levels = _whole(brightness * _LEVELS)
    if contrast != 1:
        counts = np.reshape(image.histogram(), (3, 256))
        mean = _GREY @ (counts @ levels) / counts[0].sum()
        levels = _whole(contrast * levels + (1 - contrast) * mean)
    return image.point(levels.astype(int).tolist() * 3)


def _whole(levels: np.ndarray) -> np.ndarray:
    return np.rint(levels).clip(0, 255)


def _saturation_matrix(factor: float) -> tuple[float, ...]:
    """Away from the grey of each pixel or towards it, as three rows of red, green, blue and nothing to add."""
    red, green, blue = ((1 - factor) * part for part in _GREY.tolist())
    return (red + factor, green, blue, 0, red, green + factor, blue, 0, red, green, blue + factor, 0)


def _turn_hue(image: Image.Image, turn: float) -> Image.Image:
    """Hue as in HSV, turned by at most a sixth of the circle; no pixel's largest or smallest channel changes value."""
    red, green, blue = map(np.asarray, image.split())
    high, low = np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)
    sixths = np.uint16(round(6 * abs(turn) * 256))
    step = (((high - low) * sixths + np.uint16(128)) >> np.uint16(8)).astype(np.uint8)
    if turn < 0:  # the same seen in a mirror, in which green and blue change places
        green, blue = blue, green
    circle = ((red, green, blue), (green, blue, red), (blue, red, green))
    turned = [Image.fromarray(_turned(*channels, step, low, high)) for channels in circle]
    return Image.merge("RGB", [turned[channel] for channel in ((0, 2, 1) if turn < 0 else (0, 1, 2))])


def _turned(
    channel: np.ndarray, following: np.ndarray, third: np.ndarray, step: np.ndarray, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    """A channel after a turn by `step` towards the one that follows it on the circle.

    Along the circle a channel is high for two sixths, falls for one, is low for two and rises for one. It falls, or is
    about to, on the half of the circle where the following channel exceeds the third one; on the other half it rises,
    or is about to. About to, it has as far to go as the following channel is away from it. The order of the operations
    is such that none leaves 0..255: bytes are several times as fast as anything else here.
    """
    upper = np.maximum(channel, following)
    down = step - np.minimum(step, upper - following)
    up = step - np.minimum(step, upper - channel)
    fallen, risen = np.maximum(channel, low + down) - down, np.minimum(channel, high - up) + up
    falls = (following >= third).view(np.uint8)
    return risen + falls * (fallen - risen)  # modulo 256, in which the difference is right
