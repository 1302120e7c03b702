"""ExecuTorch, PyTorch's runtime for phones and small boards, with XNNPACK as its engine."""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .program import EXACT, Precision, Program, Run, Target


def write_executorch(program: Program, path: Path) -> None:
    """One file; the format has no room for metadata."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower
    from torch._export.verifier import SpecViolationError

    try:
        lowered = to_edge_transform_and_lower(program.trace(), partitioner=[XnnpackPartitioner()])
    except SpecViolationError as error:
        reason = next(line for line in str(error).splitlines() if line.strip())
        raise ValueError(f"executorch cannot run all of this network: {reason}") from error
    path.write_bytes(lowered.to_executorch().buffer)


def open_executorch(path: Path) -> Run:
    """A file in ExecuTorch's runtime, on the CPU."""
    from executorch.runtime import Runtime

    content = path.read_bytes()
    program = Runtime.get().load_program(content)
    return _Method(content, program, program.load_method("forward"))


class _Method(NamedTuple):
    """A function of a program, which points into its program and that into the file's content: all must stay."""

    content: bytes
    program: Any
    method: Any

    def __call__(self, images: Tensor) -> list[Tensor]:
        return [output.clone() for output in self.method.execute([images.contiguous()])]


EXECUTORCH = Target(
    suffix=".pte",
    precisions={"float32": Precision(torch.float32, write_executorch, EXACT)},
    open=open_executorch,
    needs=("executorch",),
    extra="executorch",
    levels=("raw", "decoded"),  # it has no operator that suppresses
    inputs=("tensor", "pixels"),
    dynamic=False,  # memory is laid out before it runs
)
