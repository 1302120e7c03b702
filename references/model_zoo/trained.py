"""What was trained here, and what each part was worth in it."""

from collections.abc import Iterator, Mapping
from statistics import mean

from detzoo.engine.card_kinds import Ablation, Data, Trained, Training
from detzoo.engine.cards import Card

from .tables import code, counted, fraction, of_kind, table, where

CARDS = "references/cards"
SHOWN = 2  # of the numbers that a metric gives
INTRODUCTION = """
From scratch: the best of the evaluated epochs, on the images that chose it. What was learnt from these runs:
[references/README.md](references/README.md). Minutes are those of the epochs alone, where nothing else ran.
"""
HEAD = (
    "model", "trained on", "epochs", "precision", "minutes", "measured on", "suppression", "metric", "command", "log"
)  # fmt: skip


def section(cards: Mapping[str, Card]) -> list[str]:
    trained = of_kind(cards, Trained)
    if not trained:
        return ["## Trained here", "", "No card yet."]
    # In the order of what is compared: by data set, the best first.
    names = sorted(trained, key=lambda name: (trained[name].data.name, -_score(trained[name]), name))
    return ["## Trained here", INTRODUCTION, *table(HEAD, (_row(name, trained[name]) for name in names))]


def _score(card: Trained) -> float:
    """What a metric gives first, AP or mAP."""
    return next(iter(card.metrics.values()), None) or 0.0


def _row(name: str, card: Trained) -> tuple[str, ...]:
    training = card.training
    return (
        card.model,
        _data(training.data),
        str(training.epochs),
        training.precision or "",
        _minutes(training),
        _data(card.data),
        card.suppression or "",
        ", ".join(f"{name} {fraction(value)}" for name, value in list(card.metrics.items())[:SHOWN]),
        code(training.command),
        f"[log]({CARDS}/{name.rpartition('/')[0]}/{card.made.log})" if card.made.log else "",
    )


def _data(data: Data) -> str:
    words = " ".join(part for part in (data.name, data.split) if part)
    return words if data.images is None else f"{words}, {data.images} images"


def _minutes(training: Training) -> str:
    if training.seconds is None or training.machine is None:
        return ""
    on = training.machine.gpu or counted(training.machine.threads, "thread")
    return f"{training.seconds / 60:.1f}, {on}"


ABLATION_HEAD = ("", "AP", "AP50", "AP to the first", "seconds a step", "overrides")


def ablations(cards: Mapping[str, Card]) -> list[str]:
    found = of_kind(cards, Ablation)
    if not found:
        return ["## Parts", "", "No card yet."]
    lines = ["## Parts", ""]
    for card in found.values():
        lines += [*_ablation(card), ""]
    return lines[:-1]


def _ablation(card: Ablation) -> Iterator[str]:
    seeds = counted(len(card.seeds), "seed")
    yield (
        f"Trained on {_data(card.training.data)}, {card.training.epochs} epochs, measured on {_data(card.data)} after "
        f"the last, {seeds}; {where(card.made)}. Rows without seconds are the first one's weights with another "
        "suppression. What it means: [references/README.md](references/README.md#parts)."
    )
    yield from ("", "```", card.made.command or "", "```", "")
    first = mean(card.rows[0].ap)
    rows = [
        (
            row.name,
            fraction(mean(row.ap)),
            fraction(mean(row.ap50)),
            f"{100 * (mean(row.ap) - first):+.1f}",
            "" if row.step_seconds is None else f"{row.step_seconds:.2f}",
            code(" ".join(row.overrides)),
        )
        for row in card.rows
    ]
    yield from table(ABLATION_HEAD, rows)
