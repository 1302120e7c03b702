"""The bytes of a file: looked at in place, never past the end."""

import mmap
from pathlib import Path

import torch
from torch import Tensor

AGAIN = "it is damaged or incomplete: fetch it again"
# Names in a file may point to the same bytes. Tied weights do so, a few of them; a file of which every byte is used
# many times over is made to exhaust the memory.
MOST_USES = 8


class Source:
    """A file, mapped into memory: a context that keeps it open for reading, while tensors made of it live on.

    A tensor that can be used where it lies is a private view of the mapping (changes never reach the file, pages are
    read when touched). So the file must not be shortened while its tensors are in use; replacing it is fine.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("rb")
        self.bytes = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_COPY)
        self.size = len(self.bytes)
        self._left = MOST_USES * self.size

    def __enter__(self) -> "Source":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def take(self, offset: int, size: int, what: str) -> bytes:
        """A copy of `size` bytes."""
        self.check(offset, size, what)
        return self.bytes[offset : offset + size]

    def check(self, offset: int, size: int, what: str) -> None:
        """Raise a ValueError unless the file has these bytes."""
        if offset < 0 or size < 0 or offset + size > self.size:
            raise ValueError(
                f"{what} should be {size} bytes at {offset}, but the file has {self.size} bytes altogether: {AGAIN}"
            )

    def use(self, size: int) -> None:
        """Count the bytes that tensors are made of, and raise a ValueError when they are too many for the file."""
        self._left -= size
        if self._left < 0:
            raise ValueError(f"its tensors use its {self.size} bytes more than {MOST_USES} times over: {AGAIN}")

    def forget(self) -> None:
        """Give the memory of the pages that were read back, before anything is written to a tensor."""
        if hasattr(mmap, "MADV_DONTNEED"):  # not on Windows
            self.bytes.madvise(mmap.MADV_DONTNEED)

    def numbers(self, offset: int, count: int, dtype: torch.dtype, what: str) -> Tensor:
        """The [count] little-endian numbers that begin at a byte of the file."""
        size = count * dtype.itemsize
        self.check(offset, size, what)
        self.use(size)
        if count == 0:
            return torch.empty(0, dtype=dtype)
        if dtype == torch.bool:  # bytes other than 0 and 1 are no bools, and nothing checks them later
            return self.numbers(offset, count, torch.uint8, what) != 0
        if offset % dtype.itemsize == 0:
            return torch.frombuffer(self.bytes, dtype=dtype, count=count, offset=offset)
        # Read rather than copied out of the mapping, whose pages would then be in memory as well.
        buffer = bytearray(size)
        self._file.seek(offset)
        if self._file.readinto(buffer) != size:
            raise ValueError(f"{what} cannot be read whole: {AGAIN}")
        return torch.frombuffer(buffer, dtype=dtype)
