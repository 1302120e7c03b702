"""Ways to bring images to the network's size. Which one belongs to the weights: a network trained on one sees noise in
another.

Each takes a batch [B, C, H, W] of bytes, or of floats in [0, 1], colours together or one by one, to floats in [0, 1] of
the given size and type. Those of OpenCV and Pillow are theirs bit for bit, and work on bytes: floats are rounded to
255ths before.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Size = tuple[int, int]
Resize = Callable[[Tensor, Size, torch.dtype], Tensor]
CENTRE = 0.5  # of a pixel, from its edge
OPENCV_BITS = 11  # of the fraction in its coefficients
PILLOW_BITS = 22


def to_floats(batch: Tensor, dtype: torch.dtype) -> Tensor:
    """Bytes, or floats in [0, 1], to floats in [0, 1] of that type."""
    if batch.dtype != torch.uint8:
        return batch.to(dtype)
    return batch.to(dtype).div_(255)  # in place: a second array of a photograph's size costs more than the division


def to_bytes(batch: Tensor) -> Tensor:
    """Bytes as they are, floats in [0, 1] as the nearest of 255 steps."""
    if batch.dtype == torch.uint8:
        return batch
    return (batch.float() * 255).round().clamp(0, 255).to(torch.uint8)


def bilinear(batch: Tensor, size: Size, dtype: torch.dtype) -> Tensor:
    """What `F.interpolate` does unless told otherwise: the four nearest pixels, however small the result."""
    return F.interpolate(to_floats(batch, dtype), size, mode="bilinear", align_corners=False)


def bilinear_antialias(batch: Tensor, size: Size, dtype: torch.dtype) -> Tensor:
    """A triangle as wide as a pixel of the result: Pillow's filter, without its rounding."""
    return F.interpolate(to_floats(batch, dtype), size, mode="bilinear", align_corners=False, antialias=True)


def opencv(batch: Tensor, size: Size, dtype: torch.dtype) -> Tensor:
    """`cv2.resize(image, ..., interpolation=cv2.INTER_LINEAR)` of byte images, bit for bit (4.x and 5.0 on x86).

    In integers: a sum along x with coefficients in 2048ths, and one along y that drops bits twice on its way.
    """
    pixels = to_bytes(batch)
    top, bottom, of_top, of_bottom = _opencv_taps(batch.shape[-2], size[0], batch.device)
    left, right, of_left, of_right = _opencv_taps(batch.shape[-1], size[1], batch.device)

    def along_x(rows: Tensor) -> Tensor:
        chosen = pixels.index_select(-2, rows)
        sums = chosen.index_select(-1, left) * of_left + chosen.index_select(-1, right) * of_right
        return sums >> 4

    upper, lower = along_x(top) * of_top[:, None] >> 16, along_x(bottom) * of_bottom[:, None] >> 16
    return to_floats((upper + lower + 2 >> 2).to(torch.uint8), dtype)


def _opencv_taps(old: int, new: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The two pixels behind each new one along one axis, and their coefficients: [new] each.

    Beyond the centre of the outermost pixel both are that one, which along y is not the same as it alone: bits drop.
    """
    places = ((torch.arange(new, dtype=torch.float64) + CENTRE) * (old / new) - CENTRE).float()
    first = places.floor()
    fraction, one = places - first, 1 << OPENCV_BITS
    coefficients = [((1 - fraction) * one).round().int(), (fraction * one).round().int()]
    pixels = [(first.long() + k).clamp(0, old - 1) for k in (0, 1)]
    return tuple(tensor.to(device) for tensor in (*pixels, *coefficients))


def pillow(batch: Tensor, size: Size, dtype: torch.dtype) -> Tensor:
    """`Image.resize(..., resample=Image.Resampling.BILINEAR)` of byte images, bit for bit: along x, rounded to bytes,
    then along y. So it is up to Pillow 12, with which the known networks were trained; Pillow 13 begins along y where
    that is less work, and other values are rounded.
    """
    turned = to_bytes(batch).transpose(-1, -2).contiguous()  # whole rows are gathered faster than single pixels
    narrow = _pillow_rows(turned, size[1]).transpose(-1, -2).contiguous()
    return to_floats(_pillow_rows(narrow, size[0]), dtype)


def _pillow_rows(pixels: Tensor, new: int) -> Tensor:
    """[..., H, W] bytes to [..., new, W] bytes."""
    rows, coefficients = _pillow_taps(pixels.shape[-2], new, pixels.device)
    total = torch.full((), 1 << (PILLOW_BITS - 1), dtype=torch.int32, device=pixels.device)
    for row, coefficient in zip(rows, coefficients, strict=True):  # as many as the filter is wide
        total = pixels.index_select(-2, row).int().mul_(coefficient[:, None]).add_(total)
    return (total >> PILLOW_BITS).to(torch.uint8)


def _pillow_taps(old: int, new: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The K pixels behind each new one along one axis, and their coefficients: [K, new] each.

    Sums are made one by one, as there: what float64 rounds must be the same.
    """
    scale = old / new
    reach = max(scale, 1.0)
    centres = (torch.arange(new, dtype=torch.float64) + CENTRE) * scale
    begin = (centres - reach + CENTRE).long().clamp(min=0)
    end = (centres + reach + CENTRE).long().clamp(max=old)
    pixels = begin + torch.arange(2 * math.ceil(reach) + 1)[:, None]
    heights = (1 - ((pixels - centres + CENTRE) * (1 / reach)).abs()).clamp(min=0)
    heights = heights.masked_fill(pixels >= end, 0)
    coefficients = heights / heights.cumsum(dim=0)[-1]
    whole = (coefficients * (1 << PILLOW_BITS) + 0.5).int()
    return pixels.clamp(max=old - 1).to(device), whole.to(device)


def tensorflow(batch: Tensor, size: Size, dtype: torch.dtype) -> Tensor:
    """TensorFlow 1's `tf.image.resize_bilinear(images, size)` of floats: pixel k is at k, not at k + 0.5, so that the
    result leans to the upper left.
    """
    pixels = to_floats(batch, dtype)
    top, bottom, down = _tensorflow_taps(batch.shape[-2], size[0], batch.device)
    left, right, across = _tensorflow_taps(batch.shape[-1], size[1], batch.device)
    down, across = down.to(dtype), across.to(dtype)

    def along_x(rows: Tensor) -> Tensor:
        chosen = pixels.index_select(-2, rows)
        start = chosen.index_select(-1, left)
        return start + (chosen.index_select(-1, right) - start) * across

    upper = along_x(top)
    return upper + (along_x(bottom) - upper) * down[:, None]


def _tensorflow_taps(old: int, new: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """The two pixels behind each new one along one axis, and how far it is from the first to the second: [new] each."""
    places = torch.arange(new, dtype=torch.float32) * (torch.tensor(float(old)) / new)
    first = places.floor()
    low = first.long().clamp(max=old - 1)
    return low.to(device), (low + 1).clamp(max=old - 1).to(device), (places - first).to(device)


RESIZES: dict[str, Resize] = {
    "bilinear": bilinear,  # torchvision's detection models
    "bilinear_antialias": bilinear_antialias,  # close to the loader of this project
    "opencv": opencv,  # most SSDs of the PyTorch world, and Caffe's
    "pillow": pillow,  # NVIDIA's SSD300, sgrvinod's tutorial
    "tensorflow": tensorflow,  # what TensorFlow 1 trained
}
