"""Convolutions with fewer products."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# F(4 x 4, 3 x 3) of Lavin and Gray (arXiv:1509.09308, section 4.3): tiles of 4 x 4 results from 6 x 6 pixels. Along
# each axis, six pixels times three of a kernel are, after PIXELS and KERNEL, as many products; RESULTS adds them up.
SIDE, REACH = 4, 6
PIXELS = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
KERNEL = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
RESULTS = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))
MOST = 1 << 22  # numbers of a map that are cut up at once: a few times as many are in memory
WORTH_IT = 128  # channels that come and that go: with fewer, moving tiles takes longer than the products saved
IN_ALL = REACH + 1  # the product that every result of a tile has once, see the second column of RESULTS


class Winograd(nn.Module):
    """A 3x3 convolution by tiles: on large maps 2.25 products for each result, where there were 9.

    What is rounded on the way is some thirty times what the direct sum rounds, and still far below what detections are
    compared by. Maps of less than two tiles, and products that PyTorch was told to round, are left to the convolution.

    Args:
        convolution: of which `fits` is true. Takes and gives what it does.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.plain = convolution
        pixels, factors, results = (torch.tensor(matrix, dtype=torch.float64) for matrix in (PIXELS, KERNEL, RESULTS))
        kernel = convolution.weight.detach().double()  # [K, C, 3, 3]
        kernels = torch.einsum("ia,kcab,jb->ijck", factors, kernel, factors).flatten(0, 1)
        constants = {"kernels": kernels, "pixels": torch.kron(pixels, pixels), "results": torch.kron(results, results)}
        for name, tensor in constants.items():
            self.register_buffer(name, tensor.to(convolution.weight.dtype).contiguous(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if min(x.shape[-2:]) < 2 * SIDE or torch.get_float32_matmul_precision() != "highest":
            return self.plain(x)
        at_once = max(1, MOST // x[0].numel())
        with torch.autocast(x.device.type, enabled=False):
            parts = [self._tiled(part) for part in x.float().split(at_once)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)  # which would copy even a single one

    def _tiled(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        rows, columns = -(-height // SIDE), -(-width // SIDE)
        beyond = (0, 0, 1, 1 + columns * SIDE - width, 1, 1 + rows * SIDE - height)
        x = F.pad(x.permute(0, 2, 3, 1), beyond)  # colours last: whole vectors are moved
        tiles = x.unfold(1, REACH, SIDE).unfold(2, REACH, SIDE)  # [B, rows, columns, C, 6, 6]
        tiles = tiles.permute(0, 1, 2, 4, 5, 3).reshape(-1, REACH**2, channels)
        factors = torch.matmul(self.pixels, tiles)  # a tile at a time: it stays near
        products = torch.bmm(factors.transpose(0, 1), self.kernels)  # [36, B * rows * columns, K]
        if self.plain.bias is not None:
            products[IN_ALL] += self.plain.bias
        found = (self.results @ products.flatten(1)).view(SIDE, SIDE, batch, rows, columns, -1)
        found = found.permute(2, 3, 0, 4, 1, 5).reshape(batch, SIDE * rows, SIDE * columns, -1)
        return found[:, :height, :width].permute(0, 3, 1, 2)


def fits(module: nn.Module) -> bool:
    """Whether `Winograd` computes what this module does."""
    return (
        type(module) is nn.Conv2d
        and module.kernel_size == (3, 3)
        and module.stride == module.padding == module.dilation == (1, 1)
        and module.groups == 1
        and module.padding_mode == "zeros"
    )


def with_winograd(module: nn.Module, least: int) -> nn.Module:
    """The module itself, its convolutions of at least so many channels replaced."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if fits(child) and min(child.in_channels, child.out_channels) >= least:
                setattr(parent, name, Winograd(child))
    return module
