"""Types and shapes as TensorFlow writes them.

Sources: tensorflow/core/framework/types.proto, tensor_shape.proto.
"""

import torch

from .protobuf import Field, integer, message
from .source import AGAIN, Source

DTYPES = {
    1: torch.float32,
    2: torch.float64,
    3: torch.int32,
    4: torch.uint8,
    5: torch.int16,
    6: torch.int8,
    9: torch.int64,
    10: torch.bool,
    14: torch.bfloat16,
    19: torch.float16,
}
OTHERS = {7: "string", 8: "complex64", 11: "qint8", 12: "quint8", 13: "qint32", 18: "complex128", 20: "resource"}


def unreadable(number: int) -> str:
    """What to say of a tensor of a type that is not in `DTYPES`."""
    return f"of type {OTHERS.get(number, number)}"


def shape_of(source: Source, field: Field | None) -> tuple[int, ...]:
    """A TensorShapeProto: dim = 2 with size = 1."""
    if field is None:
        return ()
    found = message(source, field)
    shape = tuple(integer(message(source, dim), 1) for dim in found.get(2, []))
    if integer(found, 3) or min(shape, default=0) < 0:
        raise ValueError(f"a tensor of unknown shape {shape}: expected numbers; {AGAIN}")
    return shape
