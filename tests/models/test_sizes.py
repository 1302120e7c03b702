"""Which images a network takes, and what is said of others."""

import copy

import pytest
import torch
from torch import nn

from detzoo.models.sizes import size_problem


class Valid(nn.Module):
    """Two convolutions without padding: 5 pixels a side are the least."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3), nn.Dropout(0.5))

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [self.layers(x)]


class Multiples(nn.Module):
    """Adds what it halved and doubled again: for even sides only."""

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [x + nn.functional.interpolate(nn.functional.avg_pool2d(x, 2), scale_factor=2)]


def test_sizes_that_are_none():
    assert size_problem(Valid(), nn.Identity(), (5, 5)) is None
    problem = size_problem(Valid(), nn.Identity(), (9, 4))
    assert "cannot take images of 9x4 pixels (height x width)" in problem and "32x32 is the first" in problem


def test_the_next_one_is_larger_whatever_is_wrong_with_this_one():
    assert "64x64 is the first" in size_problem(Multiples(), nn.Identity(), (33, 40))


def test_the_neck_counts():
    class Pooled(nn.Module):
        def forward(self, maps: list[torch.Tensor]) -> list[torch.Tensor]:
            return [nn.functional.avg_pool2d(x, 40) for x in maps]

    assert "64x64 is the first" in size_problem(Valid(), Pooled(), (32, 32))


@pytest.mark.parametrize("broken", [nn.Linear(7, 7), nn.Conv2d(4, 4, 1)], ids=repr)
def test_what_fails_at_any_size_has_nothing_to_do_with_it(broken):
    assert size_problem(broken, nn.Identity(), (5, 5)) is None


def test_nothing_is_changed():
    network = Valid().train()
    before, drawn = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    size_problem(network, nn.Identity(), (3, 3))
    assert network.training and torch.equal(torch.get_rng_state(), drawn)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
