"""Files of other projects in, files for them out: what `detzoo inspect` and `detzoo convert` do."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .categories import Categories
from .files import replacing, write_json
from .importers import Foreign, Reading, convert, readings_of
from .importers import d2l as to_d2l
from .importers import pytorch_ssd as to_pytorch_ssd
from .importers import ssd_pytorch as to_ssd_pytorch
from .importers import torchvision as to_torchvision
from .importers.readers import Container
from .lookup import suggest
from .models import SSDConfig
from .models.checkpoint import FORMAT, categories_of, model_record, save_checkpoint
from .models.config import read_config
from .models.opening import Opened, identify
from .models.presets import config_of
from .models.weights import logits_mean_the_same

# Tensors under detzoo's names to those of another project, or a ValueError if its architecture is not among them.
EXPORTS: dict[str, Callable[[Mapping[str, Tensor]], dict[str, Tensor]]] = {
    to_d2l.NAME: to_d2l.export,
    to_pytorch_ssd.NAME: to_pytorch_ssd.export,
    to_ssd_pytorch.NAME: to_ssd_pytorch.export,
    to_torchvision.NAME: to_torchvision.export,
}
# What the other side's code has, and no file says.
NUMBERS = ("backbone", "default_boxes", "size", "coder", "preprocess")
SUFFIXES = (".safetensors", ".pt", ".pth")
RESIZE = "preprocess.resize: "


class Report(NamedTuple):
    """What a file is.

    Attributes:
        container: what was read.
        reading: how it is understood; None for a checkpoint of detzoo's own.
        config: what would be built.
        categories: what its labels mean; None where nobody says.
        changes: what is done to its tensors besides renaming them.
        assumed: what it does not say.
    """

    container: Container
    reading: Reading | None
    config: SSDConfig
    categories: Categories | None
    changes: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()


def inspect(path: str | Path, origin: str | None = None) -> Report:
    """Look at a file; nothing is built, nothing of it is run, and no network is needed.

    Raises:
        ValueError: for a file that cannot be read, or that could be several things, which are listed.
    """
    container, record, reading, imported = identify(path, origin)
    if imported is None:
        return Report(container, None, read_config(record["config"]), categories_of(record))
    return Report(container, reading, config_of(imported), imported.categories, imported.changes, imported.assumed)


def format_report(report: Report) -> str:
    """What `detzoo inspect` prints."""
    tensors, categories = report.container.tensors, report.categories
    count = sum(tensor.numel() for tensor in tensors.values())
    form = report.container.metadata.get("format", report.container.kind)
    names = "without names" if categories is None else ", ".join(categories.names)
    whose = f"{report.reading.name}: {report.reading.about}" if report.reading else "a checkpoint of detzoo"
    lines = [
        f"{report.container.path}: {report.container.kind} file ({form}), {len(tensors)} tensors, {count:,} numbers",
        f"origin         {whose}",
        f"classes        {report.config.num_classes} with background: {names}",
    ]
    fields = report.config.as_dict()
    lines += [f"{name:<14} {_compact(part)}" for name, part in fields.items() if name != "num_classes" and part]
    lines += [f"changed        {line}" for line in report.changes] + [
        f"assumed        {line}" for line in report.assumed
    ]
    return "\n".join(lines)


def _compact(part: Any) -> str:
    """A part on one line: its name, then its options."""
    if not isinstance(part, Mapping):
        return str(part)
    options = ", ".join(f"{key}={_rounded(value)}" for key, value in part.items() if key != "name")
    return f"{part['name']}({options})"


def _rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


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
        with _usual_mode(unfinished):
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


def check_suffix(path: Path) -> None:
    """Raise a ValueError unless files of this name can be written."""
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path}: expected the name of a file that ends in one of {', '.join(SUFFIXES)}")


def save_for(path: str | Path, opened: Opened, project: str, *, despite_numbers: bool = False) -> list[str]:
    """Write a state dict for the code of another project.

    Args:
        path: a .pt or .pth file, or .safetensors.
        opened: the detector and its config.
        project: a name in `EXPORTS`.
        despite_numbers: write it as well where that project's code has other default boxes or the like, which would
            have to be changed over there.

    Returns:
        A line for each such difference. The way to resize is told and is no reason not to write: training is with
        antialiasing, and most others' code without.

    Raises:
        ValueError: if that project has no such architecture, takes logits for something else, or has other numbers.
    """
    path = Path(path)
    check_suffix(path)
    if project not in EXPORTS:
        raise ValueError(f"no way to {project!r}: {suggest(project, EXPORTS)}")
    state = _exported(opened.model.state_dict(), project)
    differences = _differences(state, opened, project)
    if any(not line.startswith(RESIZE) for line in differences) and not despite_numbers:
        told = [f"the code of {project} would use these weights with other numbers:", *differences]
        raise ValueError("\n  - ".join([*told, "change them over there, and say that it is meant (--despite-numbers)"]))
    with replacing(path) as unfinished:
        _write_state(state, unfinished, path.suffix)
    return differences


def _exported(state: Mapping[str, Tensor], project: str) -> dict[str, Tensor]:
    try:
        return {name: tensor.detach().contiguous() for name, tensor in EXPORTS[project](state).items()}
    except ValueError as error:
        raise ValueError(f"{project} has no detector of this architecture: {error}") from error


def _write_state(state: dict[str, Tensor], path: Path, suffix: str) -> None:
    if suffix != ".safetensors":
        torch.save(state, path)
        return
    from safetensors.torch import save_file

    with _usual_mode(path):
        save_file(state, path)


@contextmanager
def _usual_mode(path: Path) -> Iterator[None]:
    """Leave a file that is written in the block as readable as any other; safetensors makes it its owner's only."""
    path.touch()
    mode = path.stat().st_mode
    yield
    path.chmod(mode)


def _differences(state: dict[str, Tensor], opened: Opened, project: str) -> list[str]:
    """A line for each number that the other project's code has otherwise, by what reading the file back would give.

    Raises:
        ValueError: if the tensors would not come back as they are.
    """
    foreign = Foreign(Container("torch", state, {"content": {}}, Path(f"for {project}")), state)
    back = [convert(foreign, each) for each in readings_of(foreign) if each.name.partition("/")[0] == project]
    own = opened.model.state_dict()
    same = [
        imported
        for imported in back
        if imported.state.keys() == own.keys() and all(torch.equal(imported.state[key], own[key]) for key in own)
    ]
    if not same:
        raise ValueError(f"{project} has no detector of this architecture: its code could not load these weights")
    return min((_unlike(config_of(imported), opened.config, project) for imported in same), key=len)


def _unlike(theirs: SSDConfig, ours: SSDConfig, project: str) -> list[str]:
    """A line for each difference; what logits mean cannot be changed over there, so another loss is an error."""
    if not logits_mean_the_same(theirs.loss, ours.loss):
        raise ValueError(
            f"{project} makes scores of logits as {_compact(theirs.loss)} has them, this detector was trained with "
            f"{_compact(ours.loss)}: its scores would be wrong over there"
        )
    there, here = theirs.as_dict(), ours.as_dict()
    ways = [config["preprocess"].pop("resize", None) for config in (here, there)]
    lines = [
        f"{name}: {_compact(here[name])} here, {_compact(there[name])} in {project}"
        for name in NUMBERS
        if there[name] != here[name]
    ]
    return lines + ([f"{RESIZE}{ways[0]} here, {ways[1]} in {project}"] if ways[0] != ways[1] else [])
