"""What torch.save wrote: a zip archive since PyTorch 1.6, a row of pickles and raw numbers before.

Sources: torch.serialization (`_legacy_save`, `_save`) for the two layouts; the format of zip archives, APPNOTE 4.3.
"""

import math
import struct
from collections.abc import Mapping
from typing import Any, NamedTuple
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

import numpy as np
import torch
from torch import Tensor

from .flatten import Flat
from .inert import Array, Storage, TensorRecord
from .makers import numpy_values
from .pickles import Unpickler
from .source import AGAIN, Source

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
Places = Mapping[str, tuple[int, int]]  # by key of the storage, where its bytes begin, and how many there are


def read_torch(source: Source) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the metadata (see `Container`) of a PyTorch file; nothing of it is executed.

    Raises:
        ValueError: for a file that is damaged, that claims more than it holds, or that asks for what no weights need.
    """
    zipped = source.bytes[:4] == b"PK\3\4"
    saved = _read_zip(source) if zipped else _read_legacy(source)
    content = saved.content
    if isinstance(content, list | tuple):
        content = {str(index): value for index, value in enumerate(content)}
    flat = Flat(most=10_000 + 2 * saved.size)
    plain = flat.walk(content)
    if not isinstance(plain, dict):
        raise ValueError("it holds a single thing without a name: expected a dict of names and tensors")
    storages = _Storages(source, saved.places)
    tensors = {name: storages.tensor(leaf, name) for name, leaf in flat.leaves.items()}
    metadata = {"format": "zip" if zipped else "legacy", "content": plain, "inert": sorted(saved.inert)}
    return tensors, metadata


class _Saved(NamedTuple):
    """What was saved: the content, the size in bytes of its pickle, names that stay inert, where the numbers are."""

    content: Any
    size: int
    inert: set[str]
    places: Places


class _Storages:
    """The numbers behind the tensors; tensors that share a storage keep sharing it."""

    def __init__(self, source: Source, places: Places) -> None:
        self.source, self.places = source, places
        self.made: dict[tuple[Any, ...], Tensor] = {}

    def tensor(self, leaf: TensorRecord | Array, name: str) -> Tensor:
        try:
            self.source.use(_nbytes(leaf))
            return _from_numpy(leaf) if isinstance(leaf, Array) else self._tensor(leaf)
        except (ValueError, TypeError, OverflowError, RuntimeError) as error:  # sizes beyond 64 bits, and their like
            reason = str(error).split("\n")[0]  # torch adds where in its C++ code it was
            raise ValueError(f"tensor {name!r}: {reason}") from error

    def _tensor(self, record: TensorRecord) -> Tensor:
        storage, size, stride = record.storage, record.size, record.stride
        numel = math.prod(size)
        if numel == 0:
            return torch.empty(size, dtype=storage.dtype)
        reach = record.offset + sum((n - 1) * s for n, s in zip(size, stride)) + 1
        if reach > storage.count:
            raise ValueError(
                f"shape {size} with strides {stride} from {record.offset} on does not fit into the {storage.count} "
                f"numbers of its storage {storage.key!r}: {AGAIN}"
            )
        return self._numbers(storage).as_strided(size, stride, record.offset)

    def _numbers(self, storage: Storage) -> Tensor:
        if storage not in self.made:
            start, nbytes = self.places.get(storage.key, (0, -1))
            if nbytes < 0:
                raise ValueError(f"its storage {storage.key!r} is not in the file: {AGAIN}")
            if storage.total * storage.dtype.itemsize > nbytes:
                raise ValueError(
                    f"its storage {storage.key!r} should have {storage.total} numbers of {storage.dtype}, "
                    f"the file has {nbytes} bytes of them: {AGAIN}"
                )
            first = start + storage.first * storage.dtype.itemsize
            what = f"storage {storage.key!r}"
            self.made[storage] = self.source.numbers(first, storage.count, storage.dtype, what)
        return self.made[storage]


def _nbytes(leaf: TensorRecord | Array) -> int:
    if isinstance(leaf, Array):
        return len(leaf.raw) if isinstance(leaf.raw, str | bytes | bytearray) else 0
    return math.prod(leaf.size) * leaf.storage.dtype.itemsize


def _from_numpy(array: Array) -> Tensor:
    """A copy: arrays lie within the pickle."""
    values = numpy_values(array.dtype, array.raw)
    if values.dtype.kind in "SU" or math.prod(array.shape) != values.size:
        raise ValueError(f"a NumPy array of {values.size} values of {values.dtype} for the shape {array.shape}")
    shaped = values.reshape(array.shape, order="F" if array.fortran else "C")
    return torch.from_numpy(np.ascontiguousarray(shaped, shaped.dtype.newbyteorder("=")).copy())


def _read_zip(source: Source) -> _Saved:
    records = _zip_records(source)
    pickles = [name for name in records if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise ValueError(
            f"this is a zip archive with {', '.join(sorted(records)[:5]) or 'nothing'} in it, not a PyTorch file, "
            "which has one data.pkl: if the checkpoint is in the archive, unpack it; if it was unpacked and packed "
            "again, give the file that was downloaded"
        )
    root = pickles[0].removesuffix("data.pkl")
    if f"{root}constants.pkl" in records:
        raise ValueError("this is a TorchScript program: expected weights; save its state_dict() with torch.save")
    if f"{root}byteorder" in records and source.take(*records[f"{root}byteorder"], "the byte order") != b"little":
        raise ValueError("its numbers are in big-endian byte order: expected little; save it again on another machine")
    start, size = records[pickles[0]]
    unpickler = Unpickler(source, start, start + size)
    content = unpickler.load()
    prefix = f"{root}data/"
    places = {name.removeprefix(prefix): at for name, at in records.items() if name.startswith(prefix)}
    return _Saved(content, size, unpickler.inert, places)


def _zip_records(source: Source) -> dict[str, tuple[int, int]]:
    """Where the content of each file in the archive begins, and its bytes."""
    try:
        with ZipFile(source.path) as archive:
            infos = archive.infolist()
    except (BadZipFile, NotImplementedError, ValueError, OSError, struct.error, UnicodeError) as error:
        raise ValueError(f"a zip archive that cannot be read ({error}): {AGAIN}") from error
    records: dict[str, tuple[int, int]] = {}
    for info in infos:
        if info.filename in records:
            raise ValueError(f"two files of the archive are called {info.filename!r}: {AGAIN}")
        records[info.filename] = _zip_record(source, info)
    return records


def _zip_record(source: Source, info: ZipInfo) -> tuple[int, int]:
    """PyTorch stores its records as they are. So nothing is ever inflated, and nothing can be a bomb."""
    if info.compress_type != ZIP_STORED or info.file_size != info.compress_size or info.flag_bits & 1:
        raise ValueError(
            f"{info.filename!r} is compressed or encrypted ({info.compress_size} bytes that claim to be "
            f"{info.file_size}): PyTorch stores its records as they are. If the checkpoint was packed again, unpack it "
            "and give the file that was downloaded"
        )
    header = source.take(info.header_offset, 30, f"the header of {info.filename!r}")
    if header[:4] != b"PK\3\4":
        raise ValueError(f"no record of {info.filename!r} at byte {info.header_offset}: {AGAIN}")
    start = info.header_offset + 30 + sum(struct.unpack("<HH", header[26:30]))  # name and extra field
    source.check(start, info.file_size, f"{info.filename!r}")
    return start, info.file_size


def _read_legacy(source: Source) -> _Saved:
    """Magic number, protocol, system, content, keys of the storages: a pickle each. Then per storage its numbers."""
    unpickler = Unpickler(source, 0, source.size)
    if unpickler.load() != MAGIC or unpickler.load() != PROTOCOL:
        raise ValueError(f"it begins like a PyTorch file, but not with the numbers {MAGIC} and {PROTOCOL}: {AGAIN}")
    system = unpickler.load()
    if isinstance(system, dict) and system.get("little_endian") is False:
        raise ValueError("its numbers are in big-endian byte order: expected little; save it again on another machine")
    content = unpickler.load()
    size = unpickler.position
    keys = unpickler.load()
    if not isinstance(keys, list):
        raise ValueError(f"no list of storages after its content: {AGAIN}")
    position, places = unpickler.position, {}
    for key in keys:
        storage = unpickler.storages.get(key) if isinstance(key, str) else None
        if storage is None or key in places:
            raise ValueError(f"a storage that no tensor has, or that comes twice: {AGAIN}")
        (count,) = struct.unpack("<q", source.take(position, 8, f"the size of storage {key!r}"))
        if count != storage.total:
            raise ValueError(f"storage {key!r} has {count} numbers where {storage.total} were announced: {AGAIN}")
        nbytes = count * storage.dtype.itemsize
        source.check(position + 8, nbytes, f"storage {key!r}")
        places[key] = (position + 8, nbytes)
        position += 8 + nbytes
    return _Saved(content, size, unpickler.inert, places)
