"""Make MODEL_ZOO.md and its picture from the catalogue and the cards in references/cards.

    python references/make_model_zoo.py
    python references/make_model_zoo.py --check

Cards are written by references/evaluate.py (card=), references/benchmark.py and references/ablation.py (--card) and
tests/origins/report.py. With --check nothing is written: what differs is printed, and the exit status is 1.
"""

import argparse
import difflib
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from model_zoo import exports, members, picture, pretrained, speed, trained

from detzoo.engine.cards import Card, read_cards
from detzoo.files import write_text

ROOT = Path(__file__).parents[1]
CARDS = ROOT / "references" / "cards"
INTRODUCTION = """# Model zoo

Made by `python references/make_model_zoo.py` from the catalogue of detzoo and the cards in `references/cards`: change
those, not this file.

Four kinds of number never share a column: what the origin publishes, what was verified equal to the origin's
implementation, what was measured here, what was trained here. A number nobody measured is a dash.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; say what differs")
    options = parser.parse_args(arguments)
    try:
        files = made(read_cards(CARDS))
    except ValueError as error:
        parser.error(str(error))
    if options.check:
        lines = [line for name, text in files.items() for line in differences(name, text)]
        sys.stdout.writelines(lines)
        return int(bool(lines))
    for name, text in files.items():
        write_text(ROOT / name, text)
    return 0


def made(cards: Mapping[str, Card]) -> dict[str, str]:
    """What is made of the cards: by its place in the repository, the whole of each file."""
    return {"MODEL_ZOO.md": document(cards), "references/model_zoo.svg": picture.svg(cards)}


def document(cards: Mapping[str, Card]) -> str:
    sections = (
        pretrained.section(cards),
        trained.section(cards),
        trained.ablations(cards),
        speed.section(cards),
        exports.section(cards),
        members.section(cards),
    )
    return "\n".join([INTRODUCTION, *("\n".join([*section, ""]) for section in sections)])


def differences(name: str, text: str) -> Iterator[str]:
    """Lines of a diff between a file as it is and as the cards have it."""
    path = ROOT / name
    there = path.read_text(encoding="utf-8") if path.is_file() else ""
    yield from difflib.unified_diff(
        there.splitlines(keepends=True), text.splitlines(keepends=True), name, f"{name}, made of the cards"
    )


if __name__ == "__main__":
    sys.exit(main())
