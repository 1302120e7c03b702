"""Which part of an image fills which part of the network's input: drawn on sizes and boxes, before a pixel is read."""

from typing import NamedTuple

import numpy as np

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
    """`source`, a rectangle inside the image, fills `target`, whole pixels of the output, mirrored in it if `flip`."""

    source: Rect
    target: Rect
    flip: bool


# ---- windows: rectangles of the image plane, which may reach beyond the image ----


def draw_zoom_out(rng: np.random.Generator, image: Rect, most: float = 4.0) -> Rect:
    """A canvas of 1 to `most` times the sides of the image, the image somewhere on it (torchvision's RandomZoomOut)."""
    zoom, across, down = rng.random(3).tolist()
    ratio = 1 + (most - 1) * zoom
    width, height = int(image.width * ratio), int(image.height * ratio)
    left, top = int((width - image.width) * across), int((height - image.height) * down)
    return Rect(-left, -top, width - left, height - top)


def draw_jitter(rng: np.random.Generator, image: Rect, scales: tuple[float, float]) -> Rect:
    """The image at one of a wide range of scales, cut or padded to its own size (arXiv:2012.07177, section 3).

    Where padded, it lies anywhere rather than in a corner. The scale is that of both sides: a network of fixed size
    sees every image warped alike.
    """
    scale = rng.uniform(*scales)
    return _somewhere(rng, image, image.width / scale, image.height / scale)


def draw_part(rng: np.random.Generator, image: Rect, share: tuple[float, float]) -> Rect:
    """A part of the image for a panel that takes a `share` of the output's width and height.

    It is shown at most as large as the image alone would be, at least so large that the image covers the panel, and
    no other in shape.
    """
    scale = rng.uniform(max(share), 1.0)
    return _somewhere(rng, image, image.width * share[0] / scale, image.height * share[1] / scale)


def _somewhere(rng: np.random.Generator, image: Rect, width: float, height: float) -> Rect:
    """A window of this size: along each side within the image, or around it."""
    across, down = rng.random(2).tolist()
    left, top = (image.width - width) * across, (image.height - height) * down
    return Rect(left, top, left + width, top + height)


OVERLAPS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)  # 1: leave the window as it is
TRIALS = 40


def draw_iou_crop(rng: np.random.Generator, window: Rect, boxes: np.ndarray) -> tuple[Rect, np.ndarray]:
    """A part of the window that overlaps some box by a drawn threshold, and the boxes whose centres it holds.

    torchvision's RandomIoUCrop: sides of 0.3 to 1, aspect ratio 0.5 to 2 times that of the window in pixels, 40 trials
    for a threshold before another is drawn.
    """
    if len(boxes) == 0:
        return window, np.arange(0)
    while (overlap := OVERLAPS[int(rng.random() * len(OVERLAPS))]) < 1:
        crops = _draw_crops(rng, window)
        inside = hold_centres(crops, boxes)  # [N, trials]
        good = (inside & (_iou(crops, boxes) >= overlap)).any(axis=0).nonzero()[0]
        if len(good):
            return Rect(*crops[good[0]].tolist()), inside[:, good[0]].nonzero()[0]
    return window, np.arange(len(boxes))


def _draw_crops(rng: np.random.Generator, window: Rect) -> np.ndarray:
    """Up to `TRIALS` crops [T, 4] of admissible shape, in the order drawn."""
    across, down, left, top = rng.random((4, TRIALS))
    width = np.floor((0.3 + 0.7 * across) * window.width)
    height = np.floor((0.3 + 0.7 * down) * window.height)
    x = np.floor((window.width - width) * left) + window.x0
    y = np.floor((window.height - height) * top) + window.y0
    admissible = (width > 0) & (height > 0) & (width >= 0.5 * height) & (width <= 2 * height)
    return np.array((x, y, x + width, y + height))[:, admissible].T


def hold_centres(windows: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Whether the centres of boxes [N, 4] lie in windows [T, 4]: [N, T]."""
    x, y = (boxes[:, :2] + boxes[:, 2:]).T[:, :, None] / 2  # [N, 1] each
    x0, y0, x1, y1 = windows.T
    return (x > x0) & (x < x1) & (y > y0) & (y < y1)


def rows_in(window: Rect, boxes: np.ndarray) -> np.ndarray:
    """Rows of the boxes [N, 4] whose centres lie in the window."""
    return hold_centres(np.array([window]), boxes)[:, 0].nonzero()[0]


def _iou(windows: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Of boxes [N, 4] with windows [T, 4]: [N, T]."""
    x0, y0, x1, y1 = boxes.T[:, :, None]  # [N, 1] each
    left, top, right, bottom = windows.T
    width = np.maximum(np.minimum(x1, right) - np.maximum(x0, left), 0)
    height = np.maximum(np.minimum(y1, bottom) - np.maximum(y0, top), 0)
    common = width * height
    return common / ((x1 - x0) * (y1 - y0) + (right - left) * (bottom - top) - common)


# ---- panels: rectangles of the output ----


def draw_panels(rng: np.random.Generator, output: Size) -> list[Rect]:
    """Four rectangles of whole pixels that meet somewhere in the middle half of the output."""
    across, down = rng.uniform(0.25, 0.75, 2).tolist()
    x, y = round(output[1] * across), round(output[0] * down)
    columns, rows = ((0, x), (x, output[1])), ((0, y), (y, output[0]))
    return [Rect(x0, y0, x1, y1) for y0, y1 in rows for x0, x1 in columns]


# ---- from the image to the output ----


def place(window: Rect, image: Size, panel: Rect, flip: bool) -> View:
    """Which part of the image fills which whole pixels of the output, when the window fills the panel."""
    source = Rect(max(window.x0, 0), max(window.y0, 0), min(window.x1, image[1]), min(window.y1, image[0]))
    width, height = int(panel.width), int(panel.height)
    x0, x1 = _whole(source.x0 - window.x0, source.x1 - window.x0, width / window.width, width)
    y0, y1 = _whole(source.y0 - window.y0, source.y1 - window.y0, height / window.height, height)
    if flip:
        x0, x1 = width - x1, width - x0
    return View(source, Rect(panel.x0 + x0, panel.y0 + y0, panel.x0 + x1, panel.y0 + y1), flip)


def _whole(start: float, end: float, scale: float, side: int) -> tuple[int, int]:
    """The nearest whole pixels of an interval, at least one of them, inside 0..side."""
    first = min(round(start * scale), side - 1)
    return first, min(max(round(end * scale), first + 1), side)


def fit_boxes(boxes: np.ndarray, view: View) -> tuple[np.ndarray, np.ndarray]:
    """Boxes [N, 4] of the image in pixels of the output, cut where the view ends, and which of them are seen [N].

    A box is seen if what is left of it is a pixel of the image or more (torchvision's SanitizeBoundingBoxes).
    """
    source, target, flip = view
    x_scale, y_scale = target.width / source.width, target.height / source.height
    x = np.minimum(np.maximum((boxes[:, ::2] - source.x0) * x_scale, 0), target.width)  # [N, 2]: left and right
    y = np.minimum(np.maximum((boxes[:, 1::2] - source.y0) * y_scale, 0), target.height)
    seen = (x[:, 1] - x[:, 0] >= x_scale) & (y[:, 1] - y[:, 0] >= y_scale)
    fitted = np.empty(boxes.shape)
    fitted[:, ::2] = target.x0 + (target.width - x[:, ::-1] if flip else x)
    fitted[:, 1::2] = target.y0 + y
    return fitted, seen
