"""Words of strangers, on their way to somebody's terminal."""

import unicodedata


def shown(text: str) -> str:
    """A text without what would control a terminal, in place of which stand question marks; line ends stay."""
    return "".join(letter if _is_harmless(letter) else "?" for letter in text)


def shown_name(name: str) -> str:
    """The same of a name, which has one line."""
    return shown(name).replace("\n", "?")


def _is_harmless(letter: str) -> bool:
    """Blanks that are wider or do not break are no printable letters to Python."""
    return letter.isprintable() or letter == "\n" or unicodedata.category(letter) == "Zs"
