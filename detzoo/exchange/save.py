"""Files that `detzoo.load` takes back, equal to the last bit."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..files import replacing, write_json
from ..models.checkpoint import FORMAT, model_record, save_checkpoint
from ..models.opening import Opened

SUFFIXES = (".safetensors", ".pt", ".pth")


def save(path: str | Path, opened: Opened) -> list[Path]:
    """Write a detector to one file that `detzoo.load` takes back, equal to the last bit.

    A .safetensors file says in its header how its weights are to be used, and `<name>.json` beside it says the same to
    people; a .pt or .pth file is a checkpoint as training writes it.

    Returns:
        The files that were written.

    Raises:
        ValueError: for another suffix, or where `<name>.json` is something else, which would be lost.
    """
    path, record = Path(path), model_record(opened.model, opened.config)
    check_suffix(path)
    beside = path.with_suffix(".json")
    if path.suffix != ".safetensors":
        save_checkpoint(path, record)
        return [path]
    _check_beside(beside)
    from safetensors.torch import save_file

    words = {name: record[name] for name in ("config", "categories")}
    header = {"format": FORMAT, **{name: json.dumps(value) for name, value in words.items()}}
    with replacing(path) as unfinished:
        tensors = {name: tensor.contiguous() for name, tensor in record["model"].items()}
        with usual_mode(unfinished):
            save_file(tensors, unfinished, metadata=header)
    write_json(beside, {"format": FORMAT, **words})
    return [path, beside]


def _check_beside(path: Path) -> None:
    """Raise a ValueError if this is a file that `save` did not write."""
    if not path.exists():
        return
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        content = None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{path} is there already, and is not detzoo's: choose another name, or move it")


def check_suffix(path: Path, suffixes: tuple[str, ...] = SUFFIXES) -> None:
    """Raise a ValueError unless files of this name can be written."""
    if path.suffix not in suffixes:
        raise ValueError(f"{path}: expected the name of a file that ends in one of {', '.join(suffixes)}")


@contextmanager
def usual_mode(path: Path) -> Iterator[None]:
    """Leave a file that is written in the block as readable as any other; safetensors makes it its owner's only."""
    path.touch()
    mode = path.stat().st_mode
    yield
    path.chmod(mode)
