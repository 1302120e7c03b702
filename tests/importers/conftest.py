"""Writers of small checkpoint files in every container, from nothing but the descriptions of the formats."""

import io
import pickle
import struct
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

CAFFE, GRAPH = "caffe", "graph"


def varint(value: int) -> bytes:
    value &= 2**64 - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: int | float | str | bytes) -> bytes:
    """A field of a protocol buffer: integers as varints, floats in 4 bytes, the rest with its length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    raw = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(raw)) + raw


def blob(values: Sequence[float], shape: Sequence[int]) -> bytes:
    """Caffe's BlobProto."""
    dims = b"".join(map(varint, shape))
    return field(7, field(1, dims)) + field(5, struct.pack(f"<{len(values)}f", *values))


def caffe_layer(name: str, kind: str, *fields: bytes) -> bytes:
    return field(100, field(1, name) + field(2, kind) + b"".join(fields))


def caffe(path: Path) -> Path:
    """A net with one convolution of 2 to 1 channels and its prior boxes."""
    prior = b"".join(
        [field(1, 60.0), field(2, 111.0), field(3, 2.0), field(3, 3.0), field(4, 1), field(5, 0), field(6, 0.1)]
    )
    net = field(1, "tiny")
    net += caffe_layer("conv", "Convolution", field(7, blob([1, 2], (1, 2, 1, 1))), field(7, blob([3], (1,))))
    net += caffe_layer("prior", "PriorBox", field(203, prior + field(10, 16.0)))
    path.write_bytes(net)
    return path


def tensor_proto(values: np.ndarray, dtype: int = 1) -> bytes:
    """TensorFlow's TensorProto."""
    dims = b"".join(field(2, field(1, size)) for size in values.shape)
    return field(1, dtype) + field(2, dims) + field(4, values.tobytes())


def graph_node(name: str, op: str, value: bytes | None = None) -> bytes:
    node = field(1, name) + field(2, op)
    if value is not None:
        node += field(5, field(1, "value") + field(2, field(8, value)))
    return field(1, node)


def graph(path: Path, nodes: Iterable[bytes] = ()) -> Path:
    """A frozen graph with a placeholder, a constant of four numbers, and what is added."""
    values = np.arange(4, dtype="<f4").reshape(2, 2)
    content = [graph_node("input", "Placeholder"), graph_node("weights", "Const", tensor_proto(values)), *nodes]
    path.write_bytes(b"".join(content))
    return path


def block(entries: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A block of a table with prefix compression, one restart, and a checksum that nobody reads."""
    out, previous = b"", b""
    for key, value in entries:
        shared = next((i for i, (a, b) in enumerate(zip(key, previous)) if a != b), min(len(key), len(previous)))
        out += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        previous = key
    return out + struct.pack("<II", 0, 1)


def table(blocks: Sequence[bytes], index: bytes | None = None) -> bytes:
    """A table of blocks, the index of which may be given."""
    out, pointers = b"", []
    for number, one in enumerate(blocks):
        pointers.append((b"%03d" % number, varint(len(out)) + varint(len(one))))
        out += one + b"\0" + b"sum!"
    meta = varint(len(out)) + varint(len(block([])))
    out += block([]) + b"\0sum!"
    index = block(pointers) if index is None else index
    end = varint(len(out)) + varint(len(index))
    out += index + b"\0sum!"
    return out + (meta + end).ljust(40, b"\0") + bytes.fromhex("57fb808b247547db")


def entry(dtype: int, shape: Sequence[int], offset: int, size: int, shard: int = 0) -> bytes:
    """TensorFlow's BundleEntryProto."""
    dims = b"".join(field(2, field(1, one)) for one in shape)
    return field(1, dtype) + field(2, dims) + field(3, shard) + field(4, offset) + field(5, size)


def bundle(path: Path, entries: Sequence[tuple[str, bytes]] | None = None, header: bytes = field(1, 1)) -> Path:
    """A checkpoint called `path` of two variables, or of the entries given; its index is returned."""
    values = np.arange(6, dtype="<f4")
    if entries is None:
        entries = [("conv/biases", entry(1, (2,), 16, 8)), ("conv/weights", entry(1, (2, 2), 0, 16))]
    pairs = [(b"", header), *((name.encode(), one) for name, one in entries)]
    path.with_name(f"{path.name}.data-00000-of-00001").write_bytes(values.tobytes())
    index = path.with_name(f"{path.name}.index")
    index.write_bytes(table([block(pairs[:2]), block(pairs[2:])]))
    return index


STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED


def torch_zip(path: Path, pickled: bytes, storages: dict[str, bytes] | None = None, packing: int = STORED) -> Path:
    """What torch.save writes, around a pickle of one's own."""
    with zipfile.ZipFile(path, "w", packing) as archive:
        archive.writestr("archive/data.pkl", pickled)
        for key, raw in (storages or {}).items():
            archive.writestr(f"archive/data/{key}", raw)
        archive.writestr("archive/version", "3\n")
    return path


def torch_legacy(path: Path, pickled: bytes, storages: dict[str, bytes] | None = None) -> Path:
    """What torch.save wrote before 1.6, around a pickle of one's own; storages of float32.

    A storage has one more thing in its id there: which part it is of another one, here none.
    """
    pickled = pickled.replace(b"tQJ", b"NtQJ")
    out = io.BytesIO()
    for thing in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
        out.write(pickle.dumps(thing, 2))
    out.write(pickled + pickle.dumps(list(storages or {}), 2))
    for raw in (storages or {}).values():
        out.write(struct.pack("<q", len(raw) // 4) + raw)
    path.write_bytes(out.getvalue())
    return path


def tensor_pickle(size: str, stride: str, count: int = 4, offset: int = 0, name: str = "w") -> bytes:
    """The pickle of {name: tensor} on a storage "0" of float32; size and stride as opcodes for a tuple."""
    return (
        b"\x80\x02}X" + struct.pack("<I", len(name)) + name.encode() + b"ctorch._utils\n_rebuild_tensor_v2\n(("
        b"X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuJ" + struct.pack("<i", count) + b"tQ"
        b"J" + struct.pack("<i", offset) + _tuple(size) + _tuple(stride) + b"\x89}tRs."
    )


def _tuple(numbers: str) -> bytes:
    """Python's numbers, separated by blanks, as a pickled tuple."""
    longs = [int(one).to_bytes(10, "little", signed=True) for one in numbers.split()]
    return b"(" + b"".join(b"\x8a\x0a" + one for one in longs) + b"t"


@pytest.fixture
def write() -> SimpleNamespace:
    """All writers of this file."""
    return SimpleNamespace(**{name: thing for name, thing in globals().items() if callable(thing)}, DEFLATED=DEFLATED)


@pytest.fixture
def one_of_each(tmp_path: Path) -> dict[str, Path]:
    """A small valid file in every form, by a name of the form."""
    state = {"conv.weight": torch.arange(24.0).view(2, 3, 2, 2), "conv.bias": torch.ones(2), "steps": torch.tensor(3)}
    from safetensors.torch import save_file

    torch.save({"model": state, "epoch": 3}, tmp_path / "zip.pth")
    torch.save({"model": state, "epoch": 3}, tmp_path / "legacy.pth", _use_new_zipfile_serialization=False)
    save_file(state, tmp_path / "tiny.safetensors", {"origin": "nowhere"})
    return {
        "torch zip": tmp_path / "zip.pth",
        "torch legacy": tmp_path / "legacy.pth",
        "safetensors": tmp_path / "tiny.safetensors",
        "caffe": caffe(tmp_path / "tiny.caffemodel"),
        "tensorflow-bundle": bundle(tmp_path / "tiny.ckpt"),
        "tensorflow-graph": graph(tmp_path / "tiny.pb"),
    }
