"""Pictures made by a procedure: shapes on a cluttered background, for demonstrations and tests without a download.

Image number i depends on (seed, i) alone, so any process draws the same one, and a longer data set starts with the
images of a shorter one. Annotations of all images are computed at the start; pixels are drawn when an image is opened.
"""

import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from ..annotations import Annotations
from ..categories import Categories
from ..files import replacing
from .base import DetectionDataset, box_areas
from .coco import write_coco

SHAPES = Categories(("circle", "square", "triangle", "star", "cross", "ring"))

_CANDIDATES = 24  # places tried in an image; those that would hide too much of another object are given up
_HIDDEN = 0.4  # of an object's box that later objects may cover in all: most of the shape stays in sight
_OUTSIDE = 0.2  # of an object's width or height that may lie beyond the border of the image
_STRETCH = 1.25  # largest ratio of the sides of a shape before it is turned
_CHUNK = 256  # images arranged at a time, to bound the memory
_GRID = 64  # boxes lie on 1/64 pixel: exact in binary, so that a file gives them back unchanged
_OVERSAMPLING = 2  # pictures are drawn this much larger and reduced, which smooths the edges
_UNIT = 160.0  # pixels; line widths and the like are meant for pictures of this side, and grow with it


class SyntheticDataset(DetectionDataset):
    """Circles, squares, triangles, stars, crosses and rings, turned and stretched a little, partly hidden and cut off.

    An object is in sight for the larger part. Its box is tight to what of the shape lies in the image, hidden or not.

    Args:
        num_images: how many.
        seed: another one gives other pictures, such as held-out ones.
        size: height and width in pixels.
        max_objects: objects in an image; 1 to this many are wanted, fewer are placed where there is no room.
        smallest: longer side of the smallest object, as a fraction of the shorter side of the image.
        largest: of the largest object; sizes between are drawn log-uniformly.
    """

    stored = False  # drawn, not read: there is no file that could be broken

    def __init__(
        self,
        num_images: int = 1000,
        seed: int = 0,
        *,
        size: tuple[int, int] = (160, 160),
        max_objects: int = 8,
        smallest: float = 0.08,
        largest: float = 0.6,
    ) -> None:
        height, width = size
        if min(num_images, height, width, max_objects) < 1 or seed < 0 or not 0 < smallest <= largest <= 1:
            raise ValueError(
                f"got num_images={num_images}, seed={seed}, size={tuple(size)}, max_objects={max_objects}, "
                f"smallest={smallest}, largest={largest}; expected counts and sizes from 1, a seed from 0 and "
                "0 < smallest <= largest <= 1"
            )
        self.seed, self.size = seed, (height, width)
        sides = (smallest * min(size), largest * min(size))
        chunks = [
            _arrange(seed, range(start, min(start + _CHUNK, num_images)), self.size, max_objects, sides)
            for start in range(0, num_images, _CHUNK)
        ]
        self._objects, boxes, counts = (np.concatenate(parts) for parts in zip(*chunks))
        self.annotations = _annotate(self._objects, boxes, counts, self.size)

    def name(self, index: int) -> str:
        return f"synthetic image {index} of seed {self.seed}"

    def open_image(self, index: int) -> Image.Image:
        """Draw image number `index`, RGB; a few milliseconds."""
        rng = np.random.default_rng((self.seed, index, 1))  # 1: another stream than the one that placed the objects
        return _paint(_outlines(self._objects[self.annotations.rows(index)]), self.size, rng)

    def write(self, folder: str | Path) -> None:
        """Write `images/*.png` and, last, `annotations.json` in COCO's form; `CocoDataset` reads the same boxes."""
        folder = Path(folder)
        (folder / "images").mkdir(parents=True, exist_ok=True)
        (folder / "annotations.json").unlink(missing_ok=True)  # an older one must not describe half of the new images
        file_names = [f"{index:06d}.png" for index in range(len(self))]
        for index, file_name in enumerate(file_names):
            with replacing(folder / "images" / file_name) as unfinished:
                self.open_image(index).save(unfinished, format="PNG")
        write_coco(folder / "annotations.json", self.annotations, file_names)


def _annotate(objects: np.ndarray, boxes: np.ndarray, counts: np.ndarray, size: tuple[int, int]) -> Annotations:
    return Annotations(
        categories=SHAPES,
        image_ids=np.arange(1, len(counts) + 1),
        image_sizes=np.tile(np.array(size, np.int64), (len(counts), 1)),
        offsets=np.concatenate(([0], np.cumsum(counts))),
        boxes=boxes,
        labels=objects[:, 0].astype(np.int64) + 1,
        areas=box_areas(boxes),
        crowd=np.zeros(len(boxes), bool),
        difficult=np.zeros(len(boxes), bool),
    )


# ---- where the objects lie. Letters in this part: N images, K candidates of each, V corners of a shape, M objects ----
#
# An object is a row of seven numbers: shape (label - 1), stretch along x and y, angle, radius, x and y of the centre.


def _arrange(
    seed: int, indices: range, size: tuple[int, int], max_objects: int, sides: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Objects [M, 7] of some images, their boxes [M, 4] and the number of objects in each image [N]."""
    drawn = np.stack([np.random.default_rng((seed, index)).random(1 + 6 * _CANDIDATES) for index in indices])
    wanted = 1 + np.floor(drawn[:, 0] * max_objects)
    candidates, boxes = _candidates(drawn[:, 1:].reshape(len(indices), _CANDIDATES, 6), size, sides)
    chosen = _choose(boxes, wanted)
    objects = candidates[chosen]
    return objects, _visible_boxes(_outlines(objects), size), chosen.sum(axis=1)


def _candidates(drawn: np.ndarray, size: tuple[int, int], sides: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Objects [N, K, 7] and their boxes [N, K, 4] from uniform numbers [N, K, 6]."""
    kind, stretch, angle, side, *place = np.moveaxis(drawn, -1, 0)
    kind, angle = np.floor(kind * len(SHAPES)), angle * 2 * math.pi
    stretch = _STRETCH ** (stretch - 0.5)
    side = sides[0] * (sides[1] / sides[0]) ** side
    zero = np.zeros_like(side)
    objects = np.stack((kind, stretch, 1 / stretch, angle, zero + 1, zero, zero), axis=-1)
    corners = _outlines(
        objects
    )  # still of radius 1 around the origin, to see how large the box is and where in it that
    low, high = corners.min(axis=-2), corners.max(axis=-2)  # [N, K, 2]
    radius = (side / (high - low).max(axis=-1))[..., None]
    low, high = radius * low, radius * high
    extent, limit = high - low, np.array(size[::-1], float)
    start = (limit - (1 - 2 * _OUTSIDE) * extent) * np.stack(place, axis=-1) - _OUTSIDE * extent  # upper left corner
    objects[..., 4:5], objects[..., 5:] = radius, start - low
    return objects, np.clip(np.concatenate((start, start + extent), axis=-1), 0, np.tile(limit, 2))


def _choose(boxes: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Which candidates [N, K] to place: one by one on top of each other, as long as nothing is hidden too much."""
    overlap = np.minimum(boxes[:, :, None, 2:], boxes[:, None, :, 2:]) - np.maximum(
        boxes[:, :, None, :2], boxes[:, None, :, :2]
    )
    extent = boxes[..., 2:] - boxes[..., :2]
    covers = overlap.clip(0).prod(axis=-1) / extent.prod(axis=-1)[:, :, None]  # [N, K, K]: of box i by box j
    chosen, hidden = np.zeros(boxes.shape[:2], bool), np.zeros(boxes.shape[:2])
    for k in range(boxes.shape[1]):
        hides = hidden[:, :k] + covers[:, :k, k]
        fits = (~chosen[:, :k] | (hides <= _HIDDEN)).all(axis=1) & (chosen.sum(axis=1) < wanted)
        chosen[:, k] = fits
        hidden[:, :k] = np.where(fits[:, None], hides, hidden[:, :k])
    return chosen


def _visible_boxes(outlines: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Boxes [M, 4] of what of closed outlines [M, V, 2] lies in the image, each edge being cut as by Liang and Barsky.

    Cutting the box of the whole outline instead would leave room where a tip lies outside.
    """
    limit = np.array(size[::-1], float)
    step = np.roll(outlines, -1, axis=1) - outlines
    step = np.where(np.abs(step) < 1e-9, 1e-9, step)
    crossings = np.stack((-outlines, limit - outlines)) / step  # [2, M, V, 2]: where an edge meets the borders
    enter = crossings.min(axis=0).max(axis=-1).clip(0, 1)[..., None]
    leave = crossings.max(axis=0).min(axis=-1).clip(0, 1)[..., None]
    ends = np.stack((outlines + enter * step, outlines + leave * step), axis=2)  # [M, V, 2, 2]
    seen = (enter < leave)[:, :, None]
    low = ends.min(axis=(1, 2), where=seen, initial=np.inf)
    high = ends.max(axis=(1, 2), where=seen, initial=-np.inf)
    return np.clip(np.round(np.concatenate((low, high), axis=1) * _GRID) / _GRID, 0, np.tile(limit, 2))


def _outlines(objects: np.ndarray) -> np.ndarray:
    """Corners [..., V, 2] of objects [..., 7], x and y in pixels; the last one is repeated where a shape has fewer."""
    x, y = np.moveaxis(_CORNERS[objects[..., 0].astype(np.int64)] * objects[..., None, 1:3], -1, 0)
    cos, sin = np.cos(objects[..., 3:4]), np.sin(objects[..., 3:4])
    turned = np.stack((cos * x - sin * y, sin * x + cos * y), axis=-1)
    return turned * objects[..., None, 4:5] + objects[..., None, 5:]


def _polygon(corners: int, *radii: float) -> np.ndarray:
    """A regular polygon whose corners take turns among the radii."""
    angle = 2 * math.pi * np.arange(corners) / corners
    return np.stack((np.sin(angle), -np.cos(angle)), axis=1) * np.resize(radii, corners)[:, None]


def _cross(half_width: float) -> np.ndarray:
    arm = np.array([(-half_width, -half_width), (-half_width, -1.0), (half_width, -1.0)])
    return np.concatenate([arm @ np.array([(c, s), (-s, c)]) for c, s in ((1, 0), (0, 1), (-1, 0), (0, -1))])


def _ring(hole: float) -> np.ndarray:
    """One outline that goes round, steps inwards, and goes back round the hole."""
    circle = _polygon(32, 1.0)
    closed = np.concatenate((circle, circle[:1]))
    return np.concatenate((closed, hole * closed[::-1]))


def _table(*shapes: np.ndarray) -> np.ndarray:
    most = max(map(len, shapes))
    return np.stack([np.pad(shape, ((0, most - len(shape)), (0, 0)), mode="edge") for shape in shapes])


# [6, V, 2], in the order of SHAPES
_CORNERS = _table(
    _polygon(32, 1.0), _polygon(4, 1.0), _polygon(3, 1.0), _polygon(10, 1.0, 0.45), _cross(0.33), _ring(0.55)
)


# ---- what the pictures look like ----


def _paint(outlines: np.ndarray, size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """Background, clutter, objects from the first to the last, scratches across them, noise."""
    large = (size[1] * _OVERSAMPLING, size[0] * _OVERSAMPLING)
    unit = min(large) / _UNIT
    ground = rng.integers(30, 226, 3)
    picture = _background(ground, large, rng)
    draw = ImageDraw.Draw(picture)
    _blobs(draw, large, unit, rng)
    _specks(draw, large, unit, rng)
    _lines(draw, large, unit * rng.uniform(1, 4), rng)
    for outline, colour in zip(outlines, _colours(ground, len(outlines), rng)):
        draw.polygon(_flat(outline * _OVERSAMPLING), fill=colour)
    _lines(draw, large, unit, rng)
    return _grain(picture.reduce(_OVERSAMPLING), rng)


def _background(ground: np.ndarray, large: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """Uneven light around a colour: patches of a random coarseness, blurred into each other."""
    cells = rng.integers(2, 24, 2)
    colours = ground + rng.normal(0, rng.uniform(5, 25), (*cells, 1)) + rng.normal(0, 6, (*cells, 3))
    return Image.fromarray(colours.clip(0, 255).astype(np.uint8)).resize(large, Image.Resampling.BICUBIC)


def _colours(ground: np.ndarray, count: int, rng: np.random.Generator) -> list[tuple[int, ...]]:
    """One colour for each object, unlike the ground and unlike each other."""
    chosen: list[np.ndarray] = []
    for _ in range(count):
        drawn = rng.integers(0, 256, (16, 3))
        contrast = np.linalg.norm(drawn - ground, axis=1) / 110
        for other in chosen:
            contrast = np.minimum(contrast, np.linalg.norm(drawn - other, axis=1) / 70)
        chosen.append(drawn[np.argmax(contrast.clip(max=1))])  # the first with contrast enough, else the best
    return [tuple(colour.tolist()) for colour in chosen]


def _blobs(draw: ImageDraw.ImageDraw, large: tuple[int, int], unit: float, rng: np.random.Generator) -> None:
    """Lumps that are no shape: two or three bulges of different height."""
    angle = np.linspace(0, 2 * math.pi, 24, endpoint=False)
    circle = np.stack((np.cos(angle), np.sin(angle)), axis=1)
    for _ in range(rng.integers(0, 6)):
        (first, second), phase = rng.uniform(0.25, 0.4, 2), rng.uniform(0, 2 * math.pi, 2)
        radius = 1 + first * np.cos(2 * angle + phase[0]) + second * np.cos(3 * angle + phase[1])
        lump = circle * radius[:, None] * rng.uniform(4, 18) * unit + rng.uniform(0, 1, 2) * large
        draw.polygon(_flat(lump), fill=_any_colour(rng))


def _specks(draw: ImageDraw.ImageDraw, large: tuple[int, int], unit: float, rng: np.random.Generator) -> None:
    for _ in range(rng.integers(5, 30)):
        (x, y), radius = rng.uniform(0, 1, 2) * large, rng.uniform(0.4, 1.5) * unit
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_any_colour(rng))


def _lines(draw: ImageDraw.ImageDraw, large: tuple[int, int], width: float, rng: np.random.Generator) -> None:
    for _ in range(rng.integers(0, 5)):
        ends = rng.uniform(0, 1, (2, 2)) * large
        draw.line(_flat(ends), fill=_any_colour(rng), width=max(1, round(width)))


def _any_colour(rng: np.random.Generator) -> tuple[int, ...]:
    return tuple(rng.integers(0, 256, 3).tolist())


def _flat(points: np.ndarray) -> list[float]:
    """Points as Pillow takes them, for whom a pixel's centre and not its corner has whole numbers."""
    return (points - 0.5).ravel().tolist()


def _grain(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    pixels = np.asarray(picture, np.int16)
    noise = rng.integers(-12, 13, pixels.shape, dtype=np.int16)
    return Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8))
