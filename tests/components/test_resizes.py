"""Ways to resize against their owners: Pillow itself, and what OpenCV and TensorFlow gave for the same picture."""

import hashlib

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from detzoo.components import RESIZES, Preprocess

BYTEWISE = ("opencv", "pillow")

# sha256 of the bytes, [H, W, 3], that cv2.resize(picture, ..., interpolation=cv2.INTER_LINEAR) gave: OpenCV 4.12, x86
OPENCV = {
    ((375, 500), (300, 300)): "0252c645d6ab3c8a",
    ((100, 150), (300, 300)): "1b63a14b7100d2be",
    ((90, 700), (300, 300)): "0b96cebbb20df835",
    ((700, 90), (512, 512)): "f208c8c342b5a53a",
    ((600, 600), (300, 300)): "823d93862cac0998",
    ((600, 300), (300, 300)): "0c6d267e452f7b06",
    ((300, 300), (300, 300)): "697c4beb28247daf",
    ((299, 301), (300, 300)): "37cbff6d2b970980",
    ((750, 1334), (320, 320)): "4b1564c09251dc63",
    ((1, 7), (5, 3)): "d1d3949cf8b761fa",
    ((33, 1), (8, 4)): "17372e4b80bafa34",
    ((37, 53), (1, 1)): "4f5351bbab8a9cf0",
    ((2, 2), (1, 1)): "64d3b096feb3aa4c",
}


def picture(height: int, width: int) -> Tensor:
    """[1, 3, H, W] bytes without pattern or chance."""
    number = torch.arange(height * width * 3)
    values = (number * number * 37 + number * 7919) // 64 % 256
    return values.to(torch.uint8).reshape(1, height, width, 3).permute(0, 3, 1, 2)


def resized(name: str, batch: Tensor, size: tuple[int, int]) -> Tensor:
    return RESIZES[name](batch, size, torch.float32)


def as_bytes(batch: Tensor) -> Tensor:
    steps = batch * 255
    assert torch.equal(steps.round() / 255, batch), "these are no bytes"
    return steps.round().to(torch.uint8)


@pytest.mark.parametrize(("old", "new"), OPENCV, ids=str)
def test_opencv_bit_for_bit(old, new):
    found = as_bytes(resized("opencv", picture(*old), new))[0].permute(1, 2, 0)
    assert found.shape == (*new, 3)
    assert hashlib.sha256(found.contiguous().numpy().tobytes()).hexdigest()[:16] == OPENCV[old, new]


def test_opencv_is_not_rounded_bilinear():
    """The trap: a detector that was trained on one sees other pixels in an eighth of the places."""
    bytes_of_floats = (resized("bilinear", picture(375, 500), (300, 300)) * 255).round()
    apart = (resized("opencv", picture(375, 500), (300, 300)) * 255 - bytes_of_floats).abs()
    assert 0.05 < (apart > 0.5).float().mean() < 0.2 and apart.max() < 1.01


SIZES = [
    ((375, 500), (300, 300)),
    ((100, 150), (300, 300)),  # both larger
    ((90, 700), (300, 300)),  # one larger
    ((700, 90), (300, 300)),
    ((600, 600), (300, 300)),
    ((300, 411), (300, 300)),  # one as it is
    ((411, 300), (300, 300)),
    ((1, 7), (5, 3)),
    ((33, 1), (8, 1)),
    ((1500, 20), (11, 13)),
    ((64, 48), (1, 1)),
]


@pytest.mark.parametrize(("old", "new"), SIZES, ids=str)
def test_pillow_bit_for_bit(old, new):
    image = Image.fromarray(picture(*old)[0].permute(1, 2, 0).contiguous().numpy())
    # two calls: Pillow 13 would otherwise begin along y here and there
    for size in ((new[1], old[0]), (new[1], new[0])):
        image = image.resize(size, Image.Resampling.BILINEAR)
    expected = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
    assert torch.equal(as_bytes(resized("pillow", picture(*old), new)), expected)


def test_pillow_bit_for_bit_at_once():
    image = Image.fromarray(picture(300, 420)[0].permute(1, 2, 0).contiguous().numpy())
    expected = np.array(image.resize((200, 280), Image.Resampling.BILINEAR))
    assert np.array_equal(as_bytes(resized("pillow", picture(300, 420), (280, 200)))[0].permute(1, 2, 0), expected)


def test_pillow_averages_where_the_plain_one_skips():
    """The trap: without its filter, 300 pixels of 1200 see noise."""
    smooth, plain = (resized(name, picture(600, 1200), (150, 300)) for name in ("pillow", "bilinear"))
    assert smooth.std() < 0.6 * plain.std()


def test_tensorflow_by_hand():
    row = torch.tensor([0.0, 4, 8, 12]).expand(1, 3, 2, 4)
    wide = resized("tensorflow", row, (2, 8))
    assert wide[0, 0, 0].tolist() == [0, 2, 4, 6, 8, 10, 12, 12], "a pixel is at its upper left corner"
    assert resized("tensorflow", row, (1, 2))[0, 2, 0].tolist() == [0, 8]
    column = row.transpose(-1, -2)
    assert torch.equal(resized("tensorflow", column, (8, 2)), wide.transpose(-1, -2))


def test_tensorflow_is_tensorflows():
    """Figures of tf.compat.v1.image.resize_bilinear(picture, ..., align_corners=False), TensorFlow 2.21."""
    found = resized("tensorflow", picture(37, 50), (30, 64))[0].permute(1, 2, 0) * 255
    figures = torch.tensor(
        [[0.0, 124.0, 249.0], [74.5437, 87.8156, 101.8792], [94.0542, 132.1708, 177.9979], [67.3334, 164.7333, 67.1]]
    )
    torch.testing.assert_close(found[[0, 7, 16, 29], [0, 33, 5, 63]], figures, rtol=0, atol=1e-3)


@pytest.mark.parametrize("size", [(30, 30), (75, 20), (40, 60)], ids=str)
@pytest.mark.parametrize("name", RESIZES)
def test_bytes_floats_and_batches_agree(name, size):
    batch = torch.cat((picture(40, 60), picture(40, 60).flip(-1), picture(40, 60).flip(-2)))
    found = resized(name, batch, size)
    assert found.shape == (3, 3, *size) and found.dtype == torch.float32
    assert found.min() >= 0 and found.max() <= 1
    torch.testing.assert_close(resized(name, batch / 255, size), found, rtol=0, atol=1e-6)
    for image, expected in zip(batch, found, strict=True):
        torch.testing.assert_close(resized(name, image[None], size)[0], expected)


@pytest.mark.parametrize("name", BYTEWISE)
def test_floats_are_rounded_to_bytes_and_kept_within(name):
    image = picture(40, 60)
    nearly = image / 255 + torch.where(image % 2 == 0, 0.4, -0.4) / 255
    assert torch.equal(resized(name, nearly, (31, 33)), resized(name, image, (31, 33)))
    extreme = torch.tensor([-0.5, 1.5]).repeat_interleave(4)[None, None, None].expand(1, 3, 8, 8)
    assert torch.equal(resized(name, extreme, (5, 4)), resized(name, extreme.clamp(0, 1), (5, 4)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("name", BYTEWISE)
def test_bytes_are_exact_in_any_precision_of_the_network(name, dtype):
    expected = as_bytes(resized(name, picture(40, 60), (30, 30)))
    model = Preprocess((30, 30), (0, 0, 0), (1, 1, 1), name).to(dtype)
    assert torch.equal(model(picture(40, 60)), expected.to(dtype) / 255)


@pytest.mark.parametrize("name", RESIZES)
def test_an_image_of_the_networks_size_is_not_touched(name):
    image = torch.rand(1, 3, 30, 30, generator=torch.Generator().manual_seed(0))
    assert torch.equal(Preprocess((30, 30), (0, 0, 0), (1, 1, 1), name)(image), image)


def test_opencv_leaves_every_byte_as_it_is():
    """Where nothing is to be resized: its integers bring each of the 256 back."""
    every = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).expand(1, 3, 16, 16)
    assert torch.equal(as_bytes(resized("opencv", every, (16, 16))), every)
