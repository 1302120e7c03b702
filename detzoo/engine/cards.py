"""Cards: numbers that somebody saw, with what made them. One JSON file for each measurement.

A card is refused, by the name of its file, if it lacks a key or has one that is not known; what nobody knows is null.
`MODEL_ZOO.md` is generated from the cards in references/cards, by references/make_model_zoo.py.
"""

import json
import typing
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from ..files import write_text
from ..lookup import fits, suggest
from .card_kinds import KINDS, Card


def write_card(path: str | Path, card: Card) -> None:
    """Write a card in one piece.

    Raises:
        ValueError: for a card that `read_card` would refuse; nothing is written then.
    """
    kind = next(kind for kind, cls in KINDS.items() if type(card) is cls)
    try:
        text = json.dumps({"kind": kind, **asdict(card)}, indent=2, allow_nan=False)
    except ValueError as error:
        raise ValueError(f"{path}: {error}: a number that is none is None in a card") from error
    parse_card(json.loads(text), path)
    write_text(path, text + "\n")


def read_cards(folder: str | Path) -> dict[str, Card]:
    """All cards of a folder and those in it, by their path there without `.json`, in the order of these.

    Raises:
        ValueError: naming the first file that is no card, and all that is wrong with it.
    """
    folder = Path(folder)
    paths = {path.relative_to(folder).with_suffix("").as_posix(): path for path in folder.rglob("*.json")}
    return {name: read_card(paths[name]) for name in sorted(paths)}


def read_card(path: str | Path) -> Card:
    """One card; the log that it names has to be there.

    Raises:
        ValueError: naming the file and all that is wrong with it.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no card: it is no JSON ({error})") from error
    card = parse_card(content, path)
    log = card.made.log if hasattr(card, "made") else None
    if log is not None and not (path.parent / log).is_file():
        raise ValueError(f"{path} names the log {log!r}, which is not there: expected it beside the card, or null")
    return card


def parse_card(content: Any, path: str | Path) -> Card:
    """A card from plain data.

    Raises:
        ValueError: naming the file and all that is wrong with it.
    """
    if not isinstance(content, Mapping) or not isinstance(content.get("kind"), str):
        raise ValueError(f"{path} is no card: expected a mapping with a 'kind', one of {', '.join(KINDS)}")
    kind = content["kind"]
    if kind not in KINDS:
        raise ValueError(f"{path} is no card: unknown kind {kind!r}: {suggest(kind, KINDS)}")
    problems: list[str] = []
    card = _built(KINDS[kind], {key: value for key, value in content.items() if key != "kind"}, kind, problems)
    if problems:
        raise ValueError("\n  - ".join([f"{path} is no card:", *problems]))
    return card


def _built(cls: type, values: Any, what: str, problems: list[str]) -> Any:
    """A dataclass from a mapping; None, and all that is wrong added to the list, if it does not fit."""
    if not isinstance(values, Mapping):
        problems.append(f"{what} is {values!r}: expected a mapping")
        return None
    found: list[str] = []
    hints = typing.get_type_hints(cls)
    found += [f"{what} has no key {name!r}: {suggest(name, hints)}" for name in values if name not in hints]
    found += [f"{what} lacks the key {name!r}" for name in hints if name not in values]
    built = {name: _value(hints[name], values[name], f"{what}.{name}", found) for name in hints if name in values}
    problems += found
    return None if found else cls(**built)


def _value(hint: Any, value: Any, what: str, problems: list[str]) -> Any:
    """A field's value, with the dataclasses in it built."""
    inner = next((option for option in (hint, *typing.get_args(hint)) if is_dataclass(option)), None)
    if typing.get_origin(hint) is tuple and isinstance(value, list):
        if inner is not None:
            return tuple(_built(inner, item, f"{what}[{number}]", problems) for number, item in enumerate(value))
        value = tuple(value)
    elif inner is not None and isinstance(value, Mapping) and typing.get_origin(hint) is not tuple:
        return _built(inner, value, what, problems)
    if not fits(value, hint):
        expected = hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else hint
        problems.append(f"{what} = {value!r} ({type(value).__name__}): expected {expected}")
    return value
