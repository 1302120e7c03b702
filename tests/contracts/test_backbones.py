"""What every trunk promises. Being in `BACKBONES` is what enrols one here."""

import pytest
import torch
from torch import nn
from torchvision.models import mobilenet_v3_large as torchvision_mobilenet
from torchvision.models import vgg16 as torchvision_vgg16
from torchvision.models.detection.ssd import _vgg_extractor
from torchvision.models.detection.ssdlite import _mobilenet_extractor

from detzoo.backbones import BACKBONES, Backbone, mobilenet_v1, mobilenet_v2, tiny, vgg16

SIDE = 272  # about the least input that leaves the last extras of VGG and of MobileNet a cell to work on
SLOW = {"resnet50", "resnet101", "resnet152"}  # seconds for a step on a CPU


@pytest.fixture(scope="module", params=[pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in BACKBONES])
def name(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def shared(name) -> Backbone:
    """For tests that change nothing; VGG takes a second to make."""
    torch.manual_seed(0)
    return BACKBONES[name]()


@pytest.fixture
def backbone(shared) -> Backbone:
    """As made, and made so again: nothing frozen, in training mode."""
    yield shared
    shared.train_last(len(shared.stages)).train().zero_grad(set_to_none=True)


def test_maps_are_as_declared_and_shrink(backbone):
    with torch.no_grad():
        maps = backbone.eval()(torch.rand(1, 3, SIDE, SIDE))
    assert [x.shape[1] for x in maps] == backbone.channels
    assert all(len(x) == 1 and x.shape[2] == x.shape[3] for x in maps)
    sides = [x.shape[2] for x in maps]
    assert sides == sorted(set(sides), reverse=True), "finest first, each smaller than the last"


def test_rows_are_rows(backbone):
    with torch.no_grad():
        maps = backbone.eval()(torch.rand(1, 3, SIDE, SIDE + 64))
    assert all(x.shape[3] > x.shape[2] for x in maps[:2]), "[B, C, rows, columns]"


def test_gradient_reaches_every_parameter(backbone):
    maps = backbone.train()(torch.rand(2, 3, SIDE, SIDE))
    sum(x.square().mean() for x in maps).backward()
    untouched = [key for key, parameter in backbone.named_parameters() if parameter.grad is None]
    assert untouched == []
    assert all(parameter.grad.isfinite().all() for parameter in backbone.parameters())


def test_stages_cut_the_trunk_into_pieces(backbone):
    layers = [index for stage in backbone.stages for index in range(len(backbone.trunk))[stage]]
    assert layers == list(range(len(backbone.trunk)))
    assert all(range(len(backbone.trunk))[stage] for stage in backbone.stages), "none is empty"


def test_freezing_survives_train(backbone):
    for trained in range(len(backbone.stages) + 1):
        assert backbone.train_last(trained) is backbone
        backbone.eval()
        backbone.train()
        frozen = len(backbone.stages) - trained
        for index, stage in enumerate(backbone.stages):
            for layer in backbone.trunk[stage]:
                assert all(parameter.requires_grad == (index >= frozen) for parameter in layer.parameters())
                assert all(module.training == (index >= frozen) for module in layer.modules())
        for module in (*backbone.extras, *backbone.norms.values()):
            assert module.training and all(parameter.requires_grad for parameter in module.parameters())


def test_eval_is_for_all_stages(backbone):
    backbone.train_last(1).eval()
    assert not any(module.training for module in backbone.modules())


@pytest.mark.parametrize("trained", [-1, 99])
def test_stages_that_do_not_exist(backbone, trained):
    with pytest.raises(ValueError, match=rf"trainable_layers must lie in 0\.\.{len(backbone.stages)}.*got {trained}"):
        backbone.train_last(trained)


def test_frozen_stages_keep_their_batch_statistics(name, backbone):
    norms = {key: module for key, module in backbone.named_modules() if isinstance(module, nn.BatchNorm2d)}
    if not norms:
        pytest.skip(f"{name} has no batch statistics")
    backbone.train_last(1).train()
    before = {key: norm.running_mean.clone() for key, norm in norms.items()}
    with torch.no_grad():
        backbone(torch.rand(2, 3, SIDE, SIDE) * 3)
    changed = {key for key, norm in norms.items() if not torch.equal(norm.running_mean, before[key])}
    first_trained = backbone.stages[-1].start
    expected = {key for key in norms if not key.startswith("trunk.") or int(key.split(".")[1]) >= first_trained}
    assert changed == expected != set(norms)


@pytest.mark.parametrize(
    ("extras", "side", "maps"),
    [
        ("ssd300", 300, [38, 19, 10, 5, 3, 1]),
        ("ssd512", 512, [64, 32, 16, 8, 4, 2, 1]),
        ("ssd512_torchvision", 512, [64, 32, 16, 8, 6, 4, 1]),
    ],
)
def test_published_maps_of_vgg(extras, side, maps):
    with torch.device("meta"):  # shapes only: no weights are drawn, nothing is computed
        found = vgg16(extras)(torch.empty(1, 3, side, side))
    assert [tuple(x.shape[2:]) for x in found] == [(cells, cells) for cells in maps]
    assert [x.shape[1] for x in found] == [512, 1024, 512, *[256] * (len(maps) - 3)]


MOBILENET_MAPS, MOBILENET_EXTRAS = [19, 10, 5, 3, 2, 1], [512, 256, 256]
RESNET_MAPS, RESNET_EXTRAS = [38, 19, 10, 5, 3, 1], [512, 512, 256, 256]


@pytest.mark.parametrize(
    ("name", "side", "maps", "channels"),
    [
        ("mobilenet_v1", 300, MOBILENET_MAPS, [512, 1024, *MOBILENET_EXTRAS, 256]),
        ("mobilenet_v2", 300, MOBILENET_MAPS, [576, 1280, *MOBILENET_EXTRAS, 64]),
        ("resnet18", 300, RESNET_MAPS, [256, *RESNET_EXTRAS, 128]),
        ("resnet34", 300, RESNET_MAPS, [256, *RESNET_EXTRAS, 256]),
        ("resnet50", 300, RESNET_MAPS, [1024, *RESNET_EXTRAS, 256]),
        ("resnet101", 300, RESNET_MAPS, [1024, *RESNET_EXTRAS, 256]),
        ("resnet152", 300, RESNET_MAPS, [1024, *RESNET_EXTRAS, 256]),
        ("tiny_ssd", 256, [32, 16, 8, 4, 1], [64, 128, 128, 128, 128]),
    ],
)
def test_published_maps(name, side, maps, channels):
    with torch.device("meta"):
        backbone = BACKBONES[name]().eval()
        found = backbone(torch.empty(1, 3, side, side))
    assert [tuple(x.shape[1:]) for x in found] == [(c, cells, cells) for c, cells in zip(channels, maps, strict=True)]
    assert backbone.channels == channels


@pytest.mark.parametrize("width", [0.25, 0.5, 1.5])
def test_width_of_mobilenets(width):
    with torch.device("meta"):
        slim, slim_lite, other = mobilenet_v1("ssd", width), mobilenet_v1("ssdlite", width), mobilenet_v2(width)
        for backbone in (slim, slim_lite, other):
            found = [x.shape[1] for x in backbone.eval()(torch.empty(1, 3, 300, 300))]
            assert found == backbone.channels
    assert slim.channels[:2] == slim_lite.channels[:2] == [512 * width, 1024 * width]
    assert other.channels[0] == 576 * width and other.channels[1] == max(1280, 1280 * width)


def test_width_is_positive():
    for build in (mobilenet_v1, mobilenet_v2):
        with pytest.raises(ValueError, match="expected a positive width, got 0"):
            build(width=0)


def test_extras_of_mobilenet_v1_are_plain_or_separable():
    with torch.device("meta"):
        plain, lite = mobilenet_v1("ssd"), mobilenet_v1("ssdlite")
    assert not any(layer.groups > 1 for layer in plain.extras.modules() if isinstance(layer, nn.Conv2d))
    assert sum(layer.groups > 1 for layer in lite.extras.modules() if isinstance(layer, nn.Conv2d)) == 4
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in (*plain.extras.modules(), *lite.extras.modules()))
    with pytest.raises(ValueError, match="extras must be one of .*'ssdlite'.*got 'lite'"):
        mobilenet_v1("lite")


def test_norm_of_conv4_3():
    with torch.device("meta"):
        plain, batch = vgg16(), vgg16(conv4_3_norm="batch")
    assert type(plain.norms["22"]).__name__ == "L2Norm" and isinstance(batch.norms["22"], nn.BatchNorm2d)
    with pytest.raises(ValueError, match="conv4_3_norm must be one of .*'l2'.*got 'group'"):
        vgg16(conv4_3_norm="group")


def weight_shapes(module: nn.Module) -> list[tuple[int, ...]]:
    return sorted(tuple(parameter.shape) for parameter in module.parameters())


def test_both_forms_of_ssd512_have_torchvisions_weight_shapes():
    with torch.device("meta"):
        published, private = vgg16("ssd512"), vgg16("ssd512_torchvision")
        reference = _vgg_extractor(torchvision_vgg16(weights=None), True, 5)
    assert weight_shapes(published) == weight_shapes(private) == weight_shapes(reference)


def trained_numbers(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


@pytest.mark.parametrize("stages", range(6))
def test_vgg_freezes_what_torchvision_freezes(stages):
    with torch.device("meta"):
        reference = _vgg_extractor(torchvision_vgg16(weights=None), False, stages)
        assert trained_numbers(vgg16().train_last(stages)) == trained_numbers(reference)


@pytest.mark.parametrize("stages", range(7))
def test_mobilenet_freezes_what_torchvision_freezes(stages):
    with torch.device("meta"):
        reference = _mobilenet_extractor(
            torchvision_mobilenet(weights=None, reduced_tail=True), stages, nn.BatchNorm2d
        )  # fmt: skip
        backbone = BACKBONES["mobilenet_v3_large"]().train_last(stages)
    assert trained_numbers(backbone) == trained_numbers(reference)


def test_tiny_options():
    backbone = tiny(channels=(4, 8, 8), first_level=2, convolutions=1)
    maps = backbone(torch.rand(2, 3, 32, 32))
    assert [tuple(x.shape[1:]) for x in maps] == [(8, 8, 8), (8, 4, 4)]


@pytest.mark.parametrize("first_level", [0, 4])
def test_tiny_level_that_does_not_exist(first_level):
    with pytest.raises(ValueError, match=rf"first_level must lie in 1\.\.3.*got {first_level}"):
        tiny(channels=(4, 8, 8), first_level=first_level)


def test_tiny_without_convolutions():
    with pytest.raises(ValueError, match="at least one convolution"):
        tiny(convolutions=0)


def test_vgg_extras_that_do_not_exist():
    with pytest.raises(ValueError, match="extras must be one of .*'ssd512'.*got 'ssd500'"):
        vgg16("ssd500")
