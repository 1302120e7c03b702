"""ONNX, by `torch.onnx`'s exporter of `torch.export` graphs, and ONNX Runtime to check it with."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.export import Dim, ExportedProgram

from .keep import keep
from .program import EXACT, HALF, Precision, Program, Run, Target, quiet


def write_onnx(program: Program, path: Path) -> None:
    """One file, weights inside."""
    written = onnx_of(program.trace(), ["images"], program.module.outputs, (program.dynamic,))
    written.model.metadata_props.update(program.metadata)
    written.save(str(path), external_data=False)


def onnx_of(
    traced: ExportedProgram, inputs: Sequence[str], outputs: Sequence[str], dynamic: tuple[dict[int, Dim], ...]
) -> torch.onnx.ONNXProgram:
    """A graph with these names of what goes in and comes out, and of the dimensions that may be any."""
    with quiet():
        return torch.onnx.export(
            traced,
            dynamo=True,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes=dynamic if any(dynamic) else None,
            custom_translation_table={torch.ops.detzoo.keep.default: _keep()},
            verbose=False,
        )


def open_onnx(path: Path) -> Run:
    """A file in ONNX Runtime, on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: [torch.from_numpy(x) for x in session.run(None, {name: images.numpy()})]


def _keep() -> Callable[..., Any]:
    """`detzoo::keep` in ONNX, whose suppression takes images and groups apart by itself, without offsets.

    It wants the scores [B, G, K] of all groups. Here a candidate has one in its own group, its place from behind, so
    that equal scores stay in order; 0 elsewhere.
    """
    from onnxscript import opset18 as op

    def translated(boxes: Any, groups: Any, iou_threshold: float, num_groups: int) -> Any:
        count = groups.shape[1]
        worth = op.Constant(value_floats=[float(count - place) for place in range(count)])  # [K]
        numbers = op.Constant(value_ints=list(range(num_groups)))
        own = op.Equal(op.Unsqueeze(groups, [1]), op.Unsqueeze(numbers, [1]))  # [B, G, K]
        scores = op.Where(own, worth, 0.0)
        chosen = op.NonMaxSuppression(boxes, scores, [count], [iou_threshold], [0.5])  # rows of image, group, place
        survivors = op.Gather(chosen, [0, 2], axis=1)
        ones = op.Expand([1.0], op.Shape(survivors, start=0, end=1))
        nobody = op.Expand([0.0], op.Shape(groups))
        return op.Greater(op.ScatterND(nobody, survivors, ones), 0.0)

    return translated


ONNX = Target(
    suffix=".onnx",
    precisions={
        "float32": Precision(torch.float32, write_onnx, EXACT),
        "float16": Precision(torch.float16, write_onnx, HALF),
    },
    open=open_onnx,
    needs=("onnx", "onnxscript", "onnxruntime"),
    extra="onnx",
    keep=keep,
)
