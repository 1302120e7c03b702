"""Accuracy against time as SVG: what origins publish on COCO against what was measured here.

Written by hand, so that equal cards give equal bytes. Readable on light and on dark.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

from detzoo.engine.cards import Card
from detzoo.models import MODELS
from detzoo.models.publishers import COCO_17

from .speed import Timed, timed

WIDTH, HEIGHT = 860, 480
LEFT, RIGHT, TOP, BOTTOM = 70, 250, 50, 60  # margins; engines are listed on the right
LINE = 16  # pixels between two lines of text
TICKS = (1, 2, 5)  # of a decade
SHAPES = ("circle", "square", "diamond", "triangle")
LIGHT = ("#0969da", "#bc4c00", "#1a7f37", "#8250df", "#bf3989", "#6e7781")  # of engines, in turn
DARK = ("#58a6ff", "#ffa657", "#56d364", "#d2a8ff", "#ff9bce", "#9198a1")
LETTER = 6.2  # pixels of a letter at the most, in the mean


def _style(ink: str, paper: str, faint: str, colours: Sequence[str]) -> str:
    """Rules for one scheme. No variables: not every program that draws SVG knows them."""
    rules = [f"text {{ fill: {ink} }}", f".paper {{ fill: {paper} }}", f".line {{ stroke: {faint}; fill: none }}"]
    return " ".join([*rules, *(f".c{number} {{ fill: {colour} }}" for number, colour in enumerate(colours))])


STYLE = f"""
text {{ font: 12px sans-serif }} {_style("#1f2328", "#ffffff", "#d0d7de", LIGHT)}
@media (prefers-color-scheme: dark) {{ {_style("#e6edf3", "#0d1117", "#3d444d", DARK)} }}
"""


class Point(NamedTuple):
    """A model in an engine: milliseconds an image, published AP in percent."""

    model: str
    engine: str
    ms: float
    ap: float


def points(cards: Mapping[str, Card]) -> list[Point]:
    """Models whose default weights have a number on COCO val2017, one image at a time; the fastest of each engine."""
    found: dict[tuple[str, str], Point] = {}
    for each in timed(cards):
        ap = published(each.row.model)
        if each.row.batch != 1 or ap is None:
            continue
        point = Point(each.row.model, engine(each), each.row.ms_per_image, ap)
        key = point.model, point.engine
        found[key] = min(point, found.get(key, point), key=lambda point: point.ms)
    return sorted(found.values())


def published(model: str) -> float | None:
    """AP of the default weights on COCO val2017; other protocols are other numbers."""
    weights = MODELS[model].weights if model in MODELS else None
    return None if weights is None else weights["DEFAULT"].meta["metrics"].get(COCO_17, {}).get("AP")


def engine(each: Timed) -> str:
    where = f", {each.gpu}" if each.gpu else ""
    return f"{each.row.backend} {each.row.precision}{where}"


def svg(cards: Mapping[str, Card]) -> str:
    """The whole file."""
    found = points(cards)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        "<title>Published AP on COCO val2017 against milliseconds an image, measured here</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}"/>',
        *(_drawing(found) if found else [_text(WIDTH / 2, HEIGHT / 2, "no model is timed yet", "middle")]),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


class Frame(NamedTuple):
    """What the axes show: milliseconds, logarithmic, and AP."""

    ms: tuple[float, float]
    ap: tuple[float, float]

    @classmethod
    def around(cls, found: Sequence[Point]) -> "Frame":
        times, scores = [point.ms for point in found], [point.ap for point in found]
        return cls((min(times) / 1.5, max(times) * 1.5), (math.floor(min(scores)) - 1, math.ceil(max(scores)) + 1))

    def x(self, ms: float) -> float:
        low, high = map(math.log, self.ms)
        return LEFT + (math.log(ms) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def y(self, ap: float) -> float:
        low, high = self.ap
        return HEIGHT - BOTTOM - (ap - low) / (high - low) * (HEIGHT - TOP - BOTTOM)


def _drawing(found: Sequence[Point]) -> Iterator[str]:
    frame, engines = Frame.around(found), sorted({point.engine for point in found})
    yield from _axes(frame)
    yield from _labels(frame, found)
    for point in found:
        yield _mark(frame.x(point.ms), frame.y(point.ap), engines.index(point.engine))
    for number, name in enumerate(engines):
        y = TOP + LINE * 1.4 * number
        yield _mark(WIDTH - RIGHT + 24, y, number)
        yield _text(WIDTH - RIGHT + 38, y + 4, name, "start")


def _axes(frame: Frame) -> Iterator[str]:
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    for ms in _ticks(*frame.ms):
        yield _line(frame.x(ms), TOP, frame.x(ms), bottom)
        yield _text(frame.x(ms), bottom + LINE, f"{ms:g}", "middle")
    for ap in range(math.ceil(frame.ap[0]), math.floor(frame.ap[1]) + 1):
        yield _line(LEFT, frame.y(ap), right, frame.y(ap))
        yield _text(LEFT - 8, frame.y(ap) + 4, str(ap), "end")
    yield _text((LEFT + right) / 2, HEIGHT - 20, "milliseconds an image, measured here, one image at a time", "middle")
    # What an engine does to accuracy is another number, which this axis must not seem to show.
    ap = "AP on COCO val2017, published by the origin of the weights; what a lower precision takes from it is not shown"
    yield _text(LEFT - 40, TOP - 22, ap, "start")


def _ticks(low: float, high: float) -> Iterator[float]:
    for decade in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1):
        yield from (tick * 10.0**decade for tick in TICKS if low <= tick * 10.0**decade <= high)


def _labels(frame: Frame, found: Iterable[Point]) -> Iterator[str]:
    """A name for each model above its fastest point; those that would cover one another go up."""
    fastest: dict[str, Point] = {}
    for point in found:
        fastest[point.model] = min(point, fastest.get(point.model, point), key=lambda point: point.ms)
    placed: list[tuple[float, float, str]] = []
    for point in sorted(fastest.values(), key=lambda point: (-point.ap, point.ms)):
        x, y = frame.x(point.ms), frame.y(point.ap) - 10
        while any(_cover((x, y, point.model), other) for other in placed):
            y -= LINE
        placed.append((x, y, point.model))
        yield _text(x - 6, y, point.model, "start")


def _cover(one: tuple[float, float, str], other: tuple[float, float, str]) -> bool:
    """Whether two lines of text, each given by its start, touch."""
    first, second = sorted((one, other))
    return abs(one[1] - other[1]) < LINE and first[0] + LETTER * len(first[2]) > second[0]


def _mark(x: float, y: float, number: int) -> str:
    """Engines differ by shape as well as by colour, for those who cannot tell colours apart."""
    css, shape = f"c{number % len(LIGHT)}", SHAPES[number % len(SHAPES)]
    if shape == "circle":
        return f'<circle class="{css}" cx="{x:.1f}" cy="{y:.1f}" r="5"/>'
    corners = {
        "square": ((-4.5, -4.5), (4.5, -4.5), (4.5, 4.5), (-4.5, 4.5)),
        "diamond": ((0, -6), (6, 0), (0, 6), (-6, 0)),
        "triangle": ((0, -6), (5.5, 4.5), (-5.5, 4.5)),
    }[shape]
    outline = " ".join(f"{x + across:.1f},{y + down:.1f}" for across, down in corners)
    return f'<polygon class="{css}" points="{outline}"/>'


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _line(x: float, y: float, to_x: float, to_y: float) -> str:
    return f'<path class="line" d="M{x:.1f} {y:.1f}L{to_x:.1f} {to_y:.1f}"/>'
