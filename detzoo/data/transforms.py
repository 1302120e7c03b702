"""Augmentation as geometry first: all that is random is drawn on boxes and image size, then pixels are touched once.

What torchvision does in up to four passes over full-size pixels (zoom out, crop, flip, resize) becomes one rectangle of
the image that goes to one rectangle of the network's input, mirrored or not. Boxes follow the same two rectangles, so
they are exact whatever was rounded.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from ..images import to_rgb
from ..structures import Target

Size = tuple[int, int]


class Rect(NamedTuple):
    """A rectangle: left, top, right, bottom in pixels."""

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def width(self) -> float:
        return self.x1 - self.x0

    @property
    def height(self) -> float:
        return self.y1 - self.y0


class View(NamedTuple):
    """`source`, a rectangle inside the image, fills `target`, whole pixels of the network's input, mirrored if
    `flip`.
    """

    source: Rect
    target: Rect
    flip: bool


@dataclass(frozen=True)
class Augmentation:
    """The SSD family of augmentations (SSD, section 2.2 and 3.6), with torchvision's distributions.

    Attributes:
        flip: probability of mirroring.
        zoom_out: probability of placing the image on a canvas of up to four times its sides.
        iou_crop: cut a window that overlaps some object by at least a drawn threshold (0 to 0.9, or no cut).
        photometric: change brightness, contrast, saturation, hue and channel order, each with probability one half.
        fill: RGB in 0..255 around a zoomed-out image; the mean colour of ImageNet.
    """

    flip: float = 0.5
    zoom_out: float = 0.0
    iou_crop: bool = False
    photometric: bool = False
    fill: tuple[int, int, int] = (123, 117, 104)

    def __post_init__(self) -> None:
        for name in ("flip", "zoom_out"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"transforms.{name} is a probability, in [0, 1], got {getattr(self, name)}")

    def window(self, rng: np.random.Generator, size: Size, boxes: np.ndarray) -> tuple[Rect, np.ndarray]:
        """The rectangle of the image plane to show, in whole pixels of the image, and the rows of `boxes` [N, 4] it
        keeps.
        """
        height, width = size
        window, kept = Rect(0, 0, width, height), np.arange(len(boxes))
        if rng.random() < self.zoom_out:
            window = draw_zoom_out(rng, window)
        if self.iou_crop:
            window, kept = draw_iou_crop(rng, window, boxes)
        return window, kept


TRANSFORMS: dict[str, Callable[..., Augmentation]] = {"augmentation": Augmentation}


def draw_zoom_out(rng: np.random.Generator, image: Rect, most: float = 4.0) -> Rect:
    """A canvas of 1 to `most` times the sides of the image, the image somewhere on it (torchvision's RandomZoomOut)."""
    ratio = rng.uniform(1.0, most)
    width, height = int(image.width * ratio), int(image.height * ratio)
    left, top = (int(room * rng.random()) for room in (width - image.width, height - image.height))
    return Rect(-left, -top, width - left, height - top)


OVERLAPS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)  # 1: leave the window as it is
TRIALS = 40


def draw_iou_crop(rng: np.random.Generator, window: Rect, boxes: np.ndarray) -> tuple[Rect, np.ndarray]:
    """A part of the window that overlaps some box by a drawn threshold, and the boxes whose centres it holds.

    torchvision's RandomIoUCrop: sides of 0.3 to 1, aspect ratio 0.5 to 2 times that of the window in pixels, 40 trials
    for a threshold before another is drawn.
    """
    if len(boxes) == 0:
        return window, np.arange(0)
    while (overlap := rng.choice(OVERLAPS)) < 1:
        crops = _draw_crops(rng, window)
        centres = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
        inside = ((centres > crops[:, :2]) & (centres < crops[:, 2:])).all(axis=-1)  # [N, trials]
        best = np.where(inside, _iou(boxes[:, None], crops), -1.0).max(axis=0)
        good = np.flatnonzero(inside.any(axis=0) & (best >= overlap))
        if len(good):
            return Rect(*crops[good[0]].tolist()), np.flatnonzero(inside[:, good[0]])
    return window, np.arange(len(boxes))


def _draw_crops(rng: np.random.Generator, window: Rect) -> np.ndarray:
    """Up to `TRIALS` crops [T, 4] of admissible shape, in the order drawn."""
    sides = (rng.uniform(0.3, 1.0, (TRIALS, 2)) * (window.width, window.height)).astype(int)
    room = np.array((window.width, window.height)) - sides
    corners = (room * rng.random((TRIALS, 2))).astype(int) + (window.x0, window.y0)
    admissible = (sides > 0).all(axis=1) & (sides[:, 0] >= 0.5 * sides[:, 1]) & (sides[:, 0] <= 2 * sides[:, 1])
    return np.concatenate((corners, corners + sides), axis=1)[admissible].astype(float)


def _iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    sides = np.minimum(boxes[..., 2:], others[..., 2:]) - np.maximum(boxes[..., :2], others[..., :2])
    common = sides.clip(min=0).prod(axis=-1)
    areas = [(rectangle[..., 2:] - rectangle[..., :2]).prod(axis=-1) for rectangle in (boxes, others)]
    return common / (areas[0] + areas[1] - common)


def place(window: Rect, image: Size, output: Size, flip: bool) -> View:
    """Which part of the image fills which whole pixels of the output, when the window fills all of it."""
    source = Rect(max(window.x0, 0), max(window.y0, 0), min(window.x1, image[1]), min(window.y1, image[0]))
    scale_x, scale_y = output[1] / window.width, output[0] / window.height
    x0, x1 = _whole(source.x0 - window.x0, source.x1 - window.x0, scale_x, output[1])
    y0, y1 = _whole(source.y0 - window.y0, source.y1 - window.y0, scale_y, output[0])
    return View(source, Rect(x0, y0, x1, y1), flip)


def _whole(start: float, end: float, scale: float, side: int) -> tuple[int, int]:
    """The nearest whole pixels of an interval, at least one of them, inside 0..side."""
    first = min(round(start * scale), side - 1)
    return first, min(max(round(end * scale), first + 1), side)


def fit_boxes(boxes: np.ndarray, view: View, output: Size) -> np.ndarray:
    """Boxes [N, 4] of the image in pixels of the output, cut at its border."""
    source, target, flip = view
    scale = (target.width / source.width, target.height / source.height)
    points = (boxes.reshape(-1, 2, 2) - source[:2]) * scale + target[:2]
    points = points.clip(0, (output[1], output[0]))
    if flip:
        points[:, :, 0] = output[1] - points[:, ::-1, 0]
    return points.reshape(-1, 4)


def render(image: Image.Image, view: View, size: Size, output: Size, fill: tuple[int, int, int]) -> np.ndarray:
    """The pixels of a view, [output height, output width, 3] bytes, in one antialiased resampling.

    A JPEG is decoded at 1/2, 1/4 or 1/8 of its size where the view needs no more.

    Args:
        image: opened, possibly not decoded yet.
        view: which part goes where.
        size: height and width of the image as annotated.
        output: height and width of the result.
        fill: RGB where the image does not reach.
    """
    source, target, flip = view
    wanted = (int(size[1] * target.width / source.width), int(size[0] * target.height / source.height))
    drafted = image.draft("RGB", wanted)  # its size is exact, that of the pixels rounded up; None if this is no JPEG
    width, height = drafted[1][2:] if drafted else image.size
    scale_x, scale_y = width / size[1], height / size[0]
    box = (source.x0 * scale_x, source.y0 * scale_y, source.x1 * scale_x, source.y1 * scale_y)
    part = to_rgb(image).resize((int(target.width), int(target.height)), Image.Resampling.BILINEAR, box=box)
    pixels = np.asarray(part)
    if pixels.shape[:2] != tuple(output):
        canvas = np.full((*output, 3), fill, np.uint8)
        canvas[int(target.y0) : int(target.y1), int(target.x0) : int(target.x1)] = pixels
        pixels = canvas
    return pixels[:, ::-1] if flip else pixels


def distort_colours(rng: np.random.Generator, pixels: np.ndarray) -> np.ndarray:
    """Photometric distortion of [H, W, 3] bytes with torchvision's ranges and order (RandomPhotometricDistort)."""
    image = torch.from_numpy(np.array(pixels, order="C")).movedim(-1, 0)
    contrast = (F.adjust_contrast, rng.uniform(0.5, 1.5))
    steps = [
        (F.adjust_brightness, rng.uniform(0.875, 1.125)),
        contrast,
        (F.adjust_saturation, rng.uniform(0.5, 1.5)),
        (F.adjust_hue, rng.uniform(-0.05, 0.05)),
    ]
    if rng.random() < 0.5:  # contrast before the colour operations, or after them
        steps = [steps[0], *steps[2:], contrast]
    for change, amount in steps:
        if rng.random() < 0.5:
            image = change(image, amount)
    order = rng.permutation(3) if rng.random() < 0.5 else np.arange(3)
    return image.movedim(0, -1).numpy()[..., order]


def augment(
    image: Image.Image,
    size: Size,
    boxes: np.ndarray,
    labels: np.ndarray,
    output: Size,
    augmentation: Augmentation,
    seed: tuple,
) -> tuple[Tensor, Target]:
    """One training sample: [S, S, 3] bytes and what is to be found in them.

    Args:
        image: opened, possibly not decoded yet.
        size: height and width of the image as annotated.
        boxes: [N, 4] xyxy pixels of the image.
        labels: [N].
        output: height and width of the network's input.
        augmentation: what may happen.
        seed: non-negative integers that fix what does happen.
    """
    rng = np.random.default_rng(seed)
    window, kept = augmentation.window(rng, size, boxes)
    view = place(window, size, output, flip=rng.random() < augmentation.flip)
    fitted = fit_boxes(boxes[kept], view, output)
    shown = (fitted[:, 2:] - fitted[:, :2]) / (output[1] / window.width, output[0] / window.height)
    visible = (shown >= 1).all(axis=1)  # what is left is a pixel of the image or more (SanitizeBoundingBoxes)
    pixels = render(image, view, size, output, augmentation.fill)
    if augmentation.photometric:
        pixels = distort_colours(rng, pixels)
    target = Target(
        boxes=torch.from_numpy(fitted[visible].astype(np.float32)), labels=torch.from_numpy(labels[kept][visible])
    )
    return torch.from_numpy(np.array(pixels, order="C")), target  # a copy: Pillow's own pixels are read-only
