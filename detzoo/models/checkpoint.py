"""A model in a file: weights, the config that builds it, the names of its classes; plain data and tensors only."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..categories import Categories
from ..files import replacing
from ..importers.readers import Container, shown_name
from ..lookup import fits, split_part
from .build import TABLES, build_ssd
from .config import SSDConfig, read_config
from .misfits import NotOfThisModel, misfits, naming
from .ssd import SSD
from .weights import load_weights

FORMAT = "detzoo-1"
BEST, LAST = "best.pt", "last.pt"  # in a run folder
SAVED = "model.safetensors"  # in a folder as the Hugging Face hub has them


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
    if not record["categories"]:
        return None
    return Categories(tuple(map(shown_name, record["categories"]["names"])), record["categories"]["ids"])


def read_file(path: str | Path) -> Any:
    """The content of a PyTorch file, without running anything from it.

    Raises:
        FileNotFoundError: if it is not there.
        ValueError: if it is no PyTorch file, or holds more than plain data and tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no weights file at {path}")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # a damaged file makes the unpickler fail in a dozen ways (KeyError, struct.error, ...)
        reason = f"{type(error).__name__}: {error}".split("\n")[0]
        raise ValueError(
            f"{path} cannot be read as a file of tensors ({reason}): is it complete, and a checkpoint?"
        ) from error


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
    """A checkpoint's path as it is; of a run folder, that of its best checkpoint, else of its last; of a folder that a
    `Detector` saved, that of its weights.

    Raises:
        FileNotFoundError: naming the folder, if none of these is in it.
    """
    path, names = Path(path), (BEST, LAST, SAVED)
    if not path.is_dir():
        return path
    for name in names:
        if (path / name).is_file():
            return path / name
    wanted = f"{', '.join(names[:-1])} or {names[-1]}"
    raise FileNotFoundError(f"{path} is a folder with no {wanted} in it: expected the folder of a run, or a file")


def record_in(container: Container) -> dict[str, Any] | None:
    """What a checkpoint of this project holds of a model, whatever kind of file it is in; None for any other file.

    Raises:
        ValueError: naming the file and all that is missing or wrong, if it says that it is one and is not.
    """
    content = container.metadata.get("content", {})
    if not is_checkpoint(content):
        return None
    in_words, tensors = container.kind == "safetensors", container.tensors  # whose header holds words only
    if not in_words:
        tensors = {name.removeprefix("model/"): t for name, t in tensors.items() if name.startswith("model/")}
    record, problems = {"model": tensors}, [] if tensors else ["there are no weights"]
    for name, check in CHECKS.items():
        try:
            record[name] = _stated(content, name, in_words)
            check(record[name])
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise ValueError(f"{container.path} is no whole checkpoint of detzoo ({FORMAT}): {'; '.join(problems)}")
    return record


def _stated(content: dict[str, Any], name: str, in_words: bool) -> Any:
    """What a file says besides its weights, from JSON where it can only say words."""
    if name not in content:
        raise ValueError(f"there is no {name}")
    try:
        return json.loads(content[name]) if in_words else content[name]
    except (ValueError, RecursionError) as error:  # the latter: nested too deep
        raise ValueError(f"its {name} is no JSON ({error})") from error


def _check_config(config: Any) -> None:
    """Raise a ValueError unless it has the form of a config. Parts are not looked up, which may run code."""
    fields = read_config(config).as_dict()
    for what in TABLES:
        if (what, fields[what]) != ("neck", None):
            split_part(fields[what], what)


def _check_categories(categories: Any) -> None:
    types = {"names": Sequence[str], "ids": Sequence[int]}
    if categories is None:
        return
    if not isinstance(categories, dict) or categories.keys() != types.keys():
        raise ValueError(f"its categories are {categories!r:.100}: expected names and ids")
    for what, hint in types.items():
        if not fits(categories[what], hint):
            raise ValueError(f"the {what} of its categories are {categories[what]!r:.100}: expected a list of them")
    Categories(**categories)


CHECKS = {"config": _check_config, "categories": _check_categories}  # of what there is besides weights


def model_of(record: dict[str, Any], path: Path, *, trust_parts: bool = False) -> SSD:
    """The model of a record, in eval mode; the path is for messages."""
    if not trust_parts:
        _refuse_foreign_parts(record["config"], path)
    categories = categories_of(record)
    with naming(path):
        if not foreign_parts(record["config"]):  # somebody's own may not work without numbers
            check_fits(record["config"], record["model"], categories)
        model = build_ssd(record["config"], categories=categories)
        if problems := misfits(model.state_dict(), record["model"]):
            raise NotOfThisModel(problems)
    load_weights(model, record["model"])
    return model.eval()


def check_fits(
    config: SSDConfig | Mapping[str, Any],
    state: Mapping[str, Tensor],
    categories: Categories | None = None,
    named: Callable[[str], str] = str,
) -> None:
    """Raise a ValueError unless these are the weights of the model that a config describes, before it takes memory: a
    small file may describe a large one.

    Args:
        config: of detzoo's own parts.
        state: names and tensors.
        categories: of the model.
        named: what to call a tensor in the message.
    """
    try:
        with torch.device("meta"):
            own = build_ssd(config, categories=categories).state_dict()
    except RuntimeError as error:  # sizes beyond what torch can count
        raise ValueError(
            f"its numbers describe no network that torch can make: {str(error).splitlines()[0]}"
        ) from error
    if problems := misfits(own, state, named=named):
        raise NotOfThisModel(problems)


def foreign_parts(config: dict[str, Any]) -> list[str]:
    """A line for each part of a config that is named by dotted path."""
    parts = {what: split_part(config[what], what)[0] for what in TABLES if config.get(what) is not None}
    return [shown_name(f"{what}: {name}") for what, name in parts.items() if name not in TABLES[what]]


def _refuse_foreign_parts(config: dict[str, Any], path: Path) -> None:
    """Only what stands in a table is built for a file from anywhere: a dotted path could name `os.system`."""
    if foreign := foreign_parts(config):
        raise ValueError(
            f"{path} names parts that are not detzoo's ({'; '.join(foreign)}), and building them would run code that "
            "the file chooses: if you made this file, say trust_parts=True in Python, --trust-parts to the command "
            "detzoo, trust_parts=true to references/evaluate.py"
        )
