"""What an exported detector is given: the network's input, pixels of its size, or images of any size."""

import torch
from torch import Tensor, nn

from ..components.preprocess import Preprocess
from ..components.resizes import CENTRE, RESIZES, Size, bilinear, bilinear_antialias, to_floats

INPUTS = ("tensor", "pixels", "images")
EXPORTABLE = {"bilinear": bilinear, "bilinear_antialias": bilinear_antialias}  # the others count in Python's integers


def antialias_by_products(batch: Tensor, size: Size, dtype: torch.dtype) -> Tensor:
    """`bilinear_antialias` as two products of matrices, for engines that leave its filter out."""
    (height, width), (rows, columns) = batch.shape[-2:], size
    return _filter(height, rows, dtype) @ to_floats(batch, dtype) @ _filter(width, columns, dtype).T


def _filter(old: int, new: int, dtype: torch.dtype) -> Tensor:
    """How much each of the old pixels of an axis counts for each of the new ones, [new, old]: a triangle around its
    centre, as wide as the larger of the two kinds of pixels.
    """
    scale = old / new
    centres = (torch.arange(new, dtype=dtype) + CENTRE) * scale
    distances = (torch.arange(old, dtype=dtype) + CENTRE - centres[:, None]).abs()
    heights = (1 - distances / torch.sym_max(scale, 1.0)).clamp(min=0)
    return heights / heights.sum(dim=1, keepdim=True)


class Tensors(nn.Module):
    """Float32 [B, 3, S, S], normalised already: what `SSD.predict` takes."""

    def forward(self, images: Tensor) -> Tensor:
        return images


class Pixels(nn.Module):
    """Uint8 [B, 3, S, S], RGB, to the network's input."""

    def __init__(self, preprocess: Preprocess) -> None:
        super().__init__()
        self.register_buffer("mean", preprocess.mean.float(), persistent=False)
        self.register_buffer("std", preprocess.std.float(), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return (to_floats(images, torch.float32) - self.mean) / self.std


class AnyImages(Pixels):
    """Uint8 [B, 3, H, W], RGB, of any height and width to the network's input."""

    def __init__(self, preprocess: Preprocess) -> None:
        super().__init__(preprocess)
        self.size, self.resize = preprocess.size, EXPORTABLE[preprocess.resize]

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(self.resize(images, self.size, torch.float32))


def build_inputs(preprocess: nn.Module, form: str) -> nn.Module:
    """The module for a name in `INPUTS`.

    Raises:
        ValueError: for an unknown name, and for a preprocessing that a graph cannot hold.
    """
    if form not in INPUTS:
        raise ValueError(f"unknown inputs {form!r}: expected one of {', '.join(INPUTS)}")
    if form == "tensor":
        return Tensors()
    if type(preprocess) is not Preprocess:
        raise ValueError(
            f"the preprocessing {type(preprocess).__name__} is not known to export: choose inputs 'tensor', and "
            "preprocess outside"
        )
    if form == "images" and preprocess.resize not in EXPORTABLE:
        raise ValueError(
            f"resize={preprocess.resize!r} cannot be put in a graph (of {', '.join(RESIZES)}, only "
            f"{' and '.join(EXPORTABLE)} can): choose inputs 'pixels', and resize outside"
        )
    return Pixels(preprocess) if form == "pixels" else AnyImages(preprocess)
