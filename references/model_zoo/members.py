"""Every member of the zoo in numbers, counted when MODEL_ZOO.md is made; and beside what origins say of the same."""

from collections.abc import Mapping

from detzoo.engine.card_kinds import OriginRow, Origins
from detzoo.engine.cards import Card
from detzoo.models import MODELS
from detzoo.show import ModelFacts, describe_model, open_model

from .tables import code, of_kind, table

INTRODUCTION = """
Multiply-adds are counted at the model's input. `ssdlite320_timm` is counted with the trunk of its preset.
"""
HEAD = ("model", "input", "classes with background", "default boxes", "parameters", "GMACs", "published weights")
ORIGINS = """
The same models at the number of classes of an origin, counted here beside what its code or paper comes to:
"""


def section(cards: Mapping[str, Card]) -> list[str]:
    origins = [row for card in of_kind(cards, Origins).values() for row in card.rows]
    rows = [_row(name, describe_model(open_model(name))) for name in MODELS]
    lines = ["## Members", INTRODUCTION, *table(HEAD, rows)]
    if origins:
        head = (
            "model",
            "origin",
            "classes with background",
            "parameters, by the origin's code or paper",
            "counted here",
        )
        lines += [ORIGINS, *table(head, map(_origin_row, origins))]
    return lines


def _row(name: str, facts: ModelFacts) -> tuple[str, ...]:
    height, width = facts.size
    weights = MODELS[name].weights
    return (
        code(name),
        f"{height}x{width}",
        str(facts.num_classes),
        str(facts.default_boxes),
        f"{facts.total.parameters:,}",
        f"{facts.total.macs / 1e9:.3f}",
        str(len(weights)) if weights else "",
    )


def _origin_row(row: OriginRow) -> tuple[str, ...]:
    return code(row.model), row.origin, str(row.classes), row.parameters, f"{parameters(row.model, row.classes):,}"


def parameters(name: str, classes: int) -> int:
    return sum(each.numel() for each in open_model(name, num_classes=classes).parameters())
