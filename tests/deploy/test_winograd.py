"""Convolutions with fewer products say what the plain ones say, and stand where they are worth it."""

import pytest
import torch
from torch import nn

from detzoo.deploy.winograd import Winograd, fits, with_winograd


@pytest.mark.parametrize(("height", "width"), [(8, 8), (9, 10), (1, 1), (12, 5), (19, 23)])
@pytest.mark.parametrize("bias", [True, False])
def test_same_sums(height, width, bias):
    torch.manual_seed(0)
    plain = nn.Conv2d(12, 20, 3, padding=1, bias=bias)
    images = torch.randn(2, 12, height, width)
    found = Winograd(plain)(images)
    assert found.shape == (2, 20, height, width)
    torch.testing.assert_close(found, plain(images), rtol=0, atol=2e-5)


def test_rounded_by_no_more_than_it_says():
    torch.manual_seed(0)
    plain = nn.Conv2d(256, 64, 3, padding=1)
    images = torch.randn(1, 256, 16, 16).relu()
    exact = nn.functional.conv2d(images.double(), plain.weight.double(), plain.bias.double(), padding=1)
    worst = [float((form(images) - exact).abs().max().detach()) for form in (Winograd(plain), plain)]
    assert 0 < worst[0] < 60 * worst[1]


@pytest.mark.parametrize(
    "options",
    [{"stride": 2}, {"padding": 0}, {"dilation": 2}, {"groups": 4}, {"padding_mode": "reflect"}, {"kernel_size": 5}],
    ids=str,
)
def test_other_convolutions_stay(options):
    assert not fits(nn.Conv2d(**{"in_channels": 8, "out_channels": 8, "kernel_size": 3, "padding": 1, **options}))


def test_only_where_it_is_worth_it():
    network = nn.Sequential(*(nn.Conv2d(*channels, 3, padding=1) for channels in ((8, 16), (16, 8), (16, 16))))
    assert with_winograd(network, least=16) is network
    assert [isinstance(part, Winograd) for part in network] == [False, False, True]


def test_small_maps_are_left_to_the_convolution(monkeypatch):
    tiled = Winograd(nn.Conv2d(8, 8, 3, padding=1))
    monkeypatch.setattr(tiled, "_tiled", lambda _: pytest.fail("cut up in tiles"))
    assert tiled(torch.zeros(1, 8, 7, 40)).shape == (1, 8, 7, 40)


def test_rounding_that_pytorch_was_told_is_no_winograd_s():
    torch.manual_seed(0)
    plain, images = nn.Conv2d(64, 64, 3, padding=1), torch.randn(1, 64, 16, 16)
    tiled, wanted = Winograd(plain), plain(images)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(tiled(images), wanted, rtol=0, atol=1e-4)
    torch.set_float32_matmul_precision("medium")
    try:
        assert torch.equal(tiled(images), plain(images))
    finally:
        torch.set_float32_matmul_precision("highest")


def test_large_batches_are_cut_up_in_parts(monkeypatch):
    plain, images = nn.Conv2d(8, 8, 3, padding=1), torch.randn(5, 8, 9, 9)
    whole = Winograd(plain)(images)
    monkeypatch.setattr("detzoo.deploy.winograd.MOST", 2 * images[0].numel())
    torch.testing.assert_close(Winograd(plain)(images), whole)
