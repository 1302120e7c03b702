"""Numbers a network is computed in: which a device is good at, and what is slow in half precision all the same."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import SqueezeExcitation

PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_precision(wanted: str, device: torch.device) -> str:
    """A name in `PRECISIONS`: the wanted one, or for "auto" bfloat16 where the device has instructions for it.

    Raises:
        ValueError: for an unknown name.
    """
    if wanted != "auto" and wanted not in PRECISIONS:
        raise ValueError(f"precision={wanted!r}: expected one of auto, {', '.join(PRECISIONS)}")
    if wanted != "auto":
        return wanted
    return "bfloat16" if _computes_in_bfloat16(device) else "float32"


def _computes_in_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()  # an older torch cannot tell
    return bool(capabilities.get("amx_bf16"))  # without the matrix unit it is no faster


def tune_for_cpu(model: nn.Module, precision: str) -> None:
    """Change how a model in training computes what PyTorch's CPU kernels are slow at; weights and results stay.

    Args:
        model: in channels-last layout, or it is to no avail.
        precision: a name in `PRECISIONS`.
    """
    if precision != "float32":
        keep_depthwise_in_float32(model)
    for layer in model.modules():
        if isinstance(layer, SqueezeExcitation) and isinstance(layer.avgpool, nn.AdaptiveAvgPool2d):
            layer.avgpool = GlobalAveragePool()


def keep_depthwise_in_float32(model: nn.Module) -> None:
    """Compute depthwise convolutions in float32 whatever the autocast.

    On CPUs the backward pass of those with a stride or a 5x5 kernel is about ten times slower in half precision
    (123 against 13 ms: 64 channels of 160x160, stride 2, batch 16, two cores), while plain convolutions are three times
    faster.
    """
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels > 1:
            layer.forward = partial(_in_float32, layer)


def _in_float32(layer: nn.Conv2d, x: Tensor) -> Tensor:
    with torch.autocast(x.device.type, enabled=False):
        return nn.Conv2d.forward(layer, x.float()).to(x.dtype)


class GlobalAveragePool(nn.Module):
    """AdaptiveAvgPool2d(1) whose gradient keeps the layout of its input.

    PyTorch's comes back as NCHW whatever the input was, and is then added to a channels-last gradient element by
    element: 3 % of a training step of SSDlite320.
    """

    def forward(self, x: Tensor) -> Tensor:
        return _GlobalMean.apply(x)


class _GlobalMean(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.shape, ctx.channels_last = x.shape, x.is_contiguous(memory_format=torch.channels_last)
        return x.mean((2, 3), keepdim=True)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        layout = torch.channels_last if ctx.channels_last else torch.contiguous_format
        share = gradient / (ctx.shape[2] * ctx.shape[3])
        return share.expand(ctx.shape).contiguous(memory_format=layout)
