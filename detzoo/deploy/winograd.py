"""Convolutions with fewer products."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TILE = 2  # pixels of the output, a side
REACH = TILE + 2  # pixels of the input under them


class Winograd(nn.Module):
    """A 3x3 convolution by tiles: F(2x2, 3x3) of Lavin and Gray (arXiv:1509.09308, section 4.1), 16 products for four
    pixels where there were 36. What is rounded on the way is up to thrice that of the direct sum: a last bit or two.

    Args:
        convolution: of which `fits` is true. Takes and gives what it does.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        kernel = convolution.weight.detach().double()  # [K, C, 3, 3]
        transform = torch.tensor([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], dtype=torch.float64)
        transformed = torch.einsum("ia,kcab,jb->ijck", transform, kernel, transform).flatten(0, 1)
        bias = torch.zeros(len(kernel)) if convolution.bias is None else convolution.bias.detach()
        self.register_buffer("kernels", transformed.to(convolution.weight.dtype).contiguous(), persistent=False)
        self.register_buffer("bias", bias.clone(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        rows, columns = -(-height // TILE), -(-width // TILE)
        beyond = (0, 0, 1, 1 + columns * TILE - width, 1, 1 + rows * TILE - height)
        pixels = F.pad(x.permute(0, 2, 3, 1), beyond)  # colours last: their sums are of whole vectors
        lines = [pixels[:, k : k + TILE * rows - 1 : TILE] for k in range(REACH)]
        tiles = torch.stack(
            [
                part
                for line in _transform(lines)
                for part in _transform([line[:, :, k : k + TILE * columns - 1 : TILE] for k in range(REACH)])
            ]
        )  # [16, B, rows, columns, C]
        products = torch.bmm(tiles.flatten(1, 3), self.kernels).view(REACH, REACH, batch, rows, columns, -1)
        halves = _gather(products.unbind(0))
        quarters = [torch.stack(_gather(half.unbind(0)), dim=3) for half in halves]  # [B, rows, columns, 2, K] each
        full = torch.stack(quarters, dim=2).reshape(batch, TILE * rows, TILE * columns, -1)
        return (full[:, :height, :width] + self.bias).permute(0, 3, 1, 2)


def _transform(parts: list[Tensor]) -> tuple[Tensor, ...]:
    """Four neighbours along an axis to the four factors that make two results."""
    first, second, third, fourth = parts
    return first - third, second + third, third - second, second - fourth


def _gather(parts: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """The two results from four products."""
    first, second, third, fourth = parts
    return first + second + third, second - third - fourth


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
    """The module itself, its convolutions replaced where that is worth it.

    Args:
        module: of float32, on a CPU.
        least: input times output channels, from which on the products that are saved take longer than the transforms.
    """
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if fits(child) and child.in_channels * child.out_channels >= least:
                setattr(parent, name, Winograd(child))
    return module
