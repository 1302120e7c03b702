"""Boxes drawn on images."""

import colorsys
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .structures import Detection, Target

SCALE_UP_TO = 480  # small images are enlarged, so that letters can be read
# `draw_box_groups`: pixels of the longer side, of a line and of a dot's radius; how much of an image is white
CANVAS, BORDER, DOT, PALE = 900, 2, 4, 0.35


def draw_boxes(
    image: Tensor,
    found: Detection | Target,
    names: Sequence[str],
    *,
    score_threshold: float = 0.0,
    title: str = "",
    enlarge: bool = True,
) -> Image.Image:
    """A picture of an image with its boxes, names and, where there are any, scores.

    Args:
        image: [3, H, W] bytes.
        found: boxes in pixels of the image; those with a score below the threshold are left out.
        names: of the labels from 1 on.
        score_threshold: least score that is drawn.
        title: written above the image.
        enlarge: draw a small image larger than it is, so that letters can be read.
    """
    factor = max(1.0, SCALE_UP_TO / max(image.shape[-2:])) if enlarge else 1.0
    picture = Image.fromarray(np.ascontiguousarray(image.movedim(0, -1).cpu().numpy()))
    picture = picture.resize((round(picture.width * factor), round(picture.height * factor)))
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size=max(11, picture.height // 40))
    scores = found["scores"].tolist() if "scores" in found else [None] * len(found["labels"])
    rows = [
        ([side * factor for side in box], label, score)
        for box, label, score in zip(found["boxes"].tolist(), found["labels"].tolist(), scores, strict=True)
        if score is None or score >= score_threshold
    ][::-1]  # the best ones on top
    for box, label, _ in rows:
        draw.rectangle(box, outline=colour_of(label), width=2)
    for box, label, score in rows:  # no line goes through a word
        text = names[label - 1] if score is None else f"{names[label - 1]} {score:.2f}"
        _write_label(draw, box, text, colour_of(label), font)
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


def _write_label(
    draw: ImageDraw.ImageDraw, box: Sequence[float], text: str, colour: tuple[int, int, int], font: ImageFont.ImageFont
) -> None:
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


def draw_box_groups(image: Tensor, groups: Sequence[Tensor], captions: Sequence[str]) -> Image.Image:
    """A picture of an image, paler than it is, with boxes, a colour for each group and a legend on the right; where
    boxes reach beyond the image, so does the picture.

    Args:
        image: [3, H, W] bytes.
        groups: boxes [K, 4] of each group in pixels of the image; a dot marks the centre of the first one.
        captions: one for each group, for the legend.
    """
    height, width = image.shape[-2:]
    corners = torch.cat([*groups, torch.tensor([[0.0, 0, width, height]])])
    low, high = corners[:, :2].amin(dim=0), corners[:, 2:].amax(dim=0)
    factor = CANVAS / float((high - low).max())
    canvas = Image.new("RGB", tuple(round(side * factor) + 2 * BORDER for side in (high - low).tolist()), "white")
    photo = Image.fromarray(np.ascontiguousarray(image.movedim(0, -1).cpu().numpy()))
    photo = photo.resize((round(width * factor), round(height * factor)))
    place = tuple(round(-side * factor) + BORDER for side in low.tolist())
    canvas.paste(Image.blend(photo, Image.new("RGB", photo.size, "white"), PALE), place)
    draw, colours = ImageDraw.Draw(canvas), _spectrum(len(groups))
    for boxes, colour in reversed([*zip(groups, colours, strict=True)]):  # the small ones, which come first, on top
        _draw_group(draw, (boxes - low.repeat(2)) * factor + BORDER, colour)
    return side_by_side([canvas, _legend(captions, colours, canvas.height)], gap=0)


def _spectrum(count: int) -> list[tuple[int, int, int]]:
    """Colours as far from one another as so many can be, and dark enough for white."""
    spectrum = (colorsys.hsv_to_rgb(number / count, 1.0, 0.85) for number in range(count))
    return [tuple(round(channel * 255) for channel in colour) for colour in spectrum]


def _draw_group(draw: ImageDraw.ImageDraw, boxes: Tensor, colour: tuple[int, int, int]) -> None:
    """Boxes [K, 4] in pixels of the picture, and a dot in the centre of the first one."""
    for box in boxes.tolist():
        draw.rectangle(box, outline=colour, width=BORDER)
    x, y = ((boxes[0, :2] + boxes[0, 2:]) / 2).tolist()
    draw.ellipse((x - DOT, y - DOT, x + DOT, y + DOT), fill=colour, outline="white")


def _legend(captions: Sequence[str], colours: Sequence[tuple[int, int, int]], height: int) -> Image.Image:
    """Captions below one another, each behind a patch of its group's colour."""
    font, line = ImageFont.load_default(size=20), 32
    size = (70 + max(round(font.getlength(caption)) for caption in captions), max(height, line * (len(captions) + 1)))
    legend = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(legend)
    for number, (caption, colour) in enumerate(zip(captions, colours, strict=True)):
        y = line * number + line // 2
        draw.rectangle((16, y, 40, y + 20), fill=colour)
        draw.text((52, y - 2), caption, fill="black", font=font)
    return legend
