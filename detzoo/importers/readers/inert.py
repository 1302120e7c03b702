"""What a pickle asks for, as records: nothing that it names is ever looked up.

None of them is a container, so that no opcode can take one for the other.
"""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch


@dataclass(frozen=True)
class Global:
    """The full name of a class or function."""

    name: str


@dataclass(frozen=True)
class Storage:
    """Numbers in a file: their type, the key of the record, how many the record has; a part of it, first and count."""

    dtype: torch.dtype
    key: str
    total: int
    first: int
    count: int


class TensorRecord:
    """A tensor: where its numbers are, and how it steps through them. Equal to itself only: it may be a dict's key."""

    def __init__(self, storage: Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> None:
        self.storage, self.offset, self.size, self.stride = storage, offset, size, stride


class Array:
    """A NumPy array: shape, dtype, memory order and bytes arrive after it was made."""

    shape: tuple[int, ...] = ()
    dtype: np.dtype | None = None
    fortran = False
    raw: Any = b""


class DataType:
    """A NumPy dtype, whose byte order arrives after it was made."""

    def __init__(self, code: str) -> None:
        self.code, self.order = code, "<"

    def numpy(self) -> np.dtype:
        if not re.fullmatch(r"[biufSU]\d{1,4}", self.code) or self.order not in "<>|=":
            raise ValueError(f"a NumPy array of {self.order}{self.code}: expected numbers or text")
        return np.dtype(f"{self.order}{self.code}")


class Inert:
    """An object whose class was not loaded: its class, and whatever the pickle would have given it."""

    def __init__(self, name: str, args: tuple[Any, ...]) -> None:
        self.name, self.args = name, args
        self.state: Any = None
        self.items: dict[Any, Any] = {}
        self.values: list[Any] = []
