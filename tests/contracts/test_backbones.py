"""What every trunk promises. Being in `BACKBONES` is what enrols one here; of timm's, two stand for all.

The largest trunks take seconds for a step on a CPU, so theirs are slow tests; what needs no arithmetic is asked of all.
"""

import importlib.util

import pytest
import torch
from torch import nn
from torchvision import models as classifiers
from torchvision.models.detection.ssd import _vgg_extractor
from torchvision.models.detection.ssdlite import _mobilenet_extractor

from detzoo.backbones import (
    BACKBONES,
    Backbone,
    mobilenet_v1,
    mobilenet_v2,
    mobilenet_v3_large,
    mobilenet_v3_small,
    resnet50,
    tiny,
    vgg16,
)
from detzoo.importers.torchvision import convert_trunk

SIDE = 272  # about the least input that leaves the last extras of VGG and of MobileNet a cell to work on
TIMM = ("timm/mobilenetv4_conv_small", "timm/resnet18")
VGGS = [name for name in BACKBONES if name.startswith("vgg")]
SLOW = {"resnet50", "resnet101", "resnet152", *VGGS} - {"vgg16"}  # seconds for a step on a CPU
NEEDS_TIMM = pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="needs pip install detzoo[timm]")
NAMES = [
    *(pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in BACKBONES),
    *(pytest.param(name, marks=NEEDS_TIMM) for name in TIMM),
]
ALL_NAMES = [*BACKBONES, *(pytest.param(name, marks=NEEDS_TIMM) for name in TIMM)]


@pytest.fixture(scope="module", params=NAMES)
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


@pytest.mark.parametrize("name", ALL_NAMES)
def test_gradient_finds_a_way_to_every_parameter(name):
    """As above, without arithmetic, for the largest ones too."""
    with torch.device("meta"):
        backbone = BACKBONES[name]()
        sum(x.sum() for x in backbone(torch.empty(2, 3, SIDE, SIDE))).backward()
    assert [key for key, parameter in backbone.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("name", ALL_NAMES)
def test_first_stride_is_that_of_the_first_map(name):
    with torch.device("meta"):
        backbone = BACKBONES[name]()
        rows, columns = backbone.eval()(torch.empty(1, 3, 1600, 3200))[0].shape[-2:]
    assert round(1600 / rows) == round(3200 / columns) == backbone.first_stride


@pytest.mark.parametrize("name", ALL_NAMES)
def test_trunk_extras_and_norms_are_all_there_is(name):
    with torch.device("meta"):
        backbone = BACKBONES[name]()
    parts = [*backbone.trunk, *backbone.extras, *backbone.norms.values()]
    assert {p for part in parts for p in part.parameters()} == set(backbone.parameters())


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
    frozen = {m for stage in backbone.stages[:-1] for layer in backbone.trunk[stage] for m in layer.modules()}
    assert changed == {key for key, norm in norms.items() if norm not in frozen} != set(norms)


@pytest.mark.parametrize(
    ("extras", "side", "maps"),
    [
        ("ssd300", 300, [38, 19, 10, 5, 3, 1]),
        ("ssd512", 512, [64, 32, 16, 8, 4, 2, 1]),
        ("ssd512_torchvision", 512, [64, 32, 16, 8, 6, 4, 1]),
    ],
)
@pytest.mark.parametrize("name", VGGS)
def test_published_maps_of_vgg(name, extras, side, maps):
    with torch.device("meta"):  # shapes only: no weights are drawn, nothing is computed
        found = BACKBONES[name](extras).eval()(torch.empty(1, 3, side, side))
    assert [tuple(x.shape[2:]) for x in found] == [(cells, cells) for cells in maps]
    assert [x.shape[1] for x in found] == [512, 1024, 512, *[256] * (len(maps) - 3)]


def test_vggs_are_as_deep_as_their_names():
    for name in VGGS:
        with torch.device("meta"):
            backbone = BACKBONES[name]()
        fc6_and_fc7, classifier = 2, 1
        convolutions = sum(isinstance(layer, nn.Conv2d) for layer in backbone.trunk)
        assert convolutions + fc6_and_fc7 + classifier == int(name.removeprefix("vgg").removesuffix("_bn"))
        norms = sum(isinstance(layer, nn.BatchNorm2d) for layer in backbone.trunk)
        assert norms == (convolutions if name.endswith("_bn") else 0)
        assert isinstance(backbone.trunk[backbone.taps[0]], nn.ReLU)
        assert isinstance(backbone.trunk[backbone.taps[0] + 1], nn.MaxPool2d)


MOBILENET_MAPS, MOBILENET_EXTRAS = [19, 10, 5, 3, 2, 1], [512, 256, 256]
MAPS_320, EXTRAS_320 = [20, 10, 5, 3, 2, 1], [512, 256, 256, 128]
RESNET_MAPS, RESNET_EXTRAS = [38, 19, 10, 5, 3, 1], [512, 512, 256, 256]


@pytest.mark.parametrize(
    ("name", "side", "maps", "channels"),
    [
        ("mobilenet_v1", 300, MOBILENET_MAPS, [512, 1024, *MOBILENET_EXTRAS, 256]),
        ("mobilenet_v2", 300, MOBILENET_MAPS, [576, 1280, *MOBILENET_EXTRAS, 64]),
        ("mobilenet_v3_large", 320, MAPS_320, [672, 480, *EXTRAS_320]),
        ("mobilenet_v3_small", 320, MAPS_320, [288, 288, *EXTRAS_320]),
        ("squeezenet1_1", 300, [17, 10, 5, 3, 2, 1], [512, 512, 512, 256, 256, 256]),
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


def test_resnet_for_512_pixels():
    with torch.device("meta"):
        maps = resnet50("ssd512").eval()(torch.empty(1, 3, 512, 512))
    assert [tuple(x.shape[2:]) for x in maps] == [(cells, cells) for cells in (64, 32, 16, 8, 4, 2, 1)]
    with pytest.raises(ValueError, match="resnet50: extras must be one of .*'ssd512'.*got 'ssd'"):
        resnet50("ssd")


@pytest.mark.parametrize("width", [0.25, 0.5, 1.5])
def test_width_of_mobilenets(width):
    with torch.device("meta"):
        slim, slim_lite, other = mobilenet_v1("ssd", width), mobilenet_v1("ssdlite", width), mobilenet_v2(width)
        for backbone in (slim, slim_lite, other):
            found = [x.shape[1] for x in backbone.eval()(torch.empty(1, 3, 300, 300))]
            assert found == backbone.channels
    assert slim.channels[:2] == slim_lite.channels[:2] == [512 * width, 1024 * width]
    assert other.channels[0] == 576 * width and other.channels[1] == max(1280, 1280 * width)


@pytest.mark.parametrize("width", [0.35, 0.75])
@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small"])
def test_width_is_torchvisions(name, width):
    """Every tensor of its classifier has a place, so these are its channels and its way of rounding them."""
    with torch.device("meta"):
        options = {} if name == "mobilenet_v2" else {"reduced_tail": False}
        own = BACKBONES[name](width=width, **options).state_dict()
        state = getattr(classifiers, name)(weights=None, width_mult=width).state_dict()
    expected = {key: tensor.shape for key, tensor in convert_trunk(state, name).items()}
    assert {key: tensor.shape for key, tensor in own.items() if key.startswith("trunk.")} == expected


def test_width_is_positive():
    for build in (mobilenet_v1, mobilenet_v2, mobilenet_v3_large, mobilenet_v3_small):
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


def test_forms_of_mobilenet_v2():
    with torch.device("meta"):
        plain, lite = mobilenet_v2(), mobilenet_v2(extras="ssdlite")
        block = mobilenet_v2(extras="ssdlite", first_map="block").eval()
        first = block(torch.empty(1, 3, 320, 320))[0]
    assert plain.channels == [576, 1280, 512, 256, 256, 64] and lite.channels == [576, 1280, *EXTRAS_320]
    assert tuple(first.shape[1:]) == (96, 20, 20) and block.channels == [96, 1280, *EXTRAS_320]
    eps = [{m.eps for m in backbone.modules() if isinstance(m, nn.BatchNorm2d)} for backbone in (plain, lite)]
    assert eps == [{1e-5}, {1e-3}]
    with pytest.raises(ValueError, match="mobilenet_v2: extras must be one of .*'ssdlite'.*got 'lite'"):
        mobilenet_v2(extras="lite")
    with pytest.raises(ValueError, match="mobilenet_v2: first_map must be one of .*'block'.*got 'first'"):
        mobilenet_v2(first_map="first")


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
        reference = _vgg_extractor(classifiers.vgg16(weights=None), True, 5)
    assert weight_shapes(published) == weight_shapes(private) == weight_shapes(reference)


def trained_numbers(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


@pytest.mark.parametrize("name", VGGS)
@pytest.mark.parametrize("stages", range(6))
def test_vgg_freezes_what_torchvision_freezes(name, stages):
    with torch.device("meta"):
        reference = _vgg_extractor(getattr(classifiers, name)(weights=None), False, stages)
        assert trained_numbers(BACKBONES[name]().train_last(stages)) == trained_numbers(reference)


@pytest.mark.parametrize("name", ["mobilenet_v3_large", "mobilenet_v3_small"])
@pytest.mark.parametrize("stages", range(7))
def test_mobilenet_freezes_what_torchvision_freezes(name, stages):
    with torch.device("meta"):
        classifier = getattr(classifiers, name)(weights=None, reduced_tail=True)
        reference = _mobilenet_extractor(classifier, stages, nn.BatchNorm2d)
        backbone = BACKBONES[name]().train_last(stages)
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
