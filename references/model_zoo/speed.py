"""How long an image takes: every member of the zoo in short, then each run of a benchmark whole."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from detzoo.engine.card_kinds import Costs, Speed, SpeedRow
from detzoo.engine.cards import Card
from detzoo.models import MODELS

from .tables import DASH, code, number, of_kind, table, where

WHOLE = ("inference", "members")  # the subjects of references/benchmark.py that time whole detectors
HEAD = (
    "model", "engine", "precision", "batch", "threads", "ms an image", "times as fast", "as", "same detections",
    "candidates an image",
)  # fmt: skip
EAGER = ("eager", "float32")


class Timed(NamedTuple):
    """A row of a card, and on which GPU, if on one."""

    row: SpeedRow
    gpu: str | None


def section(cards: Mapping[str, Card]) -> list[str]:
    speeds, costs = of_kind(cards, Speed), of_kind(cards, Costs)
    lines = ["## Speed", ""]
    if not speeds:
        lines += ["No card yet."]
    else:
        lines += ["![accuracy against time](references/model_zoo.svg)", "", *_summary(timed(cards))]
    for name, card in {**speeds, **costs}.items():
        lines += ["", f"### {name.rpartition('/')[2]}", "", *_whole(card)]
    return lines


def timed(cards: Mapping[str, Card]) -> list[Timed]:
    """All rows of whole detectors."""
    found = of_kind(cards, Speed).values()
    return [Timed(row, _gpu(card)) for card in found if card.subject in WHOLE for row in card.rows]


def _gpu(card: Speed) -> str | None:
    return card.made.machine.gpu if card.made.machine else None


def _summary(rows: list[Timed]) -> list[str]:
    """One line for each member: batch 1, the fastest that was seen of each form."""
    forms: dict[str, Callable[[Timed], bool]] = {
        "torchvision, CPU": lambda each: each.gpu is None and each.row.backend == "torchvision",
        "eager float32, CPU": lambda each: each.gpu is None and (each.row.backend, each.row.precision) == EAGER,
        "fastest, CPU": lambda each: each.gpu is None and each.row.backend != "torchvision",
        "torchvision, GPU": lambda each: each.gpu is not None and each.row.backend == "torchvision",
        "fastest, GPU": lambda each: each.gpu is not None and each.row.backend != "torchvision",
    }
    single = [each for each in rows if each.row.batch == 1]
    lines = []
    for model in MODELS:
        mine = [each for each in single if each.row.model == model]
        lines.append((code(model), *(_fastest(filter(wanted, mine), name) for name, wanted in forms.items())))
    return ["Milliseconds an image, one image at a time, from bytes to boxes:", "", *table(("model", *forms), lines)]


def _fastest(rows: Iterable[Timed], form: str) -> str:
    best = min(rows, key=lambda each: each.row.ms_per_image, default=None)
    if best is None:
        return DASH
    what = f", {best.row.backend} {best.row.precision}" if form.startswith("fastest") else ""
    return f"{number(best.row.ms_per_image, 1)}{what}"


SAME = (
    "Detections are the same where label, box (0.01 pixel) and score (0.0001) are those of the first row; fewer bits "
    "do not give them, and are judged by AP (`detzoo benchmark`)."
)


def _whole(card: Speed | Costs) -> Iterator[str]:
    yield f"{where(card.made)}. Inside the clock: {card.clock}"
    yield from ("", "```", card.made.command or "", "```", "")
    if isinstance(card, Speed):
        if any(row.same is not None for row in card.rows):
            yield from (SAME, "")
        yield from table(HEAD, (_row(row) for row in card.rows))
    else:
        columns = list(dict.fromkeys(what for row in card.rows for what in row.numbers))
        rows = ((row.name, *(number(row.numbers.get(what), 2) for what in columns)) for row in card.rows)
        yield from table(("", *columns), rows)


def _row(row: SpeedRow) -> tuple[str, ...]:
    return (
        code(row.model),
        row.backend,
        row.precision,
        str(row.batch),
        str(row.threads or ""),
        number(row.ms_per_image, 2),
        number(row.ratio, 2),
        row.baseline or "",
        "" if row.same is None else f"{100 * row.same:.1f} %",
        number(row.candidates_per_image, 0),
    )
