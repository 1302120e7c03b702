"""TensorFlow's padding: as many outputs as strides fit into the input, and the odd zero behind."""

import pytest
import torch
from torch import nn

from detzoo.layers import SameConv2d, same_padded, same_padding


@pytest.mark.parametrize(
    ("side", "kernel", "stride", "dilation", "zeros"),
    [
        (300, 3, 2, 1, (0, 1)),
        (75, 3, 2, 1, (1, 1)),
        (150, 5, 2, 1, (1, 2)),
        (75, 5, 2, 1, (2, 2)),
        (10, 3, 1, 1, (1, 1)),
        (10, 3, 1, 6, (6, 6)),
        (10, 1, 2, 1, (0, 0)),
        (1, 3, 2, 1, (1, 1)),
        (2, 2, 1, 1, (0, 1)),
    ],
)
def test_zeros_before_and_behind(side, kernel, stride, dilation, zeros):
    """The formula of tensorflow.org/api_docs/python/tf/nn, "Notes on padding", worked out by hand."""
    assert same_padding(side, kernel, stride, dilation) == zeros


def test_the_kernel_starts_on_the_first_pixel_of_an_even_side_and_before_that_of_an_odd_one():
    layer = SameConv2d(1, 1, kernel_size=3, stride=2, bias=False)
    nn.init.ones_(layer.weight)
    image = torch.arange(4.0).expand(1, 1, 5, 4)  # 5 rows, 4 columns
    with torch.no_grad():
        sums = layer(image)[0, 0]
    columns = torch.tensor([0.0 + 1 + 2, 2.0 + 3])  # behind the last column there is a zero
    rows = torch.tensor([2.0, 3.0, 2.0])  # how many rows lie below the kernel
    assert torch.equal(sums, rows[:, None] * columns)


def test_where_the_zeros_are_alike_it_is_an_ordinary_convolution():
    layer = SameConv2d(2, 4, kernel_size=3, dilation=2, groups=2)
    ordinary = nn.Conv2d(2, 4, kernel_size=3, dilation=2, groups=2, padding=2)
    ordinary.load_state_dict(layer.state_dict())
    image = torch.rand(1, 2, 9, 7)
    with torch.no_grad():
        assert torch.equal(layer(image), ordinary(image))


def test_a_module_keeps_its_parameters_and_their_names():
    module = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.Sequential(nn.Conv2d(4, 4, 3, padding=1)))
    before = dict(module.named_parameters())
    assert same_padded(module) is module
    after = dict(module.named_parameters())
    assert before.keys() == after.keys() and all(before[name] is after[name] for name in before)
    assert isinstance(module[0], SameConv2d) and type(module[1][0]) is nn.Conv2d
    assert module(torch.rand(1, 3, 10, 11)).shape == (1, 4, 5, 6)
    assert "padding=same" in repr(module[0])
