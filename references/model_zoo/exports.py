"""Which members leave PyTorch, and by how much they differ there."""

from collections.abc import Mapping

from detzoo.deploy import TARGETS
from detzoo.deploy.check import STRAY
from detzoo.engine.card_kinds import Export, ExportRow
from detzoo.engine.cards import Card
from detzoo.models import MODELS

from .tables import DASH, code, of_kind, small, table, where

Key = tuple[str, str, str]  # format, level, precision


def section(cards: Mapping[str, Card]) -> list[str]:
    """A line for each member, a column for each format, level and precision of any card."""
    found = list(of_kind(cards, Export).values())
    if not found:
        return ["## Exports", "", "No card yet."]
    cells = {(row.model, _key(row)): _cell(row) for card in found for row in card.rows}
    keys = list(dict.fromkeys(_key(row) for card in found for row in card.rows))
    unseen = [code(to) for to in TARGETS if to not in {to for to, _, _ in keys}]
    rows = [(code(model), *(cells.get((model, key), DASH) for key in keys)) for model in MODELS]
    return [
        "## Exports",
        "",
        "Largest differences from the detector in PyTorch: of raw outputs; of boxes in pixels, and of scores.",
        *(f"{where(card.made)}: {code(card.made.command)}." for card in found),
        *([f"No card yet of {', '.join(unseen)}."] if unseen else []),
        "",
        *table(("model", *(" ".join(key) for key in keys)), rows),
    ]


def _key(row: ExportRow) -> Key:
    return row.to, row.level, row.precision


def _cell(row: ExportRow) -> str:
    """A number that is missing is a dash; what cannot be exported says so."""
    if row.differences is None:
        return "cannot be" if row.problem else DASH
    if "logits" in row.differences:
        return small(max(row.differences["logits"], row.differences["deltas"]))
    others = row.differences.get(STRAY, 0)
    tail = f", {others:.2g} % other detections" if others else ""
    return f"{small(row.differences['boxes'])} px, {small(row.differences['scores'])}{tail}"
