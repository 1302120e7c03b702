"""Boxes drawn on images."""

import colorsys
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .structures import Detection, Target

SCALE_UP_TO = 480  # small images are enlarged, so that letters can be read


def draw_boxes(
    image: Tensor, found: Detection | Target, names: Sequence[str], *, score_threshold: float = 0.0, title: str = ""
) -> Image.Image:
    """A picture of an image with its boxes, names and, where there are any, scores.

    Args:
        image: [3, H, W] bytes.
        found: boxes in pixels of the image; those with a score below the threshold are left out.
        names: of the labels from 1 on.
        score_threshold: least score that is drawn.
        title: written above the image.
    """
    factor = max(1.0, SCALE_UP_TO / max(image.shape[-2:]))
    picture = Image.fromarray(np.ascontiguousarray(image.movedim(0, -1).cpu().numpy()))
    picture = picture.resize((round(picture.width * factor), round(picture.height * factor)))
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size=max(11, picture.height // 40))
    scores = found["scores"].tolist() if "scores" in found else [None] * len(found["labels"])
    rows = list(zip(found["boxes"].tolist(), found["labels"].tolist(), scores, strict=True))
    for box, label, score in reversed(rows):  # the best ones on top
        if score is None or score >= score_threshold:
            text = names[label - 1] if score is None else f"{names[label - 1]} {score:.2f}"
            _draw_box(draw, [side * factor for side in box], text, colour_of(label), font)
    return _with_title(picture, title, font) if title else picture


def colour_of(label: int) -> tuple[int, int, int]:
    """A colour for a label; neighbouring labels are far apart on the wheel (golden angle)."""
    red, green, blue = colorsys.hsv_to_rgb(label * 0.618 % 1, 0.85, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def side_by_side(pictures: Sequence[Image.Image], gap: int = 6) -> Image.Image:
    """Pictures in a row on white."""
    width = sum(picture.width for picture in pictures) + gap * (len(pictures) - 1)
    row = Image.new("RGB", (width, max(picture.height for picture in pictures)), "white")
    x = 0
    for picture in pictures:
        row.paste(picture, (x, 0))
        x += picture.width + gap
    return row


def _draw_box(
    draw: ImageDraw.ImageDraw, box: Sequence[float], text: str, colour: tuple[int, int, int], font: ImageFont.ImageFont
) -> None:
    draw.rectangle(box, outline=colour, width=2)
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    x = max(0, min(box[0], draw.im.size[0] - right - 4))
    y = box[1] - bottom - 4 if box[1] > bottom + 4 else max(0, box[1])
    draw.rectangle((x, y, x + right + 4, y + bottom + 4), fill=colour)
    dark = sum(colour) > 380
    draw.text((x + 2, y + 2), text, fill="black" if dark else "white", font=font)


def _with_title(picture: Image.Image, title: str, font: ImageFont.ImageFont) -> Image.Image:
    band = font.size + 8
    framed = Image.new("RGB", (picture.width, picture.height + band), "white")
    framed.paste(picture, (0, band))
    ImageDraw.Draw(framed).text((4, 3), title, fill="black", font=font)
    return framed
