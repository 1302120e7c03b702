"""Whose file this is. Where two readings fit, the user is asked: a wrong guess gives wrong boxes and no error."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ..lookup import suggest
from . import (
    caffe_ssd,
    d2l,
    lufficc,
    mmdetection,
    mobilenet_ssd,
    nvidia,
    pytorch_ssd,
    sgrvinod,
    ssd_pytorch,
    ssd_tensorflow,
    tf_object_detection,
    torchvision,
)
from .origin import Foreign, Imported, Origin, Reading
from .readers import Container, read_container, shown

ORIGINS: dict[str, Origin] = {
    caffe_ssd.NAME: caffe_ssd.readings,
    d2l.NAME: d2l.readings,
    lufficc.NAME: lufficc.readings,
    mmdetection.NAME: mmdetection.readings,
    mobilenet_ssd.NAME: mobilenet_ssd.readings,
    nvidia.NAME: nvidia.readings,
    pytorch_ssd.NAME: pytorch_ssd.readings,
    sgrvinod.NAME: sgrvinod.readings,
    ssd_pytorch.NAME: ssd_pytorch.readings,
    ssd_tensorflow.NAME: ssd_tensorflow.readings,
    tf_object_detection.NAME: tf_object_detection.readings,
    torchvision.NAME: torchvision.readings,
}

DEEPEST = 3  # modules around a network that nobody knows by name

WHERE = (
    "say which it is (--origin ORIGIN to the command detzoo, origin=ORIGIN to detzoo.load and references/evaluate.py; "
    "for training, detzoo convert FILE --origin ORIGIN -o mine.safetensors first)"
)


def import_file(path: str | Path, origin: str | None = None) -> Imported:
    """A detector of another project in detzoo's words, with the numbers of its origin.

    Args:
        path: the file.
        origin: a name in `ORIGINS`, with a slash and which of its models where these cannot be told apart; by default
            what the file says itself.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: naming the file: for what cannot be read, is of no known origin or of another one than was said, or
            could be of several, which are listed then.
    """
    foreign = foreign_in(read_container(path))
    return convert(foreign, choose(foreign, origin))


def foreign_in(container: Container, origins: Mapping[str, Origin] = ORIGINS) -> Foreign:
    """The weights in a container. Where nobody knows their names, and all begin with the name of the same module, as
    Lightning's do with that of an attribute, what stands behind it, if somebody knows that.

    Raises:
        ValueError: if there are none.
    """
    whole = foreign = Foreign.of(container)
    for _ in range(DEEPEST):
        if readings_of(foreign, origins):
            return foreign
        module, dot, _ = next(iter(foreign.state)).partition(".")
        if not dot or not all(name.startswith(module + dot) for name in foreign.state):
            return whole
        state = {name.removeprefix(module + dot): tensor for name, tensor in foreign.state.items()}
        foreign = replace(foreign, state=state, prefix=foreign.prefix + module + dot)
    return foreign if readings_of(foreign, origins) else whole


def convert(foreign: Foreign, reading: Reading) -> Imported:
    """Read a file in this way.

    Raises:
        ValueError: naming the file, if its tensors are not those of such a model.
    """
    try:
        imported = reading.convert(foreign)
    except ValueError as error:
        raise ValueError(f"{foreign.container.path}, read as {reading.name}: {shown(str(error))}") from error
    if not foreign.prefix:
        return imported
    return replace(imported, changes=(f"names: without {foreign.prefix!r} before each of them", *imported.changes))


def readings_of(foreign: Foreign, origins: Mapping[str, Origin] = ORIGINS) -> list[Reading]:
    """All that the names and shapes in a file allow."""
    return [reading for origin in origins.values() for reading in origin(foreign)]


def choose(foreign: Foreign, origin: str | None = None, origins: Mapping[str, Origin] = ORIGINS) -> Reading:
    """The one reading that fits; of several, the one that the file's name or hash points to.

    Raises:
        ValueError: if none fits, or several do, or the one that was asked for does not.
    """
    if origin is not None and origin.partition("/")[0] not in origins:
        raise ValueError(f"unknown origin {origin!r}: {suggest(origin.partition('/')[0], origins)}")
    path, fitting = foreign.container.path, readings_of(foreign, origins)
    wanted = [reading for reading in fitting if origin is None or origin in (reading.name, _project(reading))]
    if not wanted:
        raise ValueError(f"{path} {_misfit(foreign, origin, fitting, origins)}")
    if len(wanted) == 1:
        return wanted[0]
    hinted = [reading for reading in wanted if reading.hinted or _is_known(foreign, reading)]
    if len(hinted) != 1:
        lines = [f"origin={reading.name!r}: {reading.about}" for reading in wanted]
        raise ValueError("\n  - ".join([f"{path} could be several things, whose tensors look alike; {WHERE}:", *lines]))
    return hinted[0]


def _is_known(foreign: Foreign, reading: Reading) -> bool:
    return bool(reading.sha256) and foreign.sha256 == reading.sha256


def _project(reading: Reading) -> str:
    return reading.name.partition("/")[0]


def _misfit(foreign: Foreign, origin: str | None, fitting: list[Reading], origins: Mapping[str, Origin]) -> str:
    if origin is not None and fitting:
        return f"is no file of {origin}: its tensors are those of {', '.join(reading.name for reading in fitting)}"
    names = ", ".join(map(repr, list(foreign.state)[:3]))
    return (
        f"is a {foreign.container.kind} file of {len(foreign.state)} tensors ({names}, ...), which fit no detector of "
        f"{origin or ', '.join(sorted(origins))}: is it one, and of the architecture that its project publishes?"
    )
