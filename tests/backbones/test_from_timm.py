"""Trunks of timm: which maps, which stages, what is refused. What every trunk promises is in `tests/contracts`."""

import builtins
from dataclasses import replace

import pytest
import torch
from torch import nn

from detzoo.backbones import BACKBONES
from detzoo.backbones.from_timm import cut_into_stages, split_norms, timm_weights, unneeded_parameters
from detzoo.engine.sync_norm import synchronise_batch_norm
from detzoo.lookup import lookup
from detzoo.models import SSD300_VGG16, SSDLITE320_TIMM, build_ssd, ssdlite320_timm

timm = pytest.importorskip("timm", reason="needs pip install detzoo[timm]")


def built(name: str, **options) -> nn.Module:
    with torch.device("meta"):
        return lookup(BACKBONES, f"timm/{name}", "backbone")(**options).eval()


def sides(backbone: nn.Module, *size: int) -> list[tuple[int, int]]:
    with torch.device("meta"):
        maps = backbone(torch.empty(1, 3, *size))
    assert [x.shape[1] for x in maps] == backbone.channels
    return [tuple(x.shape[2:]) for x in maps]


@pytest.mark.parametrize(
    "name",
    [
        "mobilenetv4_conv_small",
        "resnet18.a1_in1k",  # with the tag of its weights
        "convnext_atto",
        "efficientnet_b0",
        "mambaout_femto",  # whose maps are [B, H, W, C] in timm
        "cspnext_tiny",  # of timm's FeatureGetterNet
        "xception41",  # and its FeatureHookNet
    ],
)
def test_six_levels_from_stride_16(name):
    backbone = built(name)
    assert sides(backbone, 320, 320) == [(cells, cells) for cells in (20, 10, 5, 3, 2, 1)]
    assert backbone.first_stride == 16
    assert sides(backbone, 320, 512)[0] == (20, 32)


@pytest.mark.parametrize(
    ("options", "first_stride", "expected"),
    [
        ({"first_stride": 8, "extras": "ssd"}, 8, [38, 19, 10, 5, 3, 2]),
        ({"first_stride": 5, "levels": 3}, 8, [38, 19, 10]),  # the next stride that it has
        ({"first_stride": 32, "levels": 2}, 32, [10, 5]),
        ({"first_stride": 2, "levels": 7}, 2, [150, 75, 38, 19, 10, 5, 3]),
    ],
    ids=str,
)
def test_levels_and_strides(options, first_stride, expected):
    backbone = built("resnet18", **options)
    assert sides(backbone, 300, 300) == [(cells, cells) for cells in expected]
    assert backbone.first_stride == first_stride
    plain = not any(isinstance(layer, nn.BatchNorm2d) for layer in backbone.extras.modules())
    assert plain == (options.get("extras") == "ssd" or len(backbone.extras) == 0)


def test_channels_of_the_extra_blocks():
    assert built("resnet18", extra_channels=[64, 32]).channels == [256, 512, 64, 32, 32, 32]


def test_maps_are_those_of_timm():
    torch.manual_seed(0)
    backbone = BACKBONES["timm/resnet18"](levels=3).eval()
    theirs = timm.create_model("resnet18", features_only=True, out_indices=(3, 4)).eval()
    state = {key.removeprefix("network."): tensor for key, tensor in backbone.state_dict().items()}
    theirs.load_state_dict({key: tensor for key, tensor in state.items() if not key.startswith("extras.")})
    batch = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        found, expected = backbone(batch), theirs(batch)
    assert all(torch.equal(*pair) for pair in zip(found[:2], expected, strict=True))
    assert torch.equal(found[2], backbone.extras[0](expected[1]))


def test_the_table_knows_the_prefix_but_does_not_list_it():
    assert "timm/resnet18" in BACKBONES and "resnet999" not in BACKBONES and 3 not in BACKBONES
    assert not any(name.startswith("timm/") for name in BACKBONES)
    with pytest.raises(KeyError):
        BACKBONES["resnet999"]


# ---- what is refused ----


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet180", {}, "unknown backbone 'timm/resnet180': did you mean 'timm/resnet18'"),
        ("zzzzzzzz", {}, r"unknown backbone 'timm/zzzzzzzz': timm.list_models\(\) lists"),
        ("hf-hub:somebody/model", {}, "unknown backbone 'timm/hf-hub:somebody/model'"),
        ("resnet18.a1_in2k", {}, "no weights 'a1_in2k' of resnet18: did you mean 'a1_in1k'"),
        ("vit_tiny_patch16_224", {}, r"takes images of one size only, \(224, 224\)"),
        ("convmixer_768_32", {}, "maps of this trunk do not shrink"),
        ("resnet18", {"first_stride": 64}, r"first_stride = 64, but its maps have the strides \[2, 4, 8, 16, 32\]"),
        (
            "resnet18",
            {"first_stride": 4, "levels": 3},
            "levels = 3, but this trunk alone gives 4 maps from stride 4",
        ),
        ("resnet18", {"extras": "plain"}, r"extras must be one of \('ssd', 'ssdlite'\), got 'plain'"),
        ("resnet18", {"extra_channels": []}, r"extra_channels must be numbers of at least 2, got \[\]"),
        ("resnet18", {"extra_channels": [64, 1]}, r"extra_channels must be numbers of at least 2, got \[64, 1\]"),
    ],
)
def test_refusals(name, options, message):
    with pytest.raises(ValueError, match=message):
        built(name, **options)


def test_trunks_without_weights(monkeypatch):
    monkeypatch.setattr(timm, "list_pretrained", lambda architecture: [])
    with pytest.raises(ValueError, match="timm has no weights of this trunk: leave weights_backbone out"):
        timm_weights("timm/resnet18")


def test_weights_that_cannot_be_had(monkeypatch):
    def offline(*_, **__):
        raise FileNotFoundError("check your connection")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(ValueError, match="timm/resnet18: timm cannot get its weights: check"):
        timm_weights("timm/resnet18")


def test_without_timm(monkeypatch):
    def absent(name, *args):
        if name == "timm":
            raise ImportError(name)
        return there(name, *args)

    there = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(ValueError, match=r"'timm/resnet18' needs timm: pip install detzoo\[timm\]"):
        built("resnet18")


# ---- stages, norms ----


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("resnet18", ["conv1", "bn1", "act1"], ["layer4"]),
        ("mobilenetv4_conv_small", ["conv_stem", "bn1"], ["blocks.3", "blocks.4"]),
        ("convnext_atto", ["stem_0", "stem_1", "stages_0"], ["stages_3"]),
    ],
)
def test_stages_end_where_maps_leave(name, first, last):
    backbone = built(name)
    assert backbone.layers[backbone.stages[0]] == first and backbone.layers[backbone.stages[-1]] == last
    assert len(backbone.stages) == len(backbone.network.feature_info.reduction())


@pytest.mark.parametrize(("name", "unneeded"), [("hrnet_w18_small", 42), ("efficientvim_m1", 1), ("resnet18", 0)])
def test_gradient_reaches_every_parameter_that_is_trained(name, unneeded):
    """Else processes that train together would wait for the others for ever."""
    with torch.device("meta"):
        backbone = BACKBONES[f"timm/{name}"]().train()
        sum(x.sum() for x in backbone(torch.empty(2, 3, 320, 320))).backward()
    reached = {key for key, parameter in backbone.named_parameters() if parameter.grad is not None}
    assert reached == {key for key, parameter in backbone.named_parameters() if parameter.requires_grad}
    assert len(backbone.unneeded) == unneeded == len(dict(backbone.named_parameters())) - len(reached)


def test_what_no_map_needs_stays_frozen_and_is_counted():
    backbone = BACKBONES["timm/hrnet_w18_small"]()
    theirs = timm.create_model("hrnet_w18_small", features_only=True)
    assert {f"network.{key}" for key in theirs.state_dict()} <= backbone.state_dict().keys()
    for trained in (0, len(backbone.stages)):
        backbone.train_last(trained).train()
        assert not any(backbone.network.get_parameter(name).requires_grad for name in backbone.unneeded)
    assert any(parameter.requires_grad for parameter in backbone.network.parameters())


def test_looking_for_what_is_needed_changes_nothing():
    network = timm.create_model("resnet18", features_only=True).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    drawn = torch.get_rng_state()
    with torch.no_grad():
        assert unneeded_parameters(network, 5) == [name for name, _ in network.named_parameters()]
        assert unneeded_parameters(network, 4) == []
    assert network.training and torch.equal(torch.get_rng_state(), drawn)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None and not parameter.is_meta for parameter in network.parameters())


def test_a_network_that_cannot_be_told_apart_is_one_stage():
    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))
            self.body = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1))
            self.feature_info = timm.models.FeatureInfo([{"num_chs": 3, "reduction": 2, "module": "body.0"}], (0,))

    network = Whole()
    assert cut_into_stages(network) == ([""], [slice(0, 1)])
    del network.weight
    assert cut_into_stages(network) == (["body.0", "body.1"], [slice(0, 2)])


def test_norms_with_an_activation_are_taken_apart():
    """Else an exchange of batch norms, as for synchronised ones, would lose the activation."""
    torch.manual_seed(0)
    network = timm.create_model("mobilenetv4_conv_small", features_only=True).eval()
    batch = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = network(batch)
        found = synchronise_batch_norm(split_norms(network), torch.device("cpu")).eval()(batch)
    assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))
    kinds = {type(layer).__name__ for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)}
    assert kinds == {"GatheredBatchNorm2d"}


# ---- in a detector ----


def test_a_name_alone_in_any_config():
    config = replace(SSD300_VGG16, backbone="timm/resnet18", default_boxes="linear", num_classes=3)
    with torch.device("meta"):
        model = build_ssd(config)
    assert model.default_boxes.num_levels == 6 and model.head.boxes_per_cell == [6] * 6


def test_options_in_a_config_are_checked():
    config = replace(SSDLITE320_TIMM, backbone={"name": "timm/resnet18", "level": 6, "first_stride": "8"})
    with pytest.raises(ValueError, match="(?s)no option 'level': did you mean 'levels'.*first_stride = '8'"):
        build_ssd(config)


def test_the_entry_point_takes_any_trunk():
    with torch.device("meta"):
        model = ssdlite320_timm("resnet18", num_classes=3, trainable_layers=1)
        boxes = model.default_boxes([(20, 20), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1)], (320, 320))
    assert len(boxes) == 3234
    assert model.backbone.channels[:2] == [256, 512] and model.backbone.frozen_stages == 4


def test_weights_of_the_trunk(monkeypatch):
    create = timm.create_model

    def filled(name, pretrained=False, **options):
        network = create(name, **options)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.fill_(0.5 if pretrained else 0.25)
        return network

    monkeypatch.setattr(timm, "create_model", filled)
    with_weights = ssdlite320_timm("resnet18.a1_in1k", weights_backbone="DEFAULT")
    without = ssdlite320_timm("resnet18.a1_in1k")
    assert all((parameter == 0.5).all() for parameter in with_weights.backbone.network.parameters())
    assert all((parameter == 0.25).all() for parameter in without.backbone.network.parameters())
    assert not all((parameter == 0.5).all() for parameter in with_weights.backbone.extras.parameters())


def test_weights_of_the_trunk_that_do_not_go_together():
    with pytest.raises(ValueError, match="'IMAGENET1K_V1': expected 'DEFAULT' for the trunk 'timm/resnet18'.*a tag"):
        ssdlite320_timm("resnet18", weights_backbone="IMAGENET1K_V1")
    with pytest.raises(ValueError, match="exclude each other"):
        ssdlite320_timm("resnet18", weights_backbone="DEFAULT", weights="some.pth")
