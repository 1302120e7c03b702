"""What an export target is given, and what it says of itself."""

import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from ..packages import package
from .inputs import INPUTS
from .keep import keep_by_offsets
from .levels import LEVELS, Keep, Raw

TALKATIVE = ("torch.onnx", "onnx_ir", "onnxscript")
Run = Callable[[Tensor], list[Tensor]]  # images to the outputs of a level


class Program(NamedTuple):
    """A detector about to be written: a level, what it may be given, and what is to be known of it.

    `example` is a batch of images; `dynamic` its dimensions that may be other ones; `metadata` texts by name;
    `calibration` batches of images like those to come, for precisions that want them.
    """

    module: Raw
    example: Tensor
    dynamic: dict[int, Dim]
    metadata: dict[str, str]
    calibration: Iterable[Tensor] = ()

    def trace(self) -> ExportedProgram:
        """See `trace`."""
        return trace(self.module, (self.example,), (self.dynamic,))


def trace(module: nn.Module, examples: tuple[Tensor, ...], dynamic: tuple[dict[int, Dim], ...]) -> ExportedProgram:
    """The graph of aten operators.

    Activations of the module are no longer computed in place: a graph knows no such thing, and tracing it takes thrice
    as long.

    Args:
        module: in eval mode.
        examples: what it is given.
        dynamic: dimensions of each of them that may be other ones.
    """
    for layer in module.modules():
        if getattr(layer, "inplace", False):
            layer.inplace = False
    with torch.no_grad(), quiet():
        return torch.export.export(module, examples, dynamic_shapes=tuple(dims or None for dims in dynamic))


class Tolerance(NamedTuple):
    """What may differ from the detector in PyTorch's float32: any number of an output by `relative` of the largest one
    there; a detection by `pixels` and in its score by `score`; and how many detections in a hundred may be other ones,
    `strays`.
    """

    relative: float
    pixels: float
    score: float
    strays: float


EXACT = Tolerance(relative=1e-4, pixels=0.01, score=1e-4, strays=0)
HALF = Tolerance(relative=0.02, pixels=2, score=0.02, strays=5)  # 11 bits, rounded in each of some dozen layers
BFLOAT = Tolerance(relative=0.1, pixels=8, score=0.1, strays=20)  # 8 bits
INTEGER = Tolerance(relative=0.5, pixels=16, score=0.25, strays=40)  # 256 steps: accuracy is to be measured


class Precision(NamedTuple):
    """How a target writes a program in some precision; the network is in `dtype` before it is traced. `needs` are
    packages that only this precision wants, and the `extra` of detzoo that brings them; it `calibrates` if it has to
    see images like those to come.
    """

    dtype: torch.dtype
    write: Callable[[Program, Path], None]
    tolerance: Tolerance
    needs: tuple[str, ...] = ()
    extra: str = ""
    calibrates: bool = False


class Target(NamedTuple):
    """A format: how its files end, its precisions by name, what runs a file, and the extra of detzoo it needs.

    `beside` are the endings of files that come with it; `keep` is what suppresses; `dynamic` whether sizes may be left
    open.
    """

    suffix: str
    precisions: dict[str, Precision]
    open: Callable[[Path], Run]
    needs: tuple[str, ...] = ()
    extra: str = ""
    beside: tuple[str, ...] = ()
    levels: tuple[str, ...] = tuple(LEVELS)
    inputs: tuple[str, ...] = INPUTS
    dynamic: bool = True
    keep: Keep = keep_by_offsets

    def check_installed(self) -> None:
        """Raise a ValueError that says what to install if a package is missing."""
        check_packages(self.needs, self.extra)


def check_packages(names: Sequence[str], extra: str) -> None:
    """Raise a ValueError that says what to install if one is missing."""
    for name in names:
        package(name, extra)


@contextmanager
def quiet() -> Iterator[None]:
    """Without exporters' remarks on operators that are not used here, and on their own innards."""
    loggers = [logging.getLogger(name) for name in TALKATIVE]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
