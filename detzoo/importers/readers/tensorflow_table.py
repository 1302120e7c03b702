"""Sorted tables of keys and values, as LevelDB and TensorFlow write them.

A table is a row of blocks. The footer (48 bytes, the last 8 a magic number) points to the index, a block whose values
point to the blocks with the data. A pointer is offset and size as varints; a block is followed by a byte that says how
it is compressed, and a checksum of 4 bytes, which is not looked at. Within a block an entry is three varints (how many
bytes its key shares with the one before, how many follow, how long the value is), key and value; at the end, the places
where keys are written in full, 4 bytes each, and how many these are.

Sources: LevelDB, doc/table_format.md; tensorflow/core/lib/io/format.cc.
"""

from collections.abc import Iterator

from .protobuf import varint
from .source import AGAIN, Source

FOOTER, TRAILER = 48, 5
LARGEST_RATIO = 20  # of all keys, written out, to the file; keys share what they begin with


def read_table(source: Source) -> Iterator[tuple[bytes, int, int]]:
    """Key, start and end of the value, for all entries in the order of the table."""
    end = source.size
    if end < FOOTER:
        raise ValueError(f"a table of {end} bytes, which has no room for its footer of {FOOTER}: {AGAIN}")
    _, position = _pointer(source, end - FOOTER, end)  # of the meta index, which TensorFlow leaves empty
    index, _ = _pointer(source, position, end)
    left = LARGEST_RATIO * source.size + 4096
    for _, start, stop in _entries(source, *index):
        block, _ = _pointer(source, start, stop)
        for entry in _entries(source, *block):
            left -= len(entry[0])
            if left < 0:
                raise ValueError(f"its keys are more than {LARGEST_RATIO} times as long as the file: {AGAIN}")
            yield entry


def _pointer(source: Source, position: int, end: int) -> tuple[tuple[int, int], int]:
    """Start and end of a block, and where the pointer ends."""
    offset, position = varint(source, position, end)
    size, position = varint(source, position, end)
    source.check(offset, size + TRAILER, "a block of its table")
    if source.bytes[offset + size] != 0:
        raise ValueError("a compressed table: expected one as TensorFlow's Saver writes it, which is not; save it anew")
    return (offset, offset + size), position


def _entries(source: Source, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    if end - start < 4:
        raise ValueError(f"an empty block at byte {start} of its table: {AGAIN}")
    restarts = int.from_bytes(source.bytes[end - 4 : end], "little")
    stop = end - 4 - 4 * restarts
    if stop < start:
        raise ValueError(f"a block of {end - start} bytes at byte {start} claims {restarts} restarts: {AGAIN}")
    key, position = b"", start
    while position < stop:
        shared, position = varint(source, position, stop)
        fresh, position = varint(source, position, stop)
        size, position = varint(source, position, stop)
        if shared > len(key) or position + fresh + size > stop:
            raise ValueError(f"an entry at byte {position} of its table reaches beyond its block: {AGAIN}")
        key = key[:shared] + source.bytes[position : position + fresh]
        position += fresh + size
        yield key, position - size, position
