"""TensorFlow's checkpoints (V2): a table of entries (prefix.index), and their numbers (prefix.data-00000-of-00001).

Source: tensorflow/core/protobuf/tensor_bundle.proto. BundleHeaderProto, under the empty key: num_shards = 1,
endianness = 2. BundleEntryProto, under a variable's name: dtype = 1, shape = 2, shard_id = 3, offset = 4, size = 5,
slices = 7.
"""

import math
import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .protobuf import Field, Message, integer, last, message
from .source import AGAIN, Source
from .tensorflow_table import read_table
from .tensorflow_types import DTYPES, shape_of, unreadable

_SHARD = re.compile(r"(.+)\.data-\d{5}-of-\d{5}")
MOST_SHARDS = 1000


def index_of(path: Path) -> Path | None:
    """The index of the bundle that a path may mean: its prefix, its index or one of its data files; None for others."""
    if match := _SHARD.fullmatch(path.name):
        path = path.with_name(match[1])
    elif path.is_file():
        return None  # the index itself is known by its bytes
    index = path.with_name(f"{path.name}.index")
    if match and not index.is_file():
        raise ValueError(f"this is data of a TensorFlow checkpoint: its index {index.name} is expected beside it")
    return index if index.is_file() else None


def read_bundle(source: Source) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The variables, and the metadata (see `Container`)."""
    if source.path.suffix != ".index":
        raise ValueError(f"the index of a TensorFlow checkpoint is called PREFIX.index: rename {source.path.name}")
    entries = read_table(source)
    count = _shards(source, next(entries, None))
    tensors: dict[str, Tensor] = {}
    skipped: dict[str, str] = {}
    with ExitStack() as stack:
        shards = _Shards(source.path.with_suffix(""), count, stack)
        for key, start, end in entries:
            if key.startswith(b"\0"):  # a part of a tensor that is in `skipped`
                continue
            name, found = key.decode("utf-8"), message(source, Field(0, 2, 0, start, end))
            if reason := _unreadable(found):
                skipped[name] = reason
            else:
                tensors[name] = shards.tensor(name, found, shape_of(source, last(found, 2)))
    return tensors, {"format": "tensorflow bundle", "shards": count, "skipped": skipped}


def _shards(source: Source, header: tuple[bytes, int, int] | None) -> int:
    """How many data files there are."""
    if header is None or header[0] != b"":
        raise ValueError("a table without the header of a TensorFlow checkpoint: expected the .index of a checkpoint")
    found = message(source, Field(0, 2, 0, *header[1:]))
    if (first := last(found, 1)) and first.wire == 2:
        raise ValueError("a TensorFlow checkpoint of version 1: expected version 2, with an .index; save it anew")
    if integer(found, 2):
        raise ValueError("its numbers are in big-endian byte order: expected little; save it again on another machine")
    count = integer(found, 1)
    if not 1 <= count <= MOST_SHARDS:
        raise ValueError(f"a TensorFlow checkpoint of {count} data files: {AGAIN}")
    return count


def _unreadable(found: Message) -> str | None:
    if 7 in found:
        return "in parts (a partitioned variable)"
    dtype = integer(found, 1)
    return None if dtype in DTYPES else unreadable(dtype)


class _Shards:
    """The data files, opened when they are needed."""

    def __init__(self, prefix: Path, count: int, stack: ExitStack) -> None:
        self.prefix, self.count, self.stack = prefix, count, stack
        self.open: dict[int, Source] = {}

    def tensor(self, name: str, found: Message, shape: tuple[int, ...]) -> Tensor:
        dtype, number = DTYPES[integer(found, 1)], integer(found, 3)
        size, expected = integer(found, 5), math.prod(shape) * dtype.itemsize
        if size != expected:
            raise ValueError(f"tensor {name!r} has {size} bytes, its shape {shape} of {dtype} {expected}: {AGAIN}")
        if size == 0:
            return torch.empty(shape, dtype=dtype)
        values = self._shard(number).numbers(integer(found, 4), math.prod(shape), dtype, f"tensor {name!r}")
        return values.reshape(shape)

    def _shard(self, number: int) -> Source:
        if not 0 <= number < self.count:
            raise ValueError(f"a tensor in data file {number} of {self.count}: {AGAIN}")
        if number not in self.open:
            path = self.prefix.with_name(f"{self.prefix.name}.data-{number:05}-of-{self.count:05}")
            if not path.is_file() or path.stat().st_size == 0:
                raise ValueError(f"its numbers are expected in {path.name} beside it, which is missing or empty")
            self.open[number] = self.stack.enter_context(Source(path))
        return self.open[number]
