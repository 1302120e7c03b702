"""One door for every file."""

from pathlib import Path

from .caffe import read_caffe
from .container import Container, check_finite, check_names
from .recognise import EXPECTED, kind_of
from .safetensors_file import read_safetensors
from .source import AGAIN, Source
from .tensorflow_bundle import index_of, read_bundle
from .tensorflow_graph import read_graph
from .torch_file import read_torch
from .words import shown

_READERS = {
    "torch": read_torch,
    "safetensors": read_safetensors,
    "tensorflow-bundle": read_bundle,
    "tensorflow-graph": read_graph,
}


def read_container(path: str | Path, *, companion: str | Path | None = None, own_only: bool = False) -> Container:
    """Read a checkpoint file of any origin; it is known by its content, and nothing in it is executed.

    Tensors stay in the file until they are used, where their numbers are aligned in it; else they are copied once.

    Args:
        path: the file; of a TensorFlow checkpoint its prefix, its index or one of its data files.
        companion: of a .caffemodel, the prototxt; by default the one beside it, if it is of the same net.
        own_only: of a .caffemodel, look for no prototxt but the one with its name: a `deploy.prototxt` in a folder that
            many files share is that of any of them.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: that names the file, says what was found and expected, and what to do: for what is no checkpoint,
            is damaged, claims more than it holds, asks for code, or has weights that are not finite.
    """
    path = Path(path)
    try:
        path = index_of(path) or path
        _check_file(path)
        with Source(path) as source:
            kind = kind_of(source)
            tensors, metadata = _read(kind, source, companion, own_only)
            return check_finite(check_names(Container(kind, tensors, metadata, path, source.forget)))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: a name in it is no text ({error.reason}): {AGAIN}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {_told(error)}") from error
    except RuntimeError as error:  # sizes of 64 bits and more, which torch refuses, and where in its C++ code
        raise ValueError(f"{path}: no tensor of torch's ({_told(error).splitlines()[0]}): {AGAIN}") from error


def _told(error: Exception) -> str:
    """A message that may hold names from the file, which may be long or control a terminal."""
    return shown(str(error)[:1000])


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise ValueError(f"this is a folder; {EXPECTED}: give the file in it")
    if not path.exists():
        raise FileNotFoundError(f"no file at {path}")
    if not path.is_file():
        raise ValueError(f"this is no regular file; {EXPECTED}")
    if path.stat().st_size == 0:
        raise ValueError(f"the file is empty; {EXPECTED}: {AGAIN}")


def _read(kind: str, source: Source, companion: str | Path | None, own_only: bool):
    if kind == "caffe":
        return read_caffe(source, None if companion is None else Path(companion), own_only)
    if companion is not None:
        raise ValueError(f"companion={str(companion)!r} belongs to a .caffemodel, this is a file of kind {kind!r}")
    return _READERS[kind](source)
