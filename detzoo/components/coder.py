"""Boxes as offsets from default boxes, and back."""

import math

import torch
from torch import Tensor, nn

from ..ops import cxcywh_to_xyxy, xyxy_to_cxcywh


class BoxCoder(nn.Module):
    """Centre offsets in units of the default box and log sizes (SSD, equation 2; the weights are Caffe's 1 / variance).

    Always in float32: half precision cannot hold a pixel of a large image next to its neighbour.

    Args:
        weights: factors of (dx, dy, dw, dh).
        max_log_size: decoded log sizes are limited to this from above, so that a wild output cannot overflow `exp`;
            None for no limit. The default allows a factor of 62.5, as torchvision does.
        min_log_size: the same from below; -`max_log_size` in mmdetection, None everywhere else.
    """

    def __init__(
        self,
        weights: tuple[float, float, float, float] = (10.0, 10.0, 5.0, 5.0),
        max_log_size: float | None = math.log(1000 / 16),
        min_log_size: float | None = None,
    ) -> None:
        super().__init__()
        if len(weights) != 4 or min(weights) <= 0:
            raise ValueError(f"BoxCoder: expected four positive weights, of (dx, dy, dw, dh), got {tuple(weights)}")
        if min_log_size is not None and max_log_size is not None and min_log_size > max_log_size:
            raise ValueError(f"BoxCoder: min_log_size={min_log_size} is above max_log_size={max_log_size}")
        self.weights = tuple(weights)
        self.register_buffer("_factors", torch.tensor(self.weights), persistent=False)  # where the boxes are
        self.max_log_size = max_log_size
        self.min_log_size = min_log_size

    def encode(self, boxes: Tensor, default_boxes: Tensor) -> Tensor:
        """Deltas [..., 4] that turn `default_boxes` into `boxes`, both [..., 4] xyxy."""
        wanted, default = xyxy_to_cxcywh(boxes.float()), xyxy_to_cxcywh(default_boxes.float())
        offsets = (wanted[..., :2] - default[..., :2]) / default[..., 2:]
        sizes = (wanted[..., 2:] / default[..., 2:]).log()
        return torch.cat((offsets, sizes), dim=-1) * self._factors.float()

    def decode(self, deltas: Tensor, default_boxes: Tensor) -> Tensor:
        """Boxes [..., 4] xyxy from deltas [..., 4] and the default boxes [..., 4] they refer to."""
        default = xyxy_to_cxcywh(default_boxes.float())
        deltas = deltas.float() / self._factors.float()
        centres = default[..., :2] + deltas[..., :2] * default[..., 2:]
        log_sizes = deltas[..., 2:]
        if self.max_log_size is not None or self.min_log_size is not None:
            log_sizes = log_sizes.clamp(self.min_log_size, self.max_log_size)
        sizes = default[..., 2:] * log_sizes.exp()
        return cxcywh_to_xyxy(torch.cat((centres, sizes), dim=-1))

    def extra_repr(self) -> str:
        return f"weights={self.weights}, max_log_size={self.max_log_size}, min_log_size={self.min_log_size}"
