"""A model in a file: weights, the config that builds it, the names of its classes; plain data and tensors only."""

import json
from pathlib import Path
from typing import Any

import torch

from ..categories import Categories
from ..files import replacing
from ..importers.readers import Container, read_container
from ..lookup import split_part
from .build import TABLES, build_ssd
from .config import SSDConfig, read_config
from .ssd import SSD
from .weights import load_weights, read_file

FORMAT = "detzoo-1"
BEST, LAST = "best.pt", "last.pt"  # in a run folder


def model_record(model: SSD, config: SSDConfig) -> dict[str, Any]:
    """What a checkpoint holds of a model."""
    categories = model.categories
    return {
        "format": FORMAT,
        "config": {**read_config(config).as_dict(), "num_classes": model.head.num_classes},
        "categories": None if categories is None else {"names": list(categories.names), "ids": list(categories.ids)},
        "model": model.state_dict(),
    }


def save_checkpoint(path: str | Path, record: dict[str, Any]) -> None:
    """Write a checkpoint in one piece."""
    with replacing(path) as unfinished:
        torch.save(record, unfinished)


def is_checkpoint(content: Any) -> bool:
    """Whether what was read from a file is a checkpoint of this project."""
    return isinstance(content, dict) and content.get("format") == FORMAT


def categories_of(record: dict[str, Any]) -> Categories | None:
    """The names of the classes in a checkpoint."""
    return Categories(**record["categories"]) if record["categories"] else None


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """The content of a checkpoint of this project.

    Raises:
        FileNotFoundError: if it is not there.
        ValueError: if it is something else.
    """
    content = read_file(path)
    if not is_checkpoint(content):
        raise ValueError(f"{path} is no checkpoint of detzoo: expected one that references/train.py wrote")
    return content


def checkpoint_in(path: str | Path) -> Path:
    """A checkpoint's path as it is; of a run folder, that of its best checkpoint, else of its last."""
    path = Path(path)
    if not path.is_dir():
        return path
    return path / BEST if (path / BEST).is_file() else path / LAST


def record_in(container: Container) -> dict[str, Any] | None:
    """What a checkpoint of this project holds of a model, whatever kind of file it is in; None for any other file."""
    content = container.metadata.get("content", {})
    if not is_checkpoint(content):
        return None
    if container.kind == "safetensors":  # whose header holds words only
        words = {name: json.loads(content[name]) for name in ("config", "categories")}
        return {**words, "model": container.tensors}
    tensors = {name.removeprefix("model/"): t for name, t in container.tensors.items() if name.startswith("model/")}
    return {"config": content["config"], "categories": content["categories"], "model": tensors}


def load_checkpoint(path: str | Path, *, trust_parts: bool = False) -> SSD:
    """The model of a checkpoint, in eval mode, built as it was trained.

    Args:
        path: a checkpoint, or a run folder, of which the best one is taken.
        trust_parts: import parts that the file names by dotted path. That runs code the file chooses: only for files of
            your own.

    Raises:
        FileNotFoundError: if it is not there.
        ValueError: for a file that is no checkpoint, or names parts by dotted path without being trusted.
    """
    path = checkpoint_in(path)
    record = record_in(read_container(path))
    if record is None:
        raise ValueError(f"{path} is no checkpoint of detzoo: expected one that references/train.py wrote")
    return model_of(record, path, trust_parts=trust_parts)


def model_of(record: dict[str, Any], path: Path, *, trust_parts: bool = False) -> SSD:
    """The model of a record, in eval mode; the path is for messages."""
    if not trust_parts:
        _refuse_foreign_parts(record["config"], path)
    model = build_ssd(record["config"], categories=categories_of(record))
    load_weights(model, record["model"])
    return model.eval()


def _refuse_foreign_parts(config: dict[str, Any], path: Path) -> None:
    """Only what stands in a table is built for a file from anywhere: a dotted path could name `os.system`."""
    parts = {what: split_part(config[what], what)[0] for what in TABLES if config.get(what) is not None}
    foreign = [f"{what}: {name}" for what, name in parts.items() if name not in TABLES[what]]
    if foreign:
        raise ValueError(
            f"{path} names parts that are not detzoo's ({'; '.join(foreign)}), and building them would run code that "
            "the file chooses: if you made this file, say trust_parts=True in Python, --trust-parts to the command "
            "detzoo, trust_parts=true to references/evaluate.py"
        )
