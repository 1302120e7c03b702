"""`describe_model`: the published numbers of published models, and nothing done to the model that is described."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import nn

import detzoo
from detzoo.models import MODELS, SSD, build_ssd
from detzoo.show import ModelFacts, changed, describe_model, format_model, open_model, published_weights


def facts_of(name: str, **options) -> ModelFacts:
    return describe_model(open_model(name, **options))


@pytest.mark.parametrize(
    ("name", "boxes", "parameters", "gmacs"),
    [
        # torchvision's tables: _ops of SSD300_VGG16_Weights and SSDLite320_MobileNet_V3_Large_Weights
        ("ssd300_vgg16", 8732, 35_641_826, 34.858),
        ("ssdlite320_mobilenet_v3_large", 3234, 3_440_060, 0.583),
        ("tiny_ssd", 5444, 1_010_376, 0.977),
    ],
)
def test_published_numbers(name, boxes, parameters, gmacs):
    facts = facts_of(name)
    assert facts.default_boxes == boxes and facts.total.parameters == parameters
    assert round(facts.total.macs / 1e9, 3) == gmacs
    assert facts.num_classes == MODELS[name].config.num_classes and facts.size == MODELS[name].config.size


def test_parameters_of_ssd300_for_voc():
    assert facts_of("ssd300_vgg16", num_classes=21).total.parameters == 26_285_486  # 26.3 M


def test_levels_of_ssd300():
    levels = facts_of("ssd300_vgg16").levels
    assert [level.grid for level in levels] == [(side, side) for side in (38, 19, 10, 5, 3, 1)]
    assert [level.stride for level in levels] == [(step, step) for step in (8, 16, 32, 64, 100, 300)]
    assert [level.channels for level in levels] == [512, 1024, 512, 256, 256, 256]
    assert [len(level.boxes) for level in levels] == [4, 6, 6, 6, 4, 4]
    expected = [(21, 21), (30.7409, 30.7409), (29.6985, 14.8492), (14.8492, 29.6985)]
    torch.testing.assert_close(torch.tensor(levels[0].sizes), torch.tensor(expected), rtol=0, atol=1e-3)
    for level in levels:  # the cell is one in the middle
        centre = (level.boxes[0, :2] + level.boxes[0, 2:]) / 2
        assert (centre - 150).abs().max() <= max(level.stride)


def test_an_image_that_is_not_square():
    facts = facts_of("tiny_ssd", size=(128, 256))
    assert [level.grid for level in facts.levels] == [(16, 32), (8, 16), (4, 8), (2, 4), (1, 1)]
    assert [level.stride for level in facts.levels][-2:] == [(64, 64), (128, 256)]
    width, height = facts.levels[0].sizes[0]
    assert math.isclose(width, 0.2 * 256, rel_tol=1e-5) and math.isclose(height, 0.2 * 128, rel_tol=1e-5)
    assert facts.size == (128, 256)


def test_multiplications_by_hand(small_config):
    """One 3x3 convolution of the head on each of two maps, beside what the trunk does."""
    small_config.num_classes = 3
    facts = describe_model(build_ssd(small_config))
    cells, outputs = 12**2 + 6**2, 4 * (3 + 4)  # boxes a cell; scores and deltas
    assert facts.parts["head"].macs == cells * 9 * 16 * outputs
    assert facts.parts["head"].parameters == 2 * (9 * 16 + 1) * outputs
    assert list(facts.parts) == ["backbone", "head"]
    larger = describe_model(build_ssd(small_config), (192, 96))
    assert larger.parts["head"].macs == 2 * facts.parts["head"].macs and larger.size == (192, 96)


def test_a_neck_is_a_part(small_config):
    small_config.num_classes, small_config.neck = 3, {"name": "fpn", "out_channels": 8}
    model = build_ssd(small_config)
    facts = describe_model(model)
    assert list(facts.parts) == ["backbone", "neck", "head"] and facts.parts["neck"].macs > 0
    assert facts.total.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert [level.channels for level in facts.levels] == [8, 8]


def test_the_model_stays_as_it_is(small_config):
    small_config.num_classes = 3
    model = build_ssd(small_config).train()
    before = copy.deepcopy(model.state_dict())
    describe_model(model)
    assert model.training and all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(parameter.is_meta for parameter in model.parameters())


@pytest.mark.parametrize("name", MODELS)
def test_every_model_can_be_described(name):
    with torch.device("meta"):
        model = detzoo.get_model(name)
    facts = describe_model(model)
    assert facts.total.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert facts.default_boxes > 0 and facts.total.macs > 0
    assert len(published_weights(name)) == len(MODELS[name].weights or ())


def test_a_name_is_opened_without_weights_and_the_preset_stays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = open_model("ssd300_vgg16", num_classes=4, size=(400, 500))
    assert isinstance(model, SSD) and model.backbone.trunk[0].weight.is_meta
    assert model.preprocess.size == (400, 500) and model.head.num_classes == 4
    assert MODELS["ssd300_vgg16"].config.size == (300, 300)
    (tmp_path / "ssd300_vgg16").mkdir()
    with pytest.raises(FileNotFoundError, match="ssd300_vgg16 is a folder with no"):  # what is there is meant
        open_model("ssd300_vgg16")


def test_what_the_network_cannot_take():
    with pytest.raises(ValueError, match=r"the network cannot take images of 100x120 pixels .*288x288 is the first"):
        describe_model(open_model("ssd300_vgg16"), (100, 120))


def test_what_is_wrong_with_the_network_and_not_with_the_size(small_config):
    small_config.num_classes = 3
    model = build_ssd(small_config)
    model.backbone.trunk.insert(0, nn.Linear(7, 7))
    with pytest.raises(RuntimeError, match=r"\[7, 7\]"):
        describe_model(model)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (["loss=focal"], {"loss": "focal"}),
        (["model.loss=focal"], {"loss": "focal"}),
        (["loss=focal", "loss.alpha=5e-1", "loss.box.name=l1"],
         {"loss": {"name": "focal", "alpha": 0.5, "box": {"name": "l1"}}}),
        (["neck.name=fpn", "neck.out_channels=64"], {"neck": {"name": "fpn", "out_channels": 64}}),
        (["loss={name: focal, alpha: 0.5}"], {"loss": {"name": "focal", "alpha": 0.5}}),
        (["size=[96,128]", "num_classes=4"], {"size": [96, 128], "num_classes": 4}),
        (["matcher.iou_threshold=0.4"], {"matcher": {"name": "ssd", "iou_threshold": 0.4}}),
        (["coder={}"], {"coder": {}}),
    ],
    ids=str,
)  # fmt: skip
def test_changes_of_a_preset(changes, expected):
    preset = MODELS["ssd300_vgg16"].config
    before = preset.as_dict()
    assert changed(preset, changes).as_dict() == before | expected and preset.as_dict() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("focal", "'focal': expected a part and what to put in its place, such as loss=focal"),
        ("=focal", "expected a part and what to put in its place"),
        ("loss..alpha=1", "expected a part and what to put in its place"),
        ("loss={name:", "'loss={name:': '{name:' is no YAML"),
        ("lss=focal", "model has no option 'lss': did you mean 'loss'"),
        ("size=96", r"model.size = 96 \(int\): expected"),
        ("size.height=300", r"'size.height=300': \[300, 300\] is no part, .*'height'; say size=VALUE to replace"),
        ("num_classes.x=3", "'num_classes.x=3': 91 is no part, so it has no option 'x'; say num_classes=VALUE"),
        ("loss.negatives_per_positive.x=3", "'loss.negatives_per_positive.x=3': .* is no part, .*; say loss=VALUE"),
    ],
)
def test_what_is_no_change(change, message):
    with pytest.raises(ValueError, match=message):
        changed(
            replace(MODELS["ssd300_vgg16"].config, loss={"name": "multibox", "negatives_per_positive": 3}), [change]
        )


def test_swapped_parts_are_opened(tmp_path):
    model = open_model("tiny_ssd", changes=["loss=focal", "neck={name: fpn, out_channels: 8}"], size=(128, 128))
    assert type(model.loss).__name__ == "FocalLoss" and model.neck.channels == [8] * 5
    assert model.preprocess.size == (128, 128)
    with pytest.raises(ValueError, match=r"(?s)loss 'focal' has no option 'negatives_per_positive'.*model.loss=focal"):
        open_model("tiny_ssd", changes=["loss.name=focal"])


def test_tables_are_aligned(small_config):
    small_config.num_classes = 3
    model = build_ssd(small_config)
    title, levels, costs, parts = format_model("mine", model, describe_model(model)).split("\n\n")
    assert title == "mine: 96x96 pixels, 3 classes with background, 720 default boxes"
    header, *rows = levels.splitlines()
    assert len(rows) == 2 and len({row.index("12x12") + 5 for row in rows[:1]} | {header.index("columns") + 7}) == 1
    assert [row.split()[:6] for row in rows] == [
        ["0", "12x12", "8", "16", "4", "576"],
        ["1", "6x6", "16", "16", "4", "144"],
    ]
    assert costs.splitlines()[-1].startswith("total") and len({len(line) for line in costs.splitlines()}) == 1
    assert [line.split()[0] for line in parts.splitlines()] == [
        "preprocess", "matcher", "loss", "postprocess", "weights",
    ]  # fmt: skip
    assert parts.endswith("none published")


def test_a_part_of_your_own_that_prints_on_many_lines(small_config):
    small_config.num_classes = 3
    model = build_ssd(small_config)
    model.matcher = nn.Sequential(nn.Identity(), nn.Identity())
    text = format_model("mine", model, describe_model(model))
    assert "matcher      Sequential((0): Identity() (1): Identity())" in text
