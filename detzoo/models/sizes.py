"""Which images a network takes: below some size a map is smaller than the kernel that is to run over it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call

STEP, LARGEST = 32, 2048  # pixels a side of the squares that are tried

Size = tuple[int, int]


def size_problem(backbone: nn.Module, neck: nn.Module, size: Size) -> str | None:
    """Why there are no maps of images of this size (height, width), and which there are; None where it is not the size.

    Nothing is computed: shapes are followed through the network, which takes tenths of a second. So it is asked once an
    image was refused, and not whenever a model is built.
    """
    with _evaluating(backbone, neck):
        if _takes(backbone, neck, size):
            return None
        first = STEP * (max(size) // STEP + 1)
        sides = range(first, max(first, LARGEST) + 1, STEP)
        side = next((side for side in sides if _takes(backbone, neck, (side, side))), None)
    if side is None:
        return None
    return (
        f"the network cannot take images of {size[0]}x{size[1]} pixels (height x width): of larger squares, in steps "
        f"of {STEP} pixels, {side}x{side} is the first that it takes"
    )


@contextmanager
def _evaluating(*modules: nn.Module) -> Iterator[None]:
    """Eval mode for a while: in training, batch norm wants more than one number, and its synchronised kind a GPU.

    Only the flags are changed, since `train` of a module of one's own may do more than that.
    """
    modes = [(layer, layer.training) for module in modules for layer in module.modules()]
    try:
        for layer, _ in modes:
            layer.training = False
        yield
    finally:
        for layer, training in modes:
            layer.training = training


@torch.no_grad()
def _takes(backbone: nn.Module, neck: nn.Module, size: Size) -> bool:
    try:
        images = torch.empty(1, 3, *size, device="meta")
        _without_content(neck, _without_content(backbone, images))
    except Exception:  # a layer of one's own may raise anything; what fails at all sizes does not count as an answer
        return False
    return True


def _without_content(module: nn.Module, inputs: Tensor | list[Tensor]) -> list[Tensor]:
    """The shapes that a module gives, as tensors without content; its own stay as they are, and where."""
    tensors = [*module.named_parameters(), *module.named_buffers()]
    return functional_call(module, {name: tensor.detach().to("meta") for name, tensor in tensors}, (inputs,))
