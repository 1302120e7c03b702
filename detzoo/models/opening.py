"""One door for everything that is a trained detector."""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ..categories import Categories
from ..hub import fetch
from ..importers import Foreign, Imported, Reading, choose, convert, foreign_in
from ..importers.names import name_before, names_before
from ..importers.readers import Container, index_of, read_container
from ..lookup import suggest
from .build import build_ssd
from .checkpoint import categories_of, check_fits, checkpoint_in, foreign_parts, model_of, record_in
from .classes import for_classes, for_number
from .config import SSDConfig, read_config
from .misfits import misfits, naming
from .presets import config_of
from .ssd import SSD
from .weights import WeightsEnum, is_address, is_file, load_weights
from .zoo import MODELS, get_weight

BY_PATH = "or give the path of a file of your own in place of the name"


class Opened(NamedTuple):
    """A model in eval mode, and the config that builds it."""

    model: SSD
    config: SSDConfig


class Identified(NamedTuple):
    """A file that was read: the record of a checkpoint of detzoo's, or another project's weights, how they are read,
    and what came of it.
    """

    container: Container
    record: dict[str, Any] | None = None
    foreign: Foreign | None = None
    reading: Reading | None = None
    imported: Imported | None = None


def load(
    source: str | Path,
    *,
    origin: str | None = None,
    classes: Sequence[str] | None = None,
    num_classes: int | None = None,
    trust_parts: bool = False,
) -> SSD:
    """A model ready to detect, with the default boxes, coder, preprocessing and suppression of where it comes from.

    Args:
        source: path of a run folder, a checkpoint, or another project's file; the address of such a file; a name of
            `list_models()`, or the full name of published weights, such as "SSD300_VGG16_Weights.COCO_V1".
        origin: whose file it is, a name in `detzoo.importers.ORIGINS`, where a file could be of several projects or
            models; by default it is recognised.
        classes: names of other classes, to be trained: all but the class head is kept, and of that the rows of those
            classes that the source knows by the same name (or by VOC's or COCO's word for it).
        num_classes: how many classes with background, to be trained, where they have no names.
        trust_parts: import parts that a checkpoint names by dotted path, which runs code that it chooses.

    Raises:
        DownloadError: if a file cannot be had.
        ValueError: if it is none of these, could be several things, or names such parts and is not trusted.
    """
    if classes is not None:
        _check_names(classes)
    if num_classes is not None and (classes is not None or num_classes < 2):
        told = "it follows from classes" if classes is not None else "expected at least 2, since background counts"
        raise ValueError(f"num_classes = {num_classes}: {told}")
    opened = open_detector(source, origin=origin, trust_parts=trust_parts)
    if num_classes is not None:
        return for_number(opened.model, opened.config, num_classes)
    return opened.model if classes is None else for_classes(opened.model, opened.config, Categories(tuple(classes)))


def _check_names(classes: Sequence[str]) -> None:
    """Raise a ValueError unless these are names of classes."""
    listed = isinstance(classes, Sequence) and not isinstance(classes, str) and len(classes)
    if not listed or not all(isinstance(name, str) and name for name in classes):
        raise ValueError(f"classes = {classes!r}: expected a list of names, such as ['person', 'dog']")
    if background := [name for name in classes if name.lower() in ("background", "__background__")]:
        raise ValueError(f"classes: {background[0]!r} is no class of its own, every detector has it: leave it out")


def open_detector(source: str | Path, *, origin: str | None = None, trust_parts: bool = False) -> Opened:
    """What `load` gives, with the config that builds it; arguments and errors are the same."""
    if is_address(source):
        source = fetch(str(source))
    named = named_weights(source, origin)
    found = identify(source, origin) if named is None else identify_published(named)
    if found.imported is None:
        model = model_of(found.record, found.container.path, trust_parts=trust_parts)
        return Opened(model, read_config(found.record["config"]))
    with naming(f"{found.container.path}, read as {found.reading.name}"):
        return build_imported(found.imported, found.container.forget, _name_in(found))


def named_weights(source: str | Path, origin: str | None = None) -> WeightsEnum | None:
    """The published weights that this is the name of; None for a file that is there.

    Raises:
        FileNotFoundError: for the path of a file that is not.
        ValueError: for a name that nobody knows, with the nearest known one.
    """
    if Path(source).exists() or index_of(Path(source)):
        return None
    if origin is not None or is_file(str(source)):
        raise FileNotFoundError(f"no file at {source}{'' if origin is None else f', and origin={origin!r} is for one'}")
    return _published(str(source))


def identify(path: str | Path, origin: str | None = None, *, own_only: bool = False) -> Identified:
    """Read a file, or that of a run folder, and say what it is; nothing is built. For `own_only` see `read_container`.

    Raises:
        FileNotFoundError: if it is not there.
        ValueError: if it cannot be read, is no detector, could be several things, or is not of this origin.
    """
    container = read_container(checkpoint_in(path), own_only=own_only)
    record = record_in(container)
    if record is not None and origin is not None:
        raise ValueError(f"{container.path} is a checkpoint of detzoo: leave origin={origin!r} out")
    if record is not None:
        return Identified(container, record)
    foreign = foreign_in(container)
    reading = choose(foreign, origin)
    return Identified(container, None, foreign, reading, convert(foreign, reading))


def identify_published(weights: WeightsEnum) -> Identified:
    """The same for published weights, whose labels mean what the catalogue says; they are fetched unless they are here.

    Raises:
        DownloadError: if they cannot be had.
        ValueError: if their file is not what it should be.
    """
    found = identify(weights.value.fetch(otherwise=BY_PATH), weights.value.reading, own_only=True)
    return found._replace(imported=replace(found.imported, categories=weights.categories))


def problems_of(found: Identified) -> list[str]:
    """Why `load` refuses a file, a line each. Shapes are looked at, and no weights are made.

    Nothing is said of a checkpoint with parts by dotted path, since building these would run code that it chooses.
    """
    if found.imported is None and foreign_parts(found.record["config"]):
        return []
    state = found.record["model"] if found.imported is None else found.imported.state
    try:
        with torch.device("meta"):
            own = _hollow(found).state_dict()
    except ValueError as error:
        return [str(error)]
    return misfits(own, state, named=_name_in(found))


def _hollow(found: Identified) -> SSD:
    if found.imported is None:
        return build_ssd(found.record["config"], categories=categories_of(found.record))
    return build_ssd(config_of(found.imported), categories=found.imported.categories)


def _name_in(found: Identified) -> Callable[[str], str]:
    """What a file calls the tensor that has this name in detzoo, as far as its origin's rules tell."""
    if found.imported is None:
        return str
    rules, prefix = found.imported.rules, found.foreign.wrapped + found.foreign.prefix
    there = names_before(found.foreign.state, rules)

    def named(key: str) -> str:
        if old := there.get(key) or name_before(key, rules):
            return key if prefix + old == key else f"{prefix}{old} ({key} in detzoo)"
        near = [theirs for ours, theirs in there.items() if _module(ours) == _module(key)]
        return f"{key} in detzoo, which goes with {prefix}{near[0]}" if near else key

    return named


def _module(key: str) -> str:
    """What a tensor is a part of: a convolution with its norm, mostly."""
    return key.rpartition(".")[0].rpartition(".")[0]


def build_imported(
    imported: Imported, forget: Callable[[], None] | None = None, named: Callable[[str], str] = str
) -> Opened:
    """The detector of another project, with its weights.

    Args:
        imported: what its file says.
        forget: gives the memory of that back.
        named: what to call a tensor of detzoo's in an error.

    Raises:
        ValueError: listing the tensors that are not the detector's.
    """
    if forget is not None:
        forget()
    config = config_of(imported)
    # all of them, the class head as well: the number of classes was read off its first level
    check_fits(config, imported.state, imported.categories, named)
    model = build_ssd(config, categories=imported.categories)
    load_weights(model, imported.state, after_each=forget)
    return Opened(model.eval(), config)


def _published(name: str) -> WeightsEnum:
    if name in MODELS and MODELS[name].weights is None:
        raise ValueError(f"no weights of this model are published: train {name}, and give the path of its run's folder")
    if name in MODELS:
        return MODELS[name].weights.DEFAULT
    if "." not in name:
        raise ValueError(f"no model {name!r}: not a file or folder that exists, and no name: {_meant(name)}")
    return get_weight(name)


def _meant(name: str) -> str:
    """The end of an error's message: the nearest name of a model or of published weights, in capitals or not."""
    known = {model.lower(): [model] for model in MODELS}
    for catalogue in (entry.weights for entry in MODELS.values() if entry.weights is not None):
        for member in catalogue:
            known.setdefault(member.name.lower(), []).append(str(member))  # other models' may be called the same
    near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)
    return f"did you mean {' or '.join(map(repr, known[near[0]]))}?" if near else suggest(name, MODELS)
