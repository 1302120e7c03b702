"""OpenVINO's own format, two files, by way of ONNX."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from ..components.resizes import bilinear_antialias
from .inputs import AnyImages, antialias_by_products
from .keep import keep
from .levels import Raw
from .program import EXACT, HALF, INTEGER, Precision, Program, Run, Target, trace
from .quantise import quantise
from .to_onnx import onnx_of

BETWEEN = ("first_half_logits", "first_half_deltas")  # no output has such a name


@cache
def core() -> Any:
    """The one `openvino.Core` of this process, which lives as long.

    Each has a stack of its own for signals, and puts back the one it found: of two that go in the order in which they
    came, the second puts back what the first one freed, and the next signal ends the process (OpenVINO 2026.4).
    """
    import openvino

    return openvino.Core()


class First(nn.Module):
    """The first half of a level, as a graph of its own: images to logits and deltas."""

    def __init__(self, level: Raw) -> None:
        super().__init__()
        self.level = level

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.level.predict(images)


class Last(First):
    """The second: these, and the images for the sake of their size, to the outputs."""

    def forward(self, logits: Tensor, deltas: Tensor, images: Tensor) -> tuple[Tensor, ...]:
        return self.level.finish(logits, deltas, images)


def halves(level: Raw, example: Tensor, dynamic: dict[int, Dim]) -> tuple[ExportedProgram, ExportedProgram]:
    """`First` and `Last`, traced: what computes in 8 bits, and what does not, as boxes of 8 bits are off by pixels.

    Args:
        level: in eval mode.
        example: images.
        dynamic: their dimensions that may be other ones.
    """
    first, last = First(level), Last(level)
    with torch.no_grad():
        between = first(example)
    batch = {dimension: size for dimension, size in dynamic.items() if dimension == 0}
    return trace(first, (example,), (dynamic,)), trace(last, (*between, example), (batch, batch, dynamic))


def joined(first: Any, last: Any) -> Any:
    """One `openvino.Model` of the two halves, both of which are used up."""
    import openvino

    given = [*(result.input_value(0) for result in first.get_results()), first.get_parameters()[0].output(0)]
    for parameter, source in zip(last.get_parameters(), given, strict=False):  # the images are left out if unused
        parameter.output(0).replace(source)
    return openvino.Model(last.get_results(), first.get_parameters())


def write_openvino(program: Program, path: Path) -> None:
    """`path`, which ends in .xml, and the weights beside it in .bin."""
    _save(_whole(program, path), program, path)


def write_openvino_half(program: Program, path: Path) -> None:
    """The same with weights in float16, half the size; in which precision they are computed with is told the engine."""
    _save(_whole(program, path), program, path, half=True)


def write_openvino_int8(program: Program, path: Path) -> None:
    """The same with the network in 8 bits, a quarter of the size; boxes, scores and suppression are in float32."""
    core()  # before those that quantisation makes for itself
    _filter_by_products(program)
    first, last = halves(program.module, program.example, program.dynamic)
    network = quantise(_read(first, ["images"], BETWEEN, path.parent), program.calibration)
    _save(joined(network, _read(last, [*BETWEEN, "images"], program.module.outputs, path.parent)), program, path)


def _whole(program: Program, path: Path) -> Any:
    _filter_by_products(program)
    return _read(program.trace(), ["images"], program.module.outputs, path.parent)


def _filter_by_products(program: Program) -> None:
    """OpenVINO reads ONNX's Resize without its filter, and does not say so."""
    inputs = program.module.inputs
    if isinstance(inputs, AnyImages) and inputs.resize is bilinear_antialias:
        inputs.resize = antialias_by_products


def _read(traced: ExportedProgram, inputs: Sequence[str], outputs: Sequence[str], folder: Path) -> Any:
    """An `openvino.Model` by way of an ONNX file, which is in the folder for a moment."""
    import openvino

    with TemporaryDirectory(dir=folder) as place:
        onnx = Path(place) / "model.onnx"
        onnx_of(traced, inputs, outputs, ()).save(str(onnx), external_data=False)
        return openvino.convert_model(onnx)


def _save(model: Any, program: Program, path: Path, half: bool = False) -> None:
    import openvino

    for name, text in program.metadata.items():
        model.set_rt_info(text, ["detzoo", name])
    openvino.save_model(model, path, compress_to_fp16=half)


def open_openvino(path: Path) -> Run:
    """A file in OpenVINO, on the CPU, in float32: where a processor has bfloat16, OpenVINO takes that unless told."""
    compiled = core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda images: [torch.from_numpy(x.copy()) for x in compiled(images.numpy()).values()]


OPENVINO = Target(
    suffix=".xml",
    precisions={
        "float32": Precision(torch.float32, write_openvino, EXACT),
        "float16": Precision(torch.float32, write_openvino_half, HALF),
        "int8": Precision(torch.float32, write_openvino_int8, INTEGER, ("nncf",), "int8", calibrates=True),
    },
    open=open_openvino,
    needs=("openvino", "onnx", "onnxscript"),
    extra="openvino,onnx",
    beside=(".bin",),
    keep=keep,
)
