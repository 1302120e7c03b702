"""What a file is, by its first and last bytes and its structure: names are only asked where a format has no mark."""

import re
from collections.abc import Callable
from typing import NamedTuple

from .protobuf import Field, fields, text
from .source import AGAIN, Source

TABLE_MAGIC = bytes.fromhex("57fb808b247547db")  # the last bytes of a LevelDB table
LEGACY_MAGIC = bytes.fromhex("6cfc9c46f9206aa85019")  # of torch.save before 1.6, as the pickle of a number holds it
LARGEST_HEADER = 100_000_000  # bytes of JSON, the limit of the safetensors package


class Other(NamedTuple):
    """A format that is no checkpoint: its bytes at a place, what it is, what to do."""

    start: int
    mark: bytes
    what: str
    cure: str


UNPACK = "unpack it, and give the checkpoint in it"
FOREIGN = (
    Other(0, b"\x1f\x8b", "a gzip archive", UNPACK),
    Other(0, b"BZh", "a bzip2 archive", UNPACK),
    Other(0, b"\xfd7zXZ\0", "an xz archive", UNPACK),
    Other(0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
    Other(0, b"Rar!\x1a\x07", "a rar archive", UNPACK),
    Other(257, b"ustar", "a tar archive", f"{UNPACK} (a .pth.tar is no archive in spite of its name)"),
    Other(0, b"\x89HDF\r\n\x1a\n", "an HDF5 file (Keras, Caffe's .h5)", "give the origin's own checkpoint"),
    Other(4, b"TFL3", "a TensorFlow Lite model", "give the checkpoint or the frozen graph it was made of"),
    Other(0, b"\x93NUMPY", "a NumPy array", "give the checkpoint itself"),
    Other(0, b"\x89PNG", "an image", "give the checkpoint itself"),
    Other(0, b"\xff\xd8\xff", "an image", "give the checkpoint itself"),
    Other(0, b"%PDF", "a PDF document", "give the checkpoint itself"),
)
EXPECTED = "expected a checkpoint of PyTorch, safetensors, Caffe (.caffemodel) or TensorFlow (bundle or frozen graph)"


def kind_of(source: Source) -> str:
    """One of `KINDS`.

    Raises:
        ValueError: saying what the file is instead, as far as its bytes tell.
    """
    head = source.bytes[:512]
    if head[4:9] == b"\0\0\0\0{" and _is_safetensors(source):  # first: its first bytes, a length, may be anything
        return "safetensors"
    _refuse_pages(source, head)
    for start, mark, what, cure in FOREIGN:
        if head[start : start + len(mark)] == mark:
            raise ValueError(f"this is {what}; {EXPECTED}: {cure}")
    if head[:4] == b"PK\3\4" or LEGACY_MAGIC in head[:32]:
        return "torch"
    if head[:2] == b"PK":
        raise ValueError(f"this is an empty, damaged or split zip archive; {EXPECTED}: {AGAIN}")
    if source.size >= 48 and source.bytes[-8:] == TABLE_MAGIC:
        return "tensorflow-bundle"
    return _protobuf_kind(source, head)


def _refuse_pages(source: Source, head: bytes) -> None:
    """What a server sends in place of a file: a page, a message, a pointer."""
    if head.startswith(b"version https://git-lfs"):
        raise ValueError(_lfs(source.take(0, min(source.size, 1024), "the pointer").decode("utf-8", "replace")))
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<head", b"<?xml", b"<error", b"<!--")):
        raise ValueError(
            f"this is a web page, not a file of weights; {EXPECTED}: a sign-in, virus-scan or error page was saved in "
            "place of the file; open the link in a browser, and download from there"
        )
    if head.startswith((b"{", b"[")) or (len(head) > 16 and not re.search(rb"[^\t\n\r\x20-\x7e]", head)):
        shown = head[:60].decode("utf-8", "replace").splitlines()
        raise ValueError(f"this is a text that begins {shown[0] if shown else ''!r}; {EXPECTED}")


def _lfs(pointer: str) -> str:
    facts = dict(line.split(" ", 1) for line in pointer.splitlines() if " " in line)
    return (
        f"this is a Git-LFS pointer, not the file: that one has {facts.get('size', 'an unknown number of')} bytes and "
        f"oid {facts.get('oid', 'unknown')}; fetch it with `git lfs pull`, or download it from the repository's page"
    )


def _is_safetensors(source: Source) -> bool:
    """Whether the first eight bytes are the length of a header, which begins with a brace; if it can be."""
    length = int.from_bytes(source.bytes[:8], "little")
    if length < 2:
        return False
    if length > min(LARGEST_HEADER, source.size - 8):
        raise ValueError(
            f"its header claims {length} bytes of a file of {source.size} (at most {LARGEST_HEADER} are allowed): "
            f"this is no safetensors file, or {AGAIN}"
        )
    return True


def _protobuf_kind(source: Source, head: bytes) -> str:
    """Caffe's nets and TensorFlow's graphs have no mark: their first fields tell."""
    for known, kind in PROTOBUFS:
        if _all_fit(source, known):
            return kind
    if head[:1] == b"\x80":
        raise ValueError(f"this is a pickle, but not one that torch.save wrote; {EXPECTED}: save it with torch.save")
    if any(field.wire == 0 for field in _first_fields(source)):
        raise ValueError(f"this looks like an ONNX model or a SavedModel; {EXPECTED}: give that, or a frozen graph")
    raise ValueError(f"this begins with {head[:16].hex(' ')}, which is no known format, or {AGAIN}; {EXPECTED}")


def _first_fields(source: Source, most: int = 50) -> list[Field]:
    found: list[Field] = []
    try:
        for field in fields(source, 0, source.size):
            found.append(field)
            if len(found) == most:
                break
    except ValueError:
        pass  # a damaged end is for the reader to say, once it is clear what the file is
    return found


def _all_fit(source: Source, fits: Callable[[Source, Field], bool | None]) -> bool:
    """Whether no field at the beginning speaks against a format, and one speaks for it."""
    votes = [fits(source, field) for field in _first_fields(source)]
    return any(votes) and False not in votes


def _is_graph(source: Source, field: Field) -> bool | None:
    """GraphDef: node = 1 with name = 1 and op = 2; library = 2, version = 3, versions = 4, debug_info = 5."""
    if field.number == 1:
        return field.wire == 2 and {1, 2} <= _texts(source, field)
    return None if field.number in (2, 3, 4, 5) else False


def _is_caffe(source: Source, field: Field) -> bool | None:
    """NetParameter: name = 1, old layers = 2 with name = 4, input = 3 to input_shape = 8, layer = 100 with name = 1."""
    if field.number == 100:
        return field.wire == 2 and 1 in _texts(source, field)
    if field.number == 2:
        return field.wire == 2 and 4 in _texts(source, field)
    return None if 1 <= field.number <= 8 else False


def _texts(source: Source, field: Field) -> set[int]:
    """The numbers of the fields of a message that hold texts; none if it is no message."""
    found = set()
    try:
        for inner in fields(source, field.start, field.end):
            if inner.wire == 2 and text(source, inner).isprintable():
                found.add(inner.number)
    except ValueError:
        pass
    return found


PROTOBUFS = ((_is_graph, "tensorflow-graph"), (_is_caffe, "caffe"))
