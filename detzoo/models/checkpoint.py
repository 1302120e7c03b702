"""A model in a file: weights, the config that builds it, the names of its classes; plain data and tensors only."""

from pathlib import Path
from typing import Any

import torch

from ..categories import Categories
from ..files import replacing
from .build import build_ssd
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


def load_checkpoint(path: str | Path) -> SSD:
    """The model of a checkpoint, in eval mode, built as it was trained.

    Args:
        path: a checkpoint, or a run folder, of which the best one is taken.
    """
    path = Path(path)
    if path.is_dir():
        path = path / BEST if (path / BEST).is_file() else path / LAST
    record = read_checkpoint(path)
    model = build_ssd(record["config"], categories=categories_of(record))
    load_weights(model, record["model"])
    return model.eval()
