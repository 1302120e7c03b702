"""Augmentation as geometry first: all that is random is drawn on boxes and image sizes, then pixels are touched once.

What torchvision does in up to four passes over full-size pixels (zoom out, crop, flip, resize) becomes one rectangle of
the image that goes to one rectangle of the network's input, mirrored or not. Boxes follow the same two rectangles, so
they are exact whatever was rounded. Large-scale jitter is another way to draw the first rectangle, mosaic has four
images for four of the second.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ..structures import Target
from .colour import Colours, draw_colours
from .geometry import (
    Rect,
    Size,
    draw_iou_crop,
    draw_jitter,
    draw_panels,
    draw_part,
    draw_zoom_out,
    place,
    rows_in,
)
from .shots import Record, Shot, develop, target_of


@dataclass(frozen=True)
class Augmentation:
    """The SSD family of augmentations (SSD, section 2.2 and 3.6), with torchvision's distributions, and newer ones.

    Attributes:
        flip: probability of mirroring.
        zoom_out: probability of placing the image on a canvas of up to four times its sides.
        iou_crop: cut a window that overlaps some object by at least a drawn threshold (0 to 0.9, or no cut).
        jitter: smallest and largest factor of large-scale jitter (arXiv:2012.07177; 0.1 and 2.0 there); it takes the
            place of zoom_out and iou_crop.
        photometric: change brightness, contrast, saturation, hue and channel order, each with probability one half.
        mosaic: probability of a sample made of parts of four images (YOLOv4, arXiv:2004.10934).
        mixup: probability of a sample that is the mean of two (arXiv:1902.04103), with the objects of both; half and
            half, as each of them counts in full.
        mix_epochs: mosaic and mixup end with this epoch, so that training ends on images as they are; null for never.
        scales: sides of a batch as multiples of the network's, of which each batch has one (YOLOv2, arXiv:1612.08242,
            section 2); but for 1, sides are rounded up to multiples of 32 pixels.
        fill: RGB in 0..255 around an image that does not fill its window; the mean colour of ImageNet.
    """

    flip: float = 0.5
    zoom_out: float = 0.0
    iou_crop: bool = False
    jitter: tuple[float, float] | None = None
    photometric: bool = False
    mosaic: float = 0.0
    mixup: float = 0.0
    mix_epochs: int | None = None
    scales: tuple[float, ...] = (1.0,)
    fill: tuple[int, int, int] = (123, 117, 104)

    def __post_init__(self) -> None:
        for name in ("scales", "fill"):  # lists, if they come from YAML
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if problem := self._problem():
            raise ValueError(f"transforms.{problem}")

    def _problem(self) -> str | None:
        """What is wrong with the options, or None."""
        for name in ("flip", "zoom_out", "mosaic", "mixup"):
            if not 0 <= getattr(self, name) <= 1:
                return f"{name} is a probability, in [0, 1], got {getattr(self, name)}"
        if self.jitter and not 0 < self.jitter[0] <= self.jitter[1]:
            return f"jitter = {tuple(self.jitter)}: expected two positive factors, the smaller one first"
        if self.jitter and (self.zoom_out or self.iou_crop):
            return "jitter takes the place of zoom_out and iou_crop: set zoom_out=0 and iou_crop=false, or jitter=null"
        if not self.scales or min(self.scales) <= 0:
            return f"scales = {self.scales}: expected one or more positive factors"
        return None

    def window(self, rng: np.random.Generator, size: Size, boxes: np.ndarray) -> tuple[Rect, np.ndarray]:
        """The rectangle of the image plane to show and the rows of `boxes` [N, 4] it keeps."""
        height, width = size
        window = Rect(0, 0, width, height)
        if self.jitter:
            window = draw_jitter(rng, window, self.jitter)
            return window, rows_in(window, boxes)
        if self.zoom_out and rng.random() < self.zoom_out:
            window = draw_zoom_out(rng, window)
        if self.iou_crop:
            return draw_iou_crop(rng, window, boxes)
        return window, np.arange(len(boxes))

    def sizes(self, size: Size) -> list[Size]:
        """The sizes that batches for a network of `size` (height, width) may have."""
        return [
            size if scale == 1 else tuple(32 * math.ceil(round(side * scale) / 32) for side in size)
            for scale in self.scales
        ]

    def draw(
        self, rng: np.random.Generator, records: Sequence[Record], index: int, output: Size, epoch: int
    ) -> list[list[Shot]]:
        """What the sample about image `index` shows: pictures to be blended, each of one image or of four."""
        mix = self.mix_epochs is None or epoch <= self.mix_epochs
        indices = [index]
        if mix and self.mixup and rng.random() < self.mixup:
            indices.append(int(rng.integers(len(records))))
        if mix and self.mosaic and rng.random() < self.mosaic:
            return [self._draw_mosaic(rng, records, which, output) for which in indices]
        return [[self._draw_shot(rng, records[which], output)] for which in indices]

    def _draw_shot(self, rng: np.random.Generator, record: Record, output: Size) -> Shot:
        window, kept = self.window(rng, record.size, record.boxes)
        return self._shoot(rng, record, window, kept, Rect(0, 0, output[1], output[0]))

    def _draw_mosaic(self, rng: np.random.Generator, records: Sequence[Record], index: int, output: Size) -> list[Shot]:
        """A part of image `index` and of three others, each in one of four panels."""
        indices = [index, *rng.integers(len(records), size=3).tolist()]
        panels, shots = draw_panels(rng, output), []
        for which, panel in zip(rng.permutation(indices).tolist(), panels):
            record = records[which]
            share = (panel.width / output[1], panel.height / output[0])
            window = draw_part(rng, Rect(0, 0, record.size[1], record.size[0]), share)
            shots.append(self._shoot(rng, record, window, rows_in(window, record.boxes), panel))
        return shots

    def _shoot(self, rng: np.random.Generator, record: Record, window: Rect, kept: np.ndarray, panel: Rect) -> Shot:
        view = place(window, record.size, panel, flip=rng.random() < self.flip)
        return Shot(record, kept, view, draw_colours(rng) if self.photometric else Colours())


TRANSFORMS: dict[str, Callable[..., Augmentation]] = {"augmentation": Augmentation}


def augment(
    records: Sequence[Record], index: int, output: Size, augmentation: Augmentation, *, seed: int, epoch: int
) -> tuple[np.ndarray, Target]:
    """One training sample: [height, width, 3] bytes, not to be written to, and what is to be found in them.

    Everything random follows from the seed, the epoch and the index.

    Args:
        records: of the whole data set, from which the other images of a mosaic or mixup are taken.
        index: of the image that the sample is about.
        output: height and width of the sample.
        augmentation: what may happen.
        seed: of the run.
        epoch: of the run.
    """
    rng = np.random.default_rng((seed, epoch, index))
    drawn = augmentation.draw(rng, records, index, output, epoch)
    picture, *others = [develop(shots, output, augmentation.fill) for shots in drawn]
    for other in others:
        picture = Image.blend(picture, other, 0.5)
    return np.asarray(picture), target_of([shot for shots in drawn for shot in shots])
