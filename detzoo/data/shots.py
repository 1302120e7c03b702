"""One image, or several, as they will be seen in one sample: drawn first, developed from pixels afterwards."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from ..images import to_rgb
from ..structures import Target
from .colour import Colours, change_colours
from .geometry import Size, View, fit_boxes


class Record(NamedTuple):
    """What is known of an image before it is opened.

    Attributes:
        size: height and width as annotated.
        boxes: [N, 4] xyxy pixels of the image.
        labels: [N].
        open: the image, possibly not decoded yet, to be decoded inside a `with` block.
    """

    size: Size
    boxes: np.ndarray
    labels: np.ndarray
    open: Callable[[], AbstractContextManager[Image.Image]]


class Shot(NamedTuple):
    """A record, the rows of its boxes that are wanted, which part of the image goes where, and in what colours."""

    record: Record
    kept: np.ndarray
    view: View
    colours: Colours


def develop(shots: Sequence[Shot], output: Size, fill: tuple[int, int, int]) -> Image.Image:
    """RGB, `output` high and wide: each shot where its view says, `fill` where there is none."""
    width, height = output[1], output[0]
    if len(shots) == 1 and shots[0].view.target == (0, 0, width, height):
        return render(shots[0])
    picture = Image.new("RGB", (width, height), fill)
    for shot in shots:
        picture.paste(render(shot), (int(shot.view.target.x0), int(shot.view.target.y0)))
    return picture


def render(shot: Shot) -> Image.Image:
    """The pixels of a view, RGB, in one antialiased resampling; colours change afterwards, where pixels are few.

    A JPEG is decoded at 1/2, 1/4 or 1/8 of its size where the view needs no more.
    """
    (height, width), (source, target, flip) = shot.record.size, shot.view
    wanted = (int(width * target.width / source.width), int(height * target.height / source.height))
    with shot.record.open() as image:  # for what reads the file and no more: an error in here is put down to it
        drafted = image.draft("RGB", wanted)  # None if this is no JPEG
        if image.mode == "RGB":
            image.load()
        else:
            image = to_rgb(image)
    decoded = drafted[1][2:] if drafted else image.size  # exact, while the sides in pixels are rounded up
    scale_x, scale_y = decoded[0] / width, decoded[1] / height
    box = (source.x0 * scale_x, source.y0 * scale_y, source.x1 * scale_x, source.y1 * scale_y)
    part = image.resize((int(target.width), int(target.height)), Image.Resampling.BILINEAR, box=box)
    if flip:
        part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return change_colours(part, shot.colours)


def target_of(shots: Sequence[Shot]) -> Target:
    """What is seen of the objects of all shots, in pixels of the output."""
    parts = []
    for record, kept, view, _ in shots:
        boxes, seen = fit_boxes(record.boxes[kept], view)
        parts.append((boxes[seen], record.labels[kept[seen]]))
    boxes, labels = map(np.concatenate, zip(*parts)) if len(parts) > 1 else parts[0]
    return Target(boxes=torch.from_numpy(boxes.astype(np.float32)), labels=torch.from_numpy(labels.astype(np.int64)))
