"""Global pooling says what PyTorch's says."""

import torch
from torch import nn

from detzoo.layers import GlobalMaxPool


def test_the_largest_of_each_channel_and_its_gradient():
    torch.manual_seed(0)
    mine = torch.randn(2, 3, 4, 7).relu().requires_grad_()
    theirs = mine.detach().clone().requires_grad_()
    found, wanted = GlobalMaxPool()(mine), nn.AdaptiveMaxPool2d(1)(theirs)
    assert found.shape == (2, 3, 1, 1) and torch.equal(found, wanted)
    found.sum().backward()
    wanted.sum().backward()
    assert torch.equal(mine.grad, theirs.grad)
