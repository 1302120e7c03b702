"""`torch.export`: a graph of aten operators for PyTorch without this package, or for compilers behind it.

Level `nms` wants torchvision imported where it is loaded, whose operator suppresses.
"""

from pathlib import Path

import torch
from torch import Tensor

from .program import BFLOAT, EXACT, Precision, Program, Run, Target


def write_torch(program: Program, path: Path) -> None:
    """One file; the metadata are its extra files, of the same names."""
    torch.export.save(program.trace(), path, extra_files=program.metadata)


def open_torch(path: Path) -> Run:
    """A file as a function, in PyTorch."""
    module = torch.export.load(path).module()

    def run(images: Tensor) -> list[Tensor]:
        with torch.no_grad():
            return list(module(images))

    return run


TORCH_EXPORT = Target(
    suffix=".pt2",
    precisions={
        "float32": Precision(torch.float32, write_torch, EXACT),
        "bfloat16": Precision(torch.bfloat16, write_torch, BFLOAT),
    },
    open=open_torch,
)
