"""What a matcher and a loss are held to, so that a mistake in one of your own is named where it is made.

Types and shapes are known without waiting for a GPU; values are looked at on a CPU only.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..structures import PaddedTargets


def check_match(matcher: nn.Module, match: Tensor, targets: PaddedTargets, num_boxes: int) -> None:
    """Raise a ValueError unless a matcher gave [B, A] int64 indices of objects that are there, -1 for background."""
    name, expected = type(matcher).__name__, (len(targets.boxes), num_boxes)
    contract = f"expected int64 of shape {expected}, for each default box the number of its object, -1 for background"
    if not isinstance(match, Tensor):
        raise ValueError(f"the matcher {name} gave {type(match).__name__}: {contract}")
    if match.shape != expected or match.dtype != torch.int64:
        kind = str(match.dtype).removeprefix("torch.")
        raise ValueError(f"the matcher {name} gave {kind} of shape {tuple(match.shape)}: {contract}")
    if match.device.type == "cpu" and (absent := _absent_object(match, targets.mask)):
        image, number = absent
        raise ValueError(
            f"the matcher {name} gave object {number} in image {image} of the batch, which has "
            f"{int(targets.mask[image].sum())} (numbered from 0; targets.mask tells them from padding): {contract}"
        )


def _absent_object(match: Tensor, mask: Tensor) -> tuple[int, int] | None:
    """The first image [0..B) with an index into padding or beyond, and that index."""
    limited = match.clamp(0, mask.shape[1] - 1)
    absent = (match >= 0) & ((match != limited) | ~mask.gather(1, limited))
    if not absent.any():
        return None
    image, box = absent.nonzero()[0].tolist()
    return image, int(match[image, box])


def check_losses(loss: nn.Module, losses: Mapping[str, Tensor]) -> None:
    """Raise a ValueError unless a loss gave named scalars."""
    name, contract = type(loss).__name__, "expected a dict of names and scalar tensors, which are summed"
    if not isinstance(losses, Mapping) or not losses:
        raise ValueError(f"the loss {name} gave {_kind(losses)}: {contract}")
    for key, value in losses.items():
        scalar = isinstance(value, Tensor) and value.ndim == 0 and value.is_floating_point()
        if not isinstance(key, str) or not scalar:
            raise ValueError(f"the loss {name} gave {_kind(value)} as {key!r}: {contract}")


def _kind(value: object) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} of shape {tuple(value.shape)}"
    return "nothing" if value is None else f"an empty {type(value).__name__}" if value == {} else type(value).__name__
