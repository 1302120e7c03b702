"""What others have published: their number, whose it is, its licence, and how far its origin's code is from ours."""

from collections.abc import Iterator, Mapping

from detzoo.engine.card_kinds import Measured, Parity, ParityRow
from detzoo.engine.cards import Card
from detzoo.models import MODELS
from detzoo.models.weights import WeightsEnum

from .tables import DASH, code, fraction, of_kind, small, table, where

INTRODUCTION = """
Numbers *published by the origin* are its own, by its protocol. *Measured here* are those of the files themselves, where
somebody had them. *Verified* is the architecture: with random weights and batch statistics detzoo gives the raw outputs
(largest difference, relative to the largest output) and detections (largest differences in pixels of the picture and in
score; the same number of boxes, the same labels) that the origin's own code gives for a JPEG file, from its resizing to
its suppression; of torchvision's models for a made picture of the network's size. Files of one architecture share these
differences. How files are read, and which are known and cannot be:
[references/IMPORTING.md](references/IMPORTING.md). Addresses that are pages for people have to be opened by one; the
error says from where, and where to put the file. `detzoo list` prints the first columns, `detzoo show MODEL` the
addresses too.
"""
HEAD = (
    "model", "weights", "origin", "published by the origin", "measured here", "licence", "state",
    "verified: raw outputs", "boxes, pixels", "scores",
)  # fmt: skip


def section(cards: Mapping[str, Card]) -> list[str]:
    """The catalogue, then what was verified and has no file in it."""
    parity = list(of_kind(cards, Parity).values())
    seen = {row.golden: row for card in parity for row in card.rows}
    measured = {(card.model, card.weights): card for card in of_kind(cards, Measured).values()}
    members = [(model, member) for model, entry in MODELS.items() for member in entry.weights or ()]
    rows = [_row(model, member, measured.get((model, member.name)), seen) for model, member in members]
    made = [f"Verified with {where(card.made)}, by {code(card.made.command)}." for card in parity]
    used = {golden_of(model, member) for model, member in members}
    return [
        "## Pretrained",
        INTRODUCTION,
        *(made or ["Nothing is verified: there is no card of that kind."]),
        "",
        *table(HEAD, rows),
        "",
        "Verified as well, without a published file in the catalogue:",
        "",
        *table(("architecture", *HEAD[-3:]), ((name, *_cells(row)) for name, row in seen.items() if name not in used)),
    ]


def golden_of(model: str, member: WeightsEnum) -> str | None:
    """The row of the card of parity that is about a published file."""
    return f"torchvision-{model}" if member.meta["origin"] == "torchvision" else member.meta.get("golden")


def _row(model: str, member: WeightsEnum, measured: Measured | None, seen: Mapping[str, ParityRow]) -> tuple[str, ...]:
    card = member.meta
    row = seen.get(golden_of(model, member))
    return (
        code(model),
        f"[`{member.name}`]({member.url}){' (gone)' if card.get('gone') else ''}",
        card["origin"],
        ", ".join(_published(card["metrics"])),
        DASH if measured is None else _measured(measured),
        card["licence"] or "none stated",
        card["state"],
        *_cells(row),
    )


def _published(metrics: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    for data, values in metrics.items():
        yield from (f"{value} {metric} ({data})" for metric, value in values.items())


def _measured(card: Measured) -> str:
    first = next(iter(card.metrics))  # AP or mAP: what a metric gives first
    data = " ".join(part for part in (card.data.name, card.data.split) if part)
    return f"{fraction(card.metrics[first])} {first} ({data}, {card.data.images} images)"


def _cells(row: ParityRow | None) -> tuple[str, str, str]:
    if row is None:
        return DASH, DASH, DASH
    return small(max(row.logits, row.deltas)), small(row.boxes), small(row.scores)
