"""State dicts for the code of other projects."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..files import replacing
from ..importers import Foreign, convert, d2l, pytorch_ssd, readings_of, ssd_pytorch, torchvision
from ..importers.readers import Container
from ..lookup import suggest
from ..models import SSDConfig
from ..models.build import spelt_out
from ..models.opening import Opened
from ..models.presets import config_of
from ..models.weights import logits_mean_the_same
from .save import SUFFIXES, check_suffix, usual_mode
from .words import compact

# Tensors under detzoo's names to those of another project, or a ValueError if its architecture is not among them.
EXPORTS: dict[str, Callable[[Mapping[str, Tensor]], dict[str, Tensor]]] = {
    project.NAME: project.export for project in (d2l, pytorch_ssd, ssd_pytorch, torchvision)
}
# What the other side's code has, and no file says.
NUMBERS = ("backbone", "default_boxes", "size", "coder", "preprocess")
ALIKE = 1e-5  # relative: a mean of 0.48235 is that of 123 / 255, a ratio of .333 is not that of a third
RESIZE = "preprocess.resize: "


def suffixes_for(project: str | None) -> tuple[str, ...]:
    """How the name of a file may end: for detzoo itself, or for a project, whose code may have a suffix of its own.

    The book's PyTorch code saves with `torch.save(net.state_dict(), "mlp.params")` ("File I/O"), so a .params file is
    PyTorch's; its MXNet code has another format under the same suffix, which is not written.
    """
    return (*SUFFIXES, ".params") if project == d2l.NAME else SUFFIXES


def save_for(path: str | Path, opened: Opened, project: str, *, despite_numbers: bool = False) -> list[str]:
    """Write a state dict for the code of another project.

    Args:
        path: a .pt or .pth file, or .safetensors; see `suffixes_for`.
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
    check_suffix(path, suffixes_for(project))
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

    with usual_mode(path):
        save_file(state, path)


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
            f"{project} makes scores of logits as {compact(theirs.loss)} has them, this detector was trained with "
            f"{compact(ours.loss)}: its scores would be wrong over there"
        )
    there, here = spelt_out(theirs), spelt_out(ours)
    ways = [config["preprocess"].pop("resize", None) for config in (here, there)]
    lines = []
    for name in NUMBERS:
        mine, yours = _what_differs(here[name], there[name])
        lines += [] if mine == yours else [f"{name}: {compact(mine)} here, {compact(yours)} in {project}"]
    return lines + ([f"{RESIZE}{ways[0]} here, {ways[1]} in {project}"] if ways[0] != ways[1] else [])


def _what_differs(part: Any, other: Any) -> tuple[Any, Any]:
    """Two parts, of the same name without the options in which they are alike."""
    if not isinstance(part, Mapping) or not isinstance(other, Mapping) or part["name"] != other["name"]:
        return (part, part) if _alike(part, other) else (part, other)
    keys = [key for key in part.keys() & other.keys() if key != "name" and _alike(part[key], other[key])]
    return tuple({key: value for key, value in each.items() if key not in keys} for each in (part, other))


def _alike(value: Any, other: Any) -> bool:
    """Whether two values are equal, or numbers that only rounding tells apart."""
    if isinstance(value, list) and isinstance(other, list):
        return len(value) == len(other) and all(map(_alike, value, other))
    numbers = [isinstance(each, int | float) and not isinstance(each, bool) for each in (value, other)]
    return math.isclose(value, other, rel_tol=ALIKE) if all(numbers) else value == other
