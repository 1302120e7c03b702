"""OpenVINO's own format, two files, by way of ONNX."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from ..components.resizes import bilinear_antialias
from .inputs import AnyImages, antialias_by_products
from .keep import keep
from .program import EXACT, HALF, Precision, Program, Run, Target
from .to_onnx import write_onnx


@cache
def core() -> Any:
    """The one `openvino.Core` of this process, which lives as long.

    Each has a stack of its own for signals, and puts back the one it found: of two that go in the order in which they
    came, the second puts back what the first one freed, and the next signal ends the process (OpenVINO 2026.4).
    """
    import openvino

    return openvino.Core()


def write_openvino(program: Program, path: Path) -> None:
    """`path`, which ends in .xml, and the weights beside it in .bin."""
    _write(program, path, half=False)


def write_openvino_half(program: Program, path: Path) -> None:
    """The same with weights in float16, half the size; in which precision they are computed with is told the engine."""
    _write(program, path, half=True)


def _write(program: Program, path: Path, half: bool) -> None:
    import openvino

    inputs = program.module.inputs
    if isinstance(inputs, AnyImages) and inputs.resize is bilinear_antialias:
        inputs.resize = antialias_by_products  # it reads ONNX's Resize without the filter, and does not say so
    with TemporaryDirectory(dir=path.parent) as folder:
        onnx = Path(folder) / "model.onnx"
        write_onnx(program, onnx)
        model = openvino.convert_model(onnx)
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
    },
    open=open_openvino,
    needs=("openvino", "onnx", "onnxscript"),
    extra="openvino,onnx",
    beside=(".bin",),
    keep=keep,
)
