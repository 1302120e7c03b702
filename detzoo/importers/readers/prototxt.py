"""Protocol buffers as text, as Caffe's nets are written in.

Source: protobuf.dev, "Text Format Language".
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from .caffe_schema import BY_NAME, Known

LARGEST = 16 << 20  # bytes; nets have some ten thousand lines
DEEPEST = 30
_TOKEN = re.compile(
    r"(?P<skip>[\s,;]+|\#[^\n]*)"
    r"|(?P<mark>[{}<>\[\]:])"
    r"|(?P<text>\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*')"
    r"|(?P<word>[-+.\w/]+)"
)
_CLOSING = {"{": "}", "<": ">"}
_NUMBER = re.compile(
    r"[-+]?(0[xX][0-9a-fA-F]{1,16}|\d{1,20}|(\d{1,400}\.?\d{0,400}|\.\d{1,400})([eE][-+]?\d{1,4})?[fF]?)"
)


class _Token(NamedTuple):
    kind: str
    text: str
    line: int


def read_prototxt(path: str | Path) -> dict[str, Any]:
    """The net that a prototxt describes: messages as dicts, enums as their names.

    Fields that caffe.proto declares as repeated are lists, even of one; so is a field that it does not, or that detzoo
    does not know, if it comes more than once. Nothing is filled in: a field that is not written is not there.

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
        while not self._ends(closing):
            name = self._take("word").text
            found.setdefault(name, []).extend(self._values(known.get(name), depth))
        return {name: _settle(values, known.get(name)) for name, values in found.items()}

    def _ends(self, closing: str | None) -> bool:
        if self.position == len(self.tokens):
            if closing:
                raise ValueError(f"it ends before {closing!r}: is it complete?")
            return True
        if self._peek().text != closing:
            return False
        self.position += 1
        return True

    def _values(self, known: Known | None, depth: int) -> list[Any]:
        if self._peek().text == ":":
            self.position += 1
        if self._peek().text != "[":
            return [self._value(known, depth)]
        self.position += 1
        values = []
        while not self._ends("]"):
            values.append(self._value(known, depth))
        return values

    def _value(self, known: Known | None, depth: int) -> Any:
        token = self._peek()
        if token.text in _CLOSING:
            self.position += 1
            return self.message(known.type if known else "", _CLOSING[token.text], depth + 1)
        if token.kind == "text":
            return self._text()
        word = self._take("word").text
        if known and known.type in ("int", "float") and not _NUMBER.fullmatch(word):
            raise ValueError(f"line {token.line}: {known.name} is {word!r}, expected a number")
        return _scalar(word, known.type if known else "")

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


def _settle(values: list[Any], known: Known | None) -> Any:
    if known is None:
        return values if len(values) > 1 else values[0] if values else []
    return values if known.repeated else values[-1]


def _scalar(word: str, kind: str) -> Any:
    if word in ("true", "false"):
        return word == "true"
    if not _NUMBER.fullmatch(word):
        return word
    if kind == "float" or not re.fullmatch(r"[-+]?(0[xX][0-9a-fA-F]+|\d+)", word):
        return float(word.rstrip("fF"))
    return int(word, 0) if "x" in word.lower() else int(word)
