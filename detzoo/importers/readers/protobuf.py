"""Protocol buffers on the wire: numbered fields, without the classes that give them names.

Source: protobuf.dev, "Encoding".
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from .source import AGAIN, Source

MOST_FIELDS = 200_000  # of one message; a network has some hundred layers or some thousand nodes
LONGEST_TEXT = 1000  # bytes; a name, a type
_FIXED = {1: 8, 5: 4}  # bytes by wire type


class Field(NamedTuple):
    """A field: its number; its wire type; the value of a varint (wire type 0), else 0; the bytes of its content."""

    number: int
    wire: int
    value: int
    start: int
    end: int


Message = dict[int, list[Field]]


def varint(source: Source, position: int, end: int) -> tuple[int, int]:
    """An unsigned number of 7 bits a byte, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= end:
            raise ValueError(f"a number breaks off at byte {position}: {AGAIN}")
        byte = source.bytes[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (2**64 - 1), position
    raise ValueError(f"a number of more than ten bytes at byte {position - 10}: {AGAIN}")


def signed(value: int) -> int:
    """A varint of the types int32 and int64: two's complement in 64 bits."""
    return value - 2**64 if value >= 2**63 else value


def fields(source: Source, start: int, end: int) -> Iterator[Field]:
    """The fields of the message in these bytes, in the order of the file.

    Raises:
        ValueError: for a field that reaches beyond the message, and for what is no message.
    """
    position = start
    for _ in range(MOST_FIELDS):
        if position >= end:
            return
        begin = position
        tag, position = varint(source, position, end)
        number, wire, value = tag >> 3, tag & 7, 0
        content = position
        if wire == 0:
            value, position = varint(source, position, end)
        elif wire == 2:
            length, content = varint(source, position, end)
            position = content + length
        elif wire in _FIXED:
            position += _FIXED[wire]
        if number == 0 or wire not in (0, 1, 2, 5):
            raise ValueError(f"no protocol buffer at byte {begin} (field {number}, wire type {wire}): {AGAIN}")
        if position > end:
            raise ValueError(
                f"field {number} at byte {begin} claims {position - content} bytes, {end - content} are left: {AGAIN}"
            )
        yield Field(number, wire, value, content, position)
    raise ValueError(f"more than {MOST_FIELDS} fields in one message at byte {start}: this is no network")


def message(source: Source, field: Field) -> Message:
    """The fields of a nested message by number."""
    if field.wire != 2:
        raise ValueError(f"field {field.number} at byte {field.start} is no message: {AGAIN}")
    found: Message = {}
    for inner in fields(source, field.start, field.end):
        found.setdefault(inner.number, []).append(inner)
    return found


def last(found: Message, number: int) -> Field | None:
    """The field of this number that counts: the last one."""
    return found[number][-1] if number in found else None


def integer(found: Message, number: int, default: int = 0) -> int:
    """The number in a field of a type that is a varint."""
    field = last(found, number)
    return default if field is None else signed(field.value)


def text(source: Source, field: Field | None) -> str:
    """The text in a field, empty without the field."""
    if field is None:
        return ""
    if field.wire != 2:
        raise ValueError(f"field {field.number} at byte {field.start} is no text: {AGAIN}")
    if field.end - field.start > LONGEST_TEXT:
        raise ValueError(f"a name of {field.end - field.start} bytes at byte {field.start}: {AGAIN}")
    return source.bytes[field.start : field.end].decode("utf-8")


def varints(source: Source, found: list[Field]) -> list[int]:
    """The numbers of a repeated field, packed or not."""
    values = []
    for field in found:
        if field.wire == 0:
            values.append(signed(field.value))
            continue
        position = field.start
        while position < field.end:
            value, position = varint(source, position, field.end)
            values.append(signed(value))
    return values


def numbers(source: Source, found: list[Field], dtype: torch.dtype, what: str) -> Tensor:
    """The fixed-size numbers of a repeated field, packed or not: [n]."""
    pieces = []
    for field in found:
        count, rest = divmod(field.end - field.start, dtype.itemsize)
        if rest or field.wire == 0:
            raise ValueError(
                f"{what} is {field.end - field.start} bytes long, no multiple of {dtype.itemsize}: {AGAIN}"
            )
        pieces.append(source.numbers(field.start, count, dtype, what))
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces or [torch.empty(0, dtype=dtype)])
