"""Numbers and tables in Markdown. What nobody measured is a dash."""

from collections.abc import Iterable, Mapping, Sequence

from detzoo.engine.cards import Card
from detzoo.engine.made import Machine, Made

DASH = "-"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A line for the head, one that makes it a head, one for each row; empty cells are dashes."""
    lines = [_line(head), "|" + "---|" * len(head)]
    for row in rows:
        assert len(row) == len(head), (head, row)
        lines.append(_line([cell or DASH for cell in row]))
    return lines


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def of_kind(cards: Mapping[str, Card], kind: type) -> dict[str, Card]:
    return {name: card for name, card in cards.items() if type(card) is kind}


def code(text: str | None) -> str:
    return f"`{text}`" if text else DASH


def fraction(value: float | None) -> str:
    """As papers write AP of 1: .478."""
    return DASH if value is None else f"{value:.3f}".removeprefix("0")


def number(value: float | None, digits: int) -> str:
    return DASH if value is None else f"{value:,.{digits}f}"


def small(value: float | None) -> str:
    """A difference: one digit and its power of ten."""
    return DASH if value is None else f"{value:.0e}" if value else "0"


def where(made: Made) -> str:
    """Machine, versions and date of a card in one line."""
    versions = ", ".join(f"{name} {version}" for name, version in (made.versions or {}).items())
    parts = [None if made.machine is None else machine(made.machine), versions, made.date, commit(made.commit)]
    return "; ".join(part for part in parts if part)


def machine(of: Machine) -> str:
    parts = [
        of.gpu,
        counted(of.cores, "core"),
        of.processor,
        counted(of.threads, "thread"),
        f"{of.memory:g} GB" if of.memory else None,
    ]
    return ", ".join(part for part in parts if part)


def counted(count: int | None, what: str) -> str:
    return f"{count} {what}{'s' * (count > 1)}" if count else ""


def commit(name: str | None) -> str | None:
    """Short, as git shows it; with what says that files differed from it."""
    if name is None:
        return None
    digits, _, rest = name.partition("-")
    return f"commit {digits[:10]}{' and changes' if rest else ''}"
