"""Which images a network takes, and what is said of others."""

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import distributed, nn

from detzoo.models import SSD, build_ssd
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


class SideEffect(nn.Module):
    """Whose own `train` does more than to set a flag."""

    calls = 0

    def train(self, mode: bool = True) -> "SideEffect":
        self.calls += 1
        return super().train(mode)


def test_modes_come_back_one_by_one():
    network = Valid().train()
    network.layers[1].eval()
    network.layers.append(SideEffect())
    size_problem(network, nn.Identity(), (3, 3))
    assert [layer.training for layer in network.layers] == [True, False, True, True, True]
    assert network.training and network.layers[-1].calls == 0


@pytest.fixture
def one_of_several_processes():
    """As in training on several GPUs, where synchronised batch norm raises a ValueError for whatever is on none."""
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.usefixtures("one_of_several_processes")
def test_synchronised_batch_norm_in_training():
    network = nn.SyncBatchNorm.convert_sync_batchnorm(Valid()).train()
    assert size_problem(network, nn.Identity(), (5, 5)) is None
    assert "32x32 is the first" in size_problem(network, nn.Identity(), (4, 4))


@pytest.mark.parametrize("error", [ValueError, TypeError, KeyError], ids=str)
def test_a_layer_that_does_not_bear_tensors_without_content(error):
    class Particular(nn.Module):
        def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
            raise error("no content")

    assert size_problem(Particular(), nn.Identity(), (5, 5)) is None


class Large(nn.Module):
    """Two maps of images of at least 100 pixels a side, or another error than that they are smaller."""

    channels = [4, 4]

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self.error = error
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 100, bias=False), nn.SyncBatchNorm(4))

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        if self.error is not None and not x.is_meta:
            raise self.error
        return [self.layers(x)] * 2


def ways_in(model: SSD) -> list[Callable[[], object]]:
    images = torch.zeros(2, 3, 40, 40)
    targets = [{"boxes": torch.tensor([[1.0, 1, 30, 30]]), "labels": torch.tensor([1])}] * 2
    return [
        lambda: model.losses(images, targets),
        lambda: model.detect(images),
        lambda: model.evaluate(images, targets),
    ]


@pytest.mark.usefixtures("one_of_several_processes")
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("way", range(3), ids=["losses", "detect", "evaluate"])
def test_a_detector_says_that_its_images_are_too_small(small_config, way, training):
    model = build_ssd(replace(small_config, num_classes=3), backbone=Large()).train(training)
    with pytest.raises(ValueError, match="cannot take images of 96x96 pixels .*128x128 is the first") as caught:
        ways_in(model)[way]()
    assert isinstance(caught.value.__cause__, RuntimeError) and model.training is training


@pytest.mark.parametrize("way", range(3), ids=["losses", "detect", "evaluate"])
@pytest.mark.parametrize("size", [96, 128])
@pytest.mark.parametrize("error", [RuntimeError("a cable"), torch.OutOfMemoryError("no memory")], ids=repr)
def test_another_error_of_a_detector_is_passed_on(small_config, error, size, way):
    """Of images of the right size; and that memory is used up whatever the size."""
    config = replace(small_config, num_classes=3, size=(size, size))
    model = build_ssd(config, backbone=Large(error))
    if size == 96 and not isinstance(error, torch.OutOfMemoryError):
        expected = pytest.raises(ValueError, match="cannot take images")
    else:
        expected = pytest.raises(type(error), match=str(error))
    with expected as caught:
        ways_in(model)[way]()
    assert error in (caught.value, caught.value.__cause__)
