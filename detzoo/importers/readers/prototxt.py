"""Protocol buffers as text, as Caffe's nets are written in.

Source: protobuf.dev, "Text Format Language".
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from .caffe_schema import BY_NAME, ENUMS, Known

LARGEST = 16 << 20  # bytes; nets have some ten thousand lines
DEEPEST = 30
_TOKEN = re.compile(
    r"(?P<skip>[\s,;]+|\#[^\n]*)"
    r"|(?P<mark>[{}<>\[\]:])"
    r"|(?P<text>\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*')"
    r"|(?P<word>[-+.\w/]+)"
)
_CLOSING = {"{": "}", "<": ">"}
_WHOLE = re.compile(r"[-+]?(0[xX][0-9a-fA-F]{1,16}|\d{1,20})")
_NUMBER = re.compile(
    r"[-+]?(0[xX][0-9a-fA-F]{1,16}|\d{1,20}|(\d{1,400}\.?\d{0,400}|\.\d{1,400})([eE][-+]?\d{1,4})?[fF]?)"
)
_TRUTHS = {"true": True, "True": True, "t": True, "1": True, "false": False, "False": False, "f": False, "0": False}
# What is written for a value of a type that is no message; an enum's name, or its number, is a word.
_EXPECTED = {"text": "a text in quotes", "int": "a whole number", "float": "a number", "bool": "true or false"}


class _Token(NamedTuple):
    kind: str
    text: str
    line: int


def read_prototxt(path: str | Path) -> dict[str, Any]:
    """The net that a prototxt describes: messages as dicts, enums as their names.

    Fields that caffe.proto declares as repeated are lists, even of one; so is a field that it does not, or that detzoo
    does not know, if it comes more than once or is written as one. Nothing is filled in: a field that is not written is
    not there.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: naming file and line, for what is no prototxt.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no prototxt at {path}")
    if path.stat().st_size > LARGEST:
        raise ValueError(f"{path} has {path.stat().st_size} bytes: a prototxt of a net has less than {LARGEST}")
    try:
        parser = _Parser(list(_tokens(path.read_text(encoding="utf-8"))))
        return parser.message("Net", None, 0)
    except (ValueError, SyntaxError) as error:
        raise ValueError(f"{path} cannot be read as a prototxt: {error}") from error


def _tokens(content: str) -> Iterator[_Token]:
    position, line = 0, 1
    while position < len(content):
        match = _TOKEN.match(content, position)
        if match is None:
            raise ValueError(f"line {line}: {content[position : position + 30]!r} where a field was expected")
        if match.lastgroup != "skip":
            yield _Token(match.lastgroup or "", match.group(), line)
        line += match.group().count("\n")
        position = match.end()


class _Parser:
    def __init__(self, tokens: list[_Token]) -> None:
        self.tokens, self.position = tokens, 0

    def message(self, kind: str, closing: str | None, depth: int) -> dict[str, Any]:
        """The fields up to a closing mark, or the end of the file; `kind` is the message's type, empty if unknown."""
        if depth > DEEPEST:
            raise ValueError(f"line {self._peek().line}: nested deeper than {DEEPEST} levels")
        known = BY_NAME.get(kind, {})
        found: dict[str, list[Any]] = {}
        listed = set()
        while not self._ends(closing):
            name = self._take("word").text
            values, in_brackets = self._values(known.get(name), depth)
            found.setdefault(name, []).extend(values)
            listed |= {name} if in_brackets else set()
        return {name: _settle(values, known.get(name), name in listed) for name, values in found.items()}

    def _ends(self, closing: str | None) -> bool:
        if self.position == len(self.tokens):
            if closing:
                raise ValueError(f"it ends before {closing!r}: is it complete?")
            return True
        if self._peek().text != closing:
            return False
        self.position += 1
        return True

    def _values(self, known: Known | None, depth: int) -> tuple[list[Any], bool]:
        """What is written behind a field's name, and whether that is in the brackets of a list."""
        if self._peek().text == ":":
            self.position += 1
        if self._peek().text != "[":
            return [self._value(known, depth)], False
        _check(known, known is None or known.repeated, self._peek(), "a list")
        self.position += 1
        values = []
        while not self._ends("]"):
            values.append(self._value(known, depth))
        return values, True

    def _value(self, known: Known | None, depth: int) -> Any:
        token = self._peek()
        if token.text in _CLOSING:
            _check(known, known is None or known.type in BY_NAME, token, "a message in braces")
            self.position += 1
            return self.message(known.type if known else "", _CLOSING[token.text], depth + 1)
        if token.kind == "text":
            _check(known, known is None or known.type == "text", token, token.text)
            return self._text()
        word = self._take("word").text
        return _guessed(word) if known is None else _scalar(word, known, token)

    def _text(self) -> str:
        """Pieces that follow one another are one text."""
        pieces = []
        while self.position < len(self.tokens) and self._peek().kind == "text":
            pieces.append(ast.literal_eval(self._take("text").text))
        return "".join(pieces)

    def _peek(self) -> _Token:
        if self.position == len(self.tokens):
            raise ValueError("it ends within a field: is it complete?")
        return self.tokens[self.position]

    def _take(self, kind: str) -> _Token:
        token = self._peek()
        if token.kind != kind:
            raise ValueError(f"line {token.line}: {token.text!r} where a {kind} was expected")
        self.position += 1
        return token


def _settle(values: list[Any], known: Known | None, listed: bool) -> Any:
    if known is None:
        return values if listed or len(values) != 1 else values[0]
    return values if known.repeated else values[-1]


def _check(known: Known | None, fits: bool, token: _Token, found: str) -> None:
    """Raise a ValueError that names line and field unless what is written there is of the field's type."""
    if known is not None and not fits:
        expected = "a message in braces" if known.type in BY_NAME else _EXPECTED.get(known.type, "a word")
        raise ValueError(f"line {token.line}: {known.name} is {found}, expected {expected}")


def _scalar(word: str, known: Known, token: _Token) -> Any:
    """A word as a value of the field's type."""
    if known.type == "bool":
        _check(known, word in _TRUTHS, token, repr(word))
        return _TRUTHS[word]
    if known.type in ("int", "float"):
        whole = known.type == "int"
        _check(known, bool((_WHOLE if whole else _NUMBER).fullmatch(word)), token, repr(word))
        return _whole(word) if whole else _real(word)
    _check(known, known.type in ENUMS, token, repr(word))
    return ENUMS[known.type].get(_whole(word), word) if _WHOLE.fullmatch(word) else word


def _guessed(word: str) -> Any:
    """A word of a field that nobody knows, as what it looks like."""
    if word in ("true", "false"):
        return word == "true"
    if not _NUMBER.fullmatch(word):
        return word
    return _whole(word) if _WHOLE.fullmatch(word) else _real(word)


def _whole(word: str) -> int:
    return int(word, 0) if "x" in word.lower() else int(word)


def _real(word: str) -> float:
    return float(_whole(word) if _WHOLE.fullmatch(word) else word.rstrip("fF"))
