"""mmdetection: where a naive import gives other outputs and no error, and what its files say of themselves."""

import re
from collections.abc import Mapping
from copy import copy, deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from goldens import Golden, made_batch
from steps import Steps, hollow
from torch import nn

from detzoo.categories import COCO, VOC
from detzoo.components import BoxCoder, DefaultBoxGenerator, Postprocess, Preprocess
from detzoo.importers import Foreign, Imported, choose, convert, import_file, mmdetection, readings_of
from detzoo.importers.mmdetection_names import MOBILENET_V2, OLD_VGG, VGG
from detzoo.importers.names import rename, rename_back
from detzoo.importers.numbers import SIZES_300_VOC, SIZES_512_COCO, SIZES_512_VOC
from detzoo.importers.readers import Container
from detzoo.models import MODELS, SSDConfig
from detzoo.models.opening import build_imported
from detzoo.ops import xyxy_to_cxcywh

KINDS = ("ssd300_coco", "ssd300_voc", "ssd512_coco", "ssd512_voc", "ssdlite320")
GRIDS = {300: (38, 19, 10, 5, 3, 1), 320: (20, 10, 5, 3, 2, 1), 512: (64, 32, 16, 8, 4, 2, 1)}
# Of a config of version 2, as its own formatter writes it, and of version 3.
VERSION_2 = """
        anchor_generator=dict(
            type='SSDAnchorGenerator',
            scale_major=False,
            input_size=300,
            basesize_ratio_range=(0.2, 0.9),
            strides=[8, 16, 32, 64, 100, 300],
            ratios=[[2], [2, 3], [2, 3], [2, 3], [2], [2]]),
        dict(type='MultiScaleFlipAug', img_scale=(300, 300), flip=False)
"""
OWN_SIZES = """
        anchor_generator=dict(
            max_sizes=[
                30.5,
                80,
                120,
                160,
                200,
                240,
            ],
            min_sizes=[
                10,
                30.5,
                80,
                120,
                160,
                200,
            ],
            ratios=([2, ], [2, 3, ], [2, 3, ], [2, 3, ], [2, ], [2, ], ),
            scale_major=False,
            strides=[8, 16, 32, 64, 107, 320, ],
            type='SSDAnchorGenerator'),
    dict(keep_ratio=False, scale=(
        416,
        320,
    ), type='Resize'),
"""


@pytest.fixture(scope="module")
def lite() -> Steps:
    return Steps("mmdetection-ssdlite320")


@pytest.fixture(scope="module")
def one_class() -> Steps:
    return Steps("mmdetection-old")


def shapes(kind: str, num_classes: int | None = None) -> dict[str, tuple[int, ...]]:
    """Of the tensors of such a model, and with another number of classes."""
    layout = {name: tuple(shape) for name, (shape, _) in Golden.read(f"mmdetection-{kind}").layout.items()}
    if num_classes is None:
        return layout
    for name in [name for name in layout if re.search(r"cls_convs\.\d(\.[01])?\.(weight|bias)", name)]:
        boxes = layout[name.replace("cls", "reg")][0] // 4
        layout[name] = (boxes * num_classes, *layout[name][1:])
    return layout


def file_of(
    tensors: Mapping[str, tuple[int, ...]], meta: Mapping[str, Any] | None = None, name: str = "somewhere/mine.pth"
) -> Foreign:
    content = {} if meta is None else {"meta": dict(meta)}
    return Foreign.of(Container("torch", hollow(tensors), {"content": content}, Path(name)))


def imported(kind: str, origin: str | None = None) -> Imported:
    """With nothing but tensors in the file."""
    file = file_of(shapes(kind))
    return convert(file, choose(file, origin))


def config(found: Imported) -> SSDConfig:
    return replace(MODELS[found.model].config, **found.config)


def apart(kind: str, numbers: SSDConfig, **options) -> np.ndarray:
    """How far each default box of a config, with other options, is from the original's."""
    part = {name: value for name, value in numbers.default_boxes.items() if name != "name"}
    generator = DefaultBoxGenerator.from_sizes(**{**part, **options}, image_size=numbers.size)
    grids = [(side, side) for side in GRIDS[numbers.size[0]]]
    boxes = xyxy_to_cxcywh(generator(grids, numbers.size)) / numbers.size[0]
    return np.abs(boxes.numpy() - Golden.read(f"mmdetection-{kind}").default_boxes).max(axis=1)


def test_background_is_the_last_class(lite):
    assert lite.raw_apart(lite.head_with(rename(lite.foreign.state, MOBILENET_V2))) > 0.1
    assert lite.raw_apart(lite.model.head) < 1e-5


@pytest.mark.parametrize(
    ("kind", "naive"),
    [
        ("ssd300_coco", {"clip": "centres_and_sizes"}),  # ssd.pytorch
        ("ssd300_voc", {"clip": "sizes"}),  # torchvision
        ("ssd300_coco", {"min_sizes": SIZES_300_VOC[:-1], "max_sizes": SIZES_300_VOC[1:]}),
        ("ssd512_coco", {"min_sizes": SIZES_512_COCO[:-1], "max_sizes": SIZES_512_COCO[1:]}),
        ("ssd512_voc", {"min_sizes": SIZES_512_VOC[:-1], "max_sizes": SIZES_512_VOC[1:]}),
        ("ssdlite320", {"steps": None}),  # its step is 107, not 320 / 3
    ],
    ids=["clipped", "clipped sizes", "VOC's", "not whole", "not whole", "no steps"],
)
def test_default_boxes(kind, naive):
    numbers = config(imported(kind))
    assert apart(kind, numbers).max() < 1e-6
    assert apart(kind, numbers, **naive).max() > 1e-5


def test_centres_beyond_the_image_stay_there():
    beyond = apart("ssd300_voc", config(imported("ssd300_voc")), clip="centres_and_sizes")
    moved = Golden.read("mmdetection-ssd300_voc").default_boxes[:, :2].max(axis=1) > 1
    assert moved.sum() == 114 and np.allclose(beyond[moved], 9.5 * 32 / 300 - 1, atol=1e-6)


@torch.no_grad()
def raw_apart(steps: Steps, backbone: nn.Module) -> float:
    """As of the head, of another backbone."""
    naive = copy(steps)
    naive.maps = backbone(made_batch(*steps.golden.size, steps.golden.scale))
    return naive.raw_apart(steps.model.head)


def test_constants_of_batch_norm(lite):
    backbone = deepcopy(lite.model.backbone)
    for layer in backbone.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eps = 1e-5  # PyTorch's
    assert raw_apart(lite, backbone) > 1e-4 > 1e-5 > raw_apart(lite, lite.model.backbone)


def test_first_map_is_no_expansion(lite):
    assert [x.shape[1] for x in lite.maps] == [96, 1280, 512, 256, 256, 128]
    assert MODELS["ssdlite320_mobilenet_v2"].config.backbone["first_map"] == "expansion"


@pytest.mark.parametrize(
    "naive",
    [
        {"resize": "bilinear"},
        {"resize": "pillow"},
        {"std": (1 / 255, 1 / 255, 1 / 255)},  # the other networks'
        {"mean": (0.406, 0.456, 0.485)},
    ],
    ids=["float", "antialias", "std", "blue first"],
)
def test_pixels(lite, naive):
    options = {name: value for name, value in lite.config.preprocess.items() if name != "name"}
    predictions = lite.predictions_after(Preprocess((320, 320), **{**options, **naive}))
    assert not lite.as_the_original(predictions, lite.model.postprocess)
    assert lite.as_the_original(lite.predictions, lite.model.postprocess)


@pytest.mark.parametrize(
    "naive",
    [
        {"top_k": None},  # 1000 pairs of a map
        {"top_k": 400, "top_k_per": "class"},
        {"score_threshold": 0.05},
        {"iou_threshold": 0.5},
        {"clip": False},
        {"drop_empty": False},
        {"detections_per_image": 100},
    ],
    ids=str,
)
def test_suppression(one_class, naive):
    options = {name: value for name, value in one_class.config.postprocess.items() if name != "name"}
    assert one_class.as_the_original(one_class.predictions, one_class.model.postprocess)
    assert not one_class.as_the_original(one_class.predictions, Postprocess(**options | naive))


@pytest.mark.parametrize("naive", [{"max_log_size": None}, {"min_log_size": None}], ids=str)
def test_sizes_are_limited_from_both_sides(one_class, naive):
    options = {name: value for name, value in one_class.config.coder.items() if name != "name"}
    deltas = torch.tensor([[0.0, 0, 21, -21]])
    box = torch.tensor([[100.0, 100, 110, 110]])
    width, height = xyxy_to_cxcywh(BoxCoder(**options).decode(deltas, box))[0, 2:].tolist()
    assert (width, height) == pytest.approx((10 * 1000 / 16, 10 * 16 / 1000), rel=1e-3)
    other = xyxy_to_cxcywh(BoxCoder(**options | naive).decode(deltas, box))[0, 2:].tolist()
    assert other != pytest.approx((width, height), rel=1e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_recognised_by_its_names(kind):
    found = readings_of(file_of(shapes(kind)))
    network = kind.partition("_")[0]
    both = [f"mmdetection/{network}_voc", f"mmdetection/{network}_coco"]
    assert [reading.name for reading in found] == (["mmdetection/ssdlite320"] if network == "ssdlite320" else both)
    assert [reading.name for reading in found if reading.hinted] == [f"mmdetection/{kind}"], "as many classes"


@pytest.mark.parametrize("kind", KINDS)
def test_published_files(kind):
    golden = Golden.read(f"mmdetection-{kind}")
    assert golden.file.startswith(kind.removesuffix("320")) and golden.origin is None
    meta = golden.metadata["content"]["meta"]
    file = file_of(shapes(kind), meta, "renamed.pth")
    found = convert(file, choose(file))
    assert found.categories is (VOC if kind.endswith("voc") else COCO)
    assert found.model == ("ssdlite320_mobilenet_v2" if kind == "ssdlite320" else f"{kind.partition('_')[0]}_vgg16")
    assert found.config["size"] == tuple(golden.size) and bool(found.assumed) != ("cfg" in meta or "config" in meta)


@pytest.mark.parametrize(
    ("meta", "name", "reading"),
    [
        ({"config": VERSION_2, "CLASSES": COCO.names}, "ssd300_coco.pth", "ssd300_voc"),  # the config before all else
        ({"dataset_meta": {"classes": COCO.names}}, "ssd300_voc0712.pth", "ssd300_coco"),
        ({"dataset_meta": {"CLASSES": VOC.names}}, "mine.pth", "ssd300_voc"),
        ({"CLASSES": ("a", "b")}, "ssd300_coco_tuned.pth", "ssd300_coco"),
        (None, "SSD300_VOC0712_20220320.pth", "ssd300_voc"),
    ],
)
def test_whose_default_boxes(meta, name, reading):
    assert choose(file_of(shapes("ssd300_coco", 3), meta, name)).name == f"mmdetection/{reading}"


@pytest.mark.parametrize("meta", [None, {"CLASSES": ("a", "b")}, {"config": 2 * VERSION_2}, {"config": "anchor"}])
@pytest.mark.parametrize("kind", ["ssd300_voc", "ssd512_coco"])
def test_default_boxes_that_nothing_tells_are_asked_about(kind, meta):
    file, network = file_of(shapes(kind, 3), meta), kind.partition("_")[0]
    with pytest.raises(ValueError, match=f"'mmdetection/{network}_voc'.*\n.*'mmdetection/{network}_coco'"):
        choose(file)
    found = convert(file, choose(file, f"mmdetection/{kind}"))
    assert found.config["default_boxes"] == imported(kind).config["default_boxes"]


def test_names_of_20_own_classes_are_not_voc():
    file = file_of(shapes("ssd300_voc"), {"CLASSES": [f"kind {k}" for k in range(20)]})
    with pytest.raises(ValueError, match="several things"):
        choose(file)


@pytest.mark.parametrize("key", ["cfg", "config"])
def test_a_config_with_own_default_boxes(key):
    file = file_of(shapes("ssd300_coco"), {key: OWN_SIZES}, "ssd300_coco.pth")
    reading = choose(file)
    found = convert(file, reading)
    assert reading.name == "mmdetection/own_config" and found.config["size"] == (320, 416)
    assert found.config["default_boxes"] == {
        "name": "sizes",
        "min_sizes": [10, 30.5, 80, 120, 160, 200],
        "max_sizes": [30.5, 80, 120, 160, 200, 240],
        "aspect_ratios": [[2], [2, 3], [2, 3], [2, 3], [2], [2]],
        "steps": [8, 16, 32, 64, 107, 320],
        "clip": "none",
    }
    assert choose(file, "mmdetection/ssd300_coco").name == "mmdetection/ssd300_coco"


@pytest.mark.parametrize(
    "broken",
    [
        OWN_SIZES.replace("200,\n                240", "200"),  # one too few
        OWN_SIZES.replace("30.5", "-1"),
        OWN_SIZES.replace("[8, 16", "[NaN, 16"),
        OWN_SIZES.replace("[2, 3, ]", "'2, 3'"),
        VERSION_2.replace("0.2, 0.9", "0.3, 0.9"),
        VERSION_2.replace("ratios=", "ratios=" + 5000 * "["),
        VERSION_2[:200],
    ],
    ids=["few", "negative", "nan", "no list", "range", "nested", "truncated"],
)
def test_a_config_that_makes_no_sense_says_nothing(broken):
    file = file_of(shapes("ssd300_coco"), {"config": broken})
    assert choose(file).name == "mmdetection/ssd300_coco"


@pytest.mark.parametrize(
    ("meta", "refused"),
    [
        ({"mmdet_version": "1.0rc1+5f9f470", "config": "num_classes=81"}, True),  # background was counted
        ({"mmdet_version": "1.0rc1+5f9f470", "config": "num_classes=80"}, False),  # the first files of version 2
        ({"mmdet_version": "2.3.0", "config": "num_classes=80, num_classes=81"}, False),
        ({"mmdet_version": "0.6.0"}, True),
        ({"mmdet_version": "2.13.0"}, False),
        ({}, False),
    ],
)
def test_version_1_is_refused(meta, refused):
    """Its tensors have the same names and shapes, and background is the first class."""
    file = file_of(shapes("old", 81), meta)
    if refused:
        with pytest.raises(ValueError, match="mmdetection 1, whose background is the first class"):
            convert(file, choose(file))
    else:
        assert convert(file, choose(file)).config["num_classes"] == 81


@pytest.mark.parametrize(
    ("num_classes", "meta", "categories"),
    [
        (21, {"CLASSES": list(VOC.names)}, VOC),
        (81, {"dataset_meta": {"CLASSES": COCO.names}}, COCO),
        (81, {"dataset_meta": {"classes": COCO.names}, "CLASSES": ("other",)}, COCO),
        (81, None, COCO),
        (4, None, None),
        (4, {"CLASSES": "cat"}, None),
        (4, {"CLASSES": ("cat", "dog")}, None),
    ],
)
def test_categories(num_classes, meta, categories):
    file = file_of(shapes("ssdlite320", num_classes), meta)
    found = convert(file, choose(file))
    assert found.categories is categories and found.config["num_classes"] == num_classes
    assert any("classes" in line for line in found.assumed) == (meta is None or categories is None)


def test_own_categories(one_class):
    assert one_class.model.categories.names == ("cell",)


@pytest.mark.parametrize(
    "names",
    [
        ("backbone.vgg.0.weight", "backbone.l2_norm.weight", "box_head.predictor.cls_headers.0.weight"),  # lufficc
        ("backbone.features.0.0.weight", "head.classification_head.module_list.0.0.0.weight"),  # torchvision
        ("backbone.conv1.weight", "neck.lateral_convs.0.conv.weight", "bbox_head.cls_convs.0.conv.weight"),  # RetinaNet
        ("backbone.conv1.conv.weight", "backbone.layer1.0.depthwise_conv.conv.weight", "bbox_head.convs_pred.0.weight"),
        ("backbone.features.0.weight", "backbone.l2_norm.weight"),  # a trunk alone
        ("vgg.0.weight", "L2Norm.weight", "conf.0.bias"),  # ssd.pytorch
    ],
)
def test_other_networks_are_not_its(names):
    assert mmdetection.readings(file_of(dict.fromkeys(names, (4,)))) == []


@pytest.mark.parametrize("kind", [*KINDS, "old"])
def test_nobody_else_reads_its_files(kind):
    assert {reading.name.partition("/")[0] for reading in readings_of(file_of(shapes(kind)))} == {"mmdetection"}


@pytest.mark.parametrize(
    ("kind", "name", "shape", "message"),
    [
        ("ssd300_voc", "cls_convs.0.0.bias", None, r"no tensor 'bbox_head.cls_convs.0.0.bias'.* 6 feature maps"),
        ("ssd512_coco", "reg_convs.6.0.weight", None, "no tensor 'bbox_head.reg_convs.6.0.weight'.* 7 feature maps"),
        ("ssdlite320", "cls_convs.3.1.weight", None, "no tensor 'bbox_head.cls_convs.3.1.weight'"),
        ("ssd300_voc", "reg_convs.4.0.bias", (24,), r"bbox_head.reg_convs.4.0.bias \(24,\): expected 16"),
        ("ssd300_voc", "cls_convs.1.0.bias", (125,), "bbox_head.cls_convs.1.0.bias: the shape .125,. cannot be"),
        ("old", "cls_convs.5.bias", (84,), "bbox_head.cls_convs.5.bias is for 21 classes, .* first map for 2"),
        ("ssdlite320", "cls_convs.6.1.bias", (126,), "unexpected tensor 'bbox_head.cls_convs.6.1.extra"),
    ],
)
def test_other_layouts_are_refused(kind, name, shape, message):
    name = f"bbox_head.{name}"
    changed = {key: value for key, value in {**shapes(kind), name: shape}.items() if value is not None}
    if "extra" in message:
        changed[name.replace("bias", "extra")] = shape
    file = file_of(changed)
    origin = f"mmdetection/{'ssd300_voc' if kind == 'old' else kind}"
    with pytest.raises(ValueError, match=message) as caught:
        convert(file, choose(file, origin))
    assert str(file.container.path) in str(caught.value)


def test_a_trunk_that_is_not_whole_is_refused():
    tensors = shapes("ssdlite320")
    del tensors["backbone.layer6.0.depthwise_conv.conv.weight"]
    file = file_of(tensors)
    found = convert(file, choose(file))
    with torch.device("meta"), pytest.raises(ValueError, match=r"missing: backbone\.trunk\.15\.1\.0\.weight"):
        build_imported(found)


@pytest.mark.parametrize("kind", ["ssdlite320", "old"])
def test_only_class_heads_are_copied(kind, lite, one_class):
    steps = lite if kind == "ssdlite320" else one_class
    own = {tensor.data_ptr() for tensor in steps.foreign.state.values()}
    copied = [key for key, tensor in steps.imported.state.items() if tensor.data_ptr() not in own]
    last = ".1" if kind == "ssdlite320" else ""
    expected = [f"head.classification.{k}{last}.{part}" for k in range(6) for part in ("bias", "weight")]
    assert sorted(copied) == expected and "background" in steps.imported.changes[0]


@pytest.mark.parametrize("kind", [*KINDS, "old"])
def test_and_back(kind):
    file = file_of(shapes(kind))
    rules = {"ssdlite320": MOBILENET_V2, "old": OLD_VGG}.get(kind, VGG)
    state = rename(file.state, rules)
    assert len(state) == len(file.state) and list(rename_back(state, rules)) == list(file.state)


def test_old_and_new_names_are_of_the_same_tensors():
    old, new = (rename(hollow(shapes(kind, 3)), rules) for kind, rules in (("old", OLD_VGG), ("ssd300_voc", VGG)))
    assert {name: x.shape for name, x in old.items()} == {name: x.shape for name, x in new.items()}


def test_a_file_as_its_trainer_writes_it(tmp_path):
    """With NumPy's numbers in what it tells of itself, and an optimiser beside the weights."""
    path = tmp_path / "epoch_24.pth"
    weights = {name: torch.zeros(shape) for name, shape in shapes("ssdlite320", 3).items()}
    meta = {"epoch": 24, "seed": np.int64(7), "dataset_meta": {"classes": ("cat", "dog")}, "time": "20240101"}
    optimizer = {"state": {0: {"momentum_buffer": torch.ones(3)}}, "param_groups": [{"lr": 0.015, "params": [0]}]}
    torch.save({"meta": meta, "state_dict": weights, "optimizer": optimizer, "message_hub": {}}, path)
    found = import_file(path)
    assert len(found.state) == len(weights) == 480
    assert found.categories.names == ("cat", "dog") and found.model == "ssdlite320_mobilenet_v2"
