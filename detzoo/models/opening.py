"""One door for everything that is a trained detector."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..categories import Categories
from ..hub import fetch
from ..importers import Foreign, Imported, Reading, choose, convert
from ..importers.readers import Container, index_of, read_container
from ..lookup import suggest
from .build import build_ssd
from .checkpoint import checkpoint_in, model_of, record_in
from .classes import for_classes
from .config import SSDConfig, read_config
from .entry import choose_weights
from .presets import config_of
from .ssd import SSD
from .weights import StateDict, WeightsEnum, is_file, load_weights
from .zoo import MODELS, get_weight


class Opened(NamedTuple):
    """A model in eval mode, and the config that builds it."""

    model: SSD
    config: SSDConfig


class Identified(NamedTuple):
    """A file that was read: the record of a checkpoint of detzoo's, or how another project's is read, and what came of
    it.
    """

    container: Container
    record: dict[str, Any] | None = None
    reading: Reading | None = None
    imported: Imported | None = None


def load(
    source: str | Path,
    *,
    origin: str | None = None,
    classes: Sequence[str] | None = None,
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
        trust_parts: import parts that a checkpoint names by dotted path, which runs code that it chooses.

    Raises:
        DownloadError: if a file cannot be had.
        ValueError: if it is none of these, could be several things, or names such parts and is not trusted.
    """
    if classes is not None:
        _check_names(classes)
    opened = open_detector(source, origin=origin, trust_parts=trust_parts)
    if classes is None:
        return opened.model
    return for_classes(opened.model, opened.config, Categories(tuple(classes)))


def _check_names(classes: Sequence[str]) -> None:
    """Raise a ValueError unless these are names of classes."""
    listed = isinstance(classes, Sequence) and not isinstance(classes, str) and len(classes)
    if not listed or not all(isinstance(name, str) and name for name in classes):
        raise ValueError(f"classes = {classes!r}: expected a list of names, such as ['person', 'dog']")
    if background := [name for name in classes if name.lower() in ("background", "__background__")]:
        raise ValueError(f"classes: {background[0]!r} is no class of its own, every detector has it: leave it out")


def open_detector(source: str | Path, *, origin: str | None = None, trust_parts: bool = False) -> Opened:
    """What `load` gives, with the config that builds it; arguments and errors are the same."""
    if _is_address(source):
        source = fetch(str(source))
    if Path(source).exists() or index_of(Path(source)):
        return _open_file(Path(source), origin, trust_parts)
    if origin is not None or is_file(str(source)):
        raise FileNotFoundError(f"no file at {source}{'' if origin is None else f', and origin={origin!r} is for one'}")
    return _open_name(str(source))


def _is_address(source: str | Path) -> bool:
    return isinstance(source, str) and source.startswith(("http://", "https://"))


def _open_file(path: Path, origin: str | None, trust_parts: bool) -> Opened:
    found = identify(path, origin)
    if found.imported is not None:
        return build_imported(found.imported, found.container.forget)
    model = model_of(found.record, found.container.path, trust_parts=trust_parts)
    return Opened(model, read_config(found.record["config"]))


def identify(path: str | Path, origin: str | None = None) -> Identified:
    """Read a file, or that of a run folder, and say what it is; nothing is built.

    Raises:
        FileNotFoundError: if it is not there.
        ValueError: if it cannot be read, is no detector, could be several things, or is not of this origin.
    """
    container = read_container(checkpoint_in(path))
    record = record_in(container)
    if record is not None and origin is not None:
        raise ValueError(f"{container.path} is a checkpoint of detzoo: leave origin={origin!r} out")
    if record is not None:
        return Identified(container, record)
    foreign = Foreign.of(container)
    reading = choose(foreign, origin)
    return Identified(container, reading=reading, imported=convert(foreign, reading))


def build_imported(imported: Imported, forget: Callable[[], None] | None = None) -> Opened:
    """The detector of another project, with its weights; `forget` gives the memory of its file back."""
    return _filled(config_of(imported), imported.state, imported.categories, forget)


def _filled(
    config: SSDConfig, state: StateDict, categories: Categories | None, forget: Callable[[], None] | None = None
) -> Opened:
    if forget is not None:
        forget()
    model = build_ssd(config, categories=categories)
    if skipped := load_weights(model, state, after_each=forget):  # the number of classes was read off these tensors
        raise ValueError(f"the class head has not the shape that its first level says: {', '.join(skipped)}")
    return Opened(model.eval(), config)


def _open_name(name: str) -> Opened:
    found = _published(name).read()
    return _filled(found.config, found.state, found.categories)


def _published(name: str) -> WeightsEnum:
    if name in MODELS:
        return choose_weights(MODELS[name].weights, pretrained=True, weights=None)
    if "." not in name:
        raise ValueError(f"no model {name!r}: not a file or folder that exists, and no name: {suggest(name, MODELS)}")
    return get_weight(name)
