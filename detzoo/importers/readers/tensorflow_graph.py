"""TensorFlow's frozen graphs (.pb): nodes, some of which are constants with the weights.

Sources: tensorflow/core/framework/graph.proto, node_def.proto, attr_value.proto, tensor.proto. GraphDef: node = 1.
NodeDef: name = 1, op = 2, attr = 5, a map with key = 1, value = 2. AttrValue: tensor = 8. TensorProto: dtype = 1,
tensor_shape = 2, tensor_content = 4, and for other ways to write the numbers the fields of `_LISTS`.
"""

import math
from collections import Counter
from typing import Any

import torch
from torch import Tensor

from .protobuf import Field, Message, fields, integer, last, message, numbers, text, varints
from .source import AGAIN, Source
from .tensorflow_types import DTYPES, shape_of, unreadable

# By type the field of numbers that are written one by one. 16-bit floats are there as the integers of their bits.
_LISTS = {
    torch.float32: 5,
    torch.float64: 6,
    torch.int32: 7,
    torch.uint8: 7,
    torch.int16: 7,
    torch.int8: 7,
    torch.int64: 10,
    torch.bool: 11,
    torch.float16: 13,
    torch.bfloat16: 13,
}
# A constant may say one number for all its elements. Weights are written out: all such of a graph are small together.
LARGEST_FILL = 1 << 22


def read_graph(source: Source) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The constants, and the metadata (see `Container`)."""
    constants = _Constants(source)
    ops: Counter[str] = Counter()
    inputs = []
    for field in fields(source, 0, source.size):
        if field.number != 1:
            continue
        node = message(source, field)
        name, op = text(source, last(node, 1)), text(source, last(node, 2))
        ops[op] += 1
        if op == "Placeholder":
            inputs.append(name)
        elif op == "Const":
            constants.read(node, name)
    metadata = {"format": "tensorflow graph", "ops": dict(ops), "inputs": inputs, "skipped": constants.skipped}
    return constants.tensors, metadata


class _Constants:
    """The constants of a graph: read ones, and why others were not."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.tensors: dict[str, Tensor] = {}
        self.skipped: dict[str, str] = {}
        self.left = LARGEST_FILL

    def read(self, node: Message, name: str) -> None:
        """Add the constant that this node is."""
        if name in self.tensors:
            raise ValueError(f"two constants are called {name!r}: {AGAIN}")
        attributes = (message(self.source, field) for field in node.get(5, []))
        value = next((attribute for attribute in attributes if _key(self.source, attribute) == "value"), {})
        inner = message(self.source, value[2][-1]) if 2 in value else {}
        if 8 not in inner:
            raise ValueError(f"constant {name!r} has no value: {AGAIN}")
        found = message(self.source, inner[8][-1])
        dtype = integer(found, 1)
        if dtype in DTYPES:
            self.tensors[name] = self._tensor(found, DTYPES[dtype], name)
        else:
            self.skipped[name] = unreadable(dtype)

    def _tensor(self, found: Message, dtype: torch.dtype, name: str) -> Tensor:
        shape = shape_of(self.source, last(found, 2))
        count = math.prod(shape)
        content = last(found, 4)
        if content and content.end > content.start:
            values = numbers(self.source, [content], dtype, f"constant {name!r}")
        else:
            values = _listed(self.source, found.get(_LISTS[dtype], []), dtype, name)
            values = self._filled(values, count, name)
        if len(values) != count:
            raise ValueError(f"constant {name!r} of shape {shape} has {len(values)} numbers: {AGAIN}")
        return values.reshape(shape)

    def _filled(self, values: Tensor, count: int, name: str) -> Tensor:
        """Where numbers are missing, the last one is meant, or zero where there is none at all."""
        missing = count - len(values)
        if missing <= 0:
            return values
        self.left -= missing
        if self.left < 0:
            raise ValueError(
                f"constant {name!r} of {count} numbers has {len(values)} in the file, and in all more than "
                f"{LARGEST_FILL} are missing: {AGAIN}"
            )
        fill = values[-1:] if len(values) else torch.zeros(1, dtype=values.dtype)
        return torch.cat([values, fill.expand(missing)])


def _key(source: Source, attribute: Message) -> str:
    return text(source, last(attribute, 1))


def _listed(source: Source, found: list[Field], dtype: torch.dtype, name: str) -> Tensor:
    if dtype in (torch.float32, torch.float64):
        return numbers(source, found, dtype, f"constant {name!r}")
    values = varints(source, found)
    if dtype in (torch.float16, torch.bfloat16):
        return torch.tensor([value & 0xFFFF for value in values], dtype=torch.int32).to(torch.int16).view(dtype)
    return torch.tensor(values, dtype=torch.int64).to(dtype)
