"""lufficc/SSD: where a naive import gives other outputs and no error, and what its files are."""

import re
from copy import copy, deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from goldens import Golden, made_batch
from steps import Steps, foreign_of, hollow
from torch import nn
from torchvision.ops import SqueezeExcitation

from detzoo.backbones import BACKBONES
from detzoo.categories import COCO, VOC
from detzoo.components import DefaultBoxGenerator, Postprocess, Preprocess
from detzoo.importers import Foreign, Imported, choose, convert, import_file, lufficc, readings_of
from detzoo.importers.names import rename_back
from detzoo.importers.numbers import SIZES_300_COCO, SIZES_512_COCO, SIZES_512_VOC
from detzoo.importers.readers import Container
from detzoo.models import MODELS, SSDConfig, build_ssd
from detzoo.models.opening import build_imported
from detzoo.ops import xyxy_to_cxcywh

GOLDENS = {  # and the readings of their names and shapes
    "vgg_ssd300_voc": ["vgg_ssd300_voc0712"],
    "vgg_ssd300_coco": ["vgg_ssd300_coco_trainval35k"],
    "vgg_ssd512_voc": ["vgg_ssd512_voc0712"],
    "vgg_ssd512_coco": ["vgg_ssd512_coco_trainval35k"],
    "mobilenet_v2_v1": ["mobilenet_v2_ssd320_voc0712", "mobilenet_v2_ssd320_voc0712_v2"],
    "mobilenet_v3": ["mobilenet_v3_ssd320_voc0712"],
    "efficient_net_b3": ["efficient_net_b3_ssd300_voc0712"],
}
GRIDS = {300: (38, 19, 10, 5, 3, 1), 320: (20, 10, 5, 3, 2, 1), 512: (64, 32, 16, 8, 4, 2, 1)}


@pytest.fixture(scope="module")
def v2() -> Steps:
    return Steps("lufficc-mobilenet_v2_v1")


@pytest.fixture(scope="module")
def v3() -> Steps:
    return Steps("lufficc-mobilenet_v3")


def shapes(kind: str, num_classes: int | None = None) -> dict[str, tuple[int, ...]]:
    """Of the tensors of such a model, and with another number of classes."""
    layout = {name: tuple(shape) for name, (shape, _) in Golden.read(f"lufficc-{kind}").layout.items()}
    if num_classes is None:
        return layout
    for name in [name for name in layout if re.search(r"cls_headers\.\d\.(conv\.3\.)?(weight|bias)", name)]:
        boxes = layout[name.replace("cls", "reg")][0] // 4
        layout[name] = (boxes * num_classes, *layout[name][1:])
    return layout


def first_version(names: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """The names that version 1 had for the same tensors."""
    words = {
        "backbone.": "",
        "box_head.predictor.cls_headers": "classification_headers",
        "box_head.predictor.reg_headers": "regression_headers",
    }
    old = {}
    for name, shape in names.items():
        word = next(word for word in words if name.startswith(word))
        old[words[word] + name.removeprefix(word)] = shape
    return old


def named(file: str, tensors: dict[str, tuple[int, ...]]) -> Foreign:
    return Foreign.of(Container("torch", hollow(tensors), {"content": {}}, Path(file)))


def imported(kind: str, origin: str | None = None) -> Imported:
    file = foreign_of(hollow(shapes(kind)))
    return convert(file, choose(file, origin))


def config(found: Imported) -> SSDConfig:
    return replace(MODELS[found.model].config, **found.config)


def apart(golden: str, numbers: SSDConfig, **options) -> np.ndarray:
    """How far each default box of a config, with other options, is from the original's."""
    part = {name: value for name, value in numbers.default_boxes.items() if name != "name"}
    generator = DefaultBoxGenerator.from_sizes(**{**part, **options}, image_size=numbers.size)
    grids = [(side, side) for side in GRIDS[numbers.size[0]]]
    boxes = xyxy_to_cxcywh(generator(grids, numbers.size)) / numbers.size[0]
    return np.abs(boxes.numpy() - Golden.read(f"lufficc-{golden}").default_boxes).max(axis=1)


def test_centres_end_at_the_image():
    numbers = config(imported("efficient_net_b3"))
    naive = apart("efficient_net_b3", numbers, clip="sizes")  # as torchvision does
    assert (naive > 1e-6).sum() == 114 and naive.max() == pytest.approx(9.5 * 32 / 300 - 1, abs=1e-6)
    assert apart("efficient_net_b3", numbers).max() < 1e-6


def test_steps_of_both_mobilenets():
    """Same tensors, other default boxes: which, only the file's name says."""
    old = config(imported("mobilenet_v2_v1", "lufficc/mobilenet_v2_ssd320_voc0712"))
    new = config(imported("mobilenet_v2_v1", "lufficc/mobilenet_v2_ssd320_voc0712_v2"))
    assert apart("mobilenet_v2_v1", old).max() < 1e-6 < 0.01 < apart("mobilenet_v2_v2", old).max()
    assert apart("mobilenet_v2_v2", new).max() < 1e-6 < 0.01 < apart("mobilenet_v2_v1", new).max()
    assert {**old.as_dict(), "default_boxes": None} == {**new.as_dict(), "default_boxes": None}


@pytest.mark.parametrize(
    ("kind", "naive"),
    [
        ("vgg_ssd512_voc", SIZES_512_VOC),  # 537.6 at the end, not 537.65
        ("vgg_ssd512_voc", [int(size) for size in SIZES_512_VOC]),  # Caffe's and MMDetection's
        ("vgg_ssd512_coco", [int(size) for size in SIZES_512_COCO]),
        ("vgg_ssd300_voc", SIZES_300_COCO),
    ],
    ids=["537.6", "integers", "integers", "coco"],
)
def test_sizes(kind, naive):
    numbers = config(imported(kind))
    assert apart(kind, numbers).max() < 1e-6
    assert apart(kind, numbers, min_sizes=naive[:-1], max_sizes=naive[1:]).max() > 1e-5


def test_extras_of_ssd512():
    """torchvision's have the same tensors, and other maps."""
    numbers = config(imported("vgg_ssd512_voc"))
    naive = replace(numbers, backbone={"name": "vgg16", "extras": "ssd512_torchvision"})
    batch = torch.empty(1, 3, 512, 512, device="meta")
    with torch.device("meta"):
        ours, theirs = (build_ssd(part).eval() for part in (numbers, naive))
        counts = [len(model.backbone(batch)[5][0, 0].flatten()) for model in (ours, theirs)]
    assert counts == [2 * 2, 4 * 4]
    assert len(Golden.read("lufficc-vgg_ssd512_voc").default_boxes) == 24564
    assert {key: x.shape for key, x in ours.state_dict().items()} == {
        k: x.shape for k, x in theirs.state_dict().items()
    }


@torch.no_grad()
def raw_apart(steps: Steps, backbone: nn.Module) -> float:
    """As of the head, of another backbone."""
    naive = copy(steps)
    naive.maps = backbone(made_batch(*steps.golden.size, steps.golden.scale))
    return naive.raw_apart(steps.model.head)


def test_squeeze_and_excitation_comes_before_the_activation(v3):
    """In torchvision's network, of the same tensors, after it."""
    backbone = deepcopy(v3.model.backbone)
    for layers in [part for part in backbone.modules() if isinstance(part, nn.Sequential)]:
        for index, layer in enumerate(list(layers)):
            if isinstance(layer, SqueezeExcitation):
                layers[index], layers[index + 1] = layers[index + 1], layer
    assert raw_apart(v3, v3.model.backbone) < 1e-5
    assert raw_apart(v3, backbone) > 0.01


def test_constants_of_batch_norm(v3):
    """torchvision's MobileNetV3 has 1e-3."""
    backbone = deepcopy(v3.model.backbone)
    for layer in backbone.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eps = 1e-3
    assert raw_apart(v3, backbone) > 1e-4


def test_padding_of_efficientnet():
    """torchvision's network has the same tensors and pads the same number of zeros on both sides."""
    steps = Steps("lufficc-efficient_net_b3")
    backbone = deepcopy(steps.model.backbone)
    for parent in list(backbone.trunk.modules()):
        for name, layer in parent.named_children():
            if isinstance(layer, nn.Conv2d):
                setattr(parent, name, padded_alike(layer))
    assert raw_apart(steps, steps.model.backbone) < 1e-5
    assert raw_apart(steps, backbone) > 0.01


def padded_alike(layer: nn.Conv2d) -> nn.Conv2d:
    size, bias = layer.kernel_size, layer.bias is not None
    padding = (size[0] // 2, size[1] // 2)
    new = nn.Conv2d(layer.in_channels, layer.out_channels, size, layer.stride, padding, groups=layer.groups, bias=bias)
    new.load_state_dict(layer.state_dict())
    return new


def test_first_map_of_mobilenet_v2_is_no_expansion(v2):
    assert v2.raw_apart(v2.model.head) < 1e-5
    assert v2.maps[0].shape[1] == 96
    with torch.device("meta"):
        assert BACKBONES["mobilenet_v2"]().channels[0] == 576


@pytest.mark.parametrize(
    "naive",
    [
        {"resize": "bilinear"},
        {"resize": "pillow"},
        {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},
        {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)},
    ],
    ids=["float", "antialias", "imagenet", "mobilenets"],
)
def test_pixels(v2, naive):
    """OpenCV's bytes less VGG's mean, for MobileNets too."""
    options = {name: value for name, value in v2.config.preprocess.items() if name != "name"}
    predictions = v2.predictions_after(Preprocess((320, 320), **{**options, **naive}))
    assert not v2.as_the_original(predictions, v2.model.postprocess)
    assert v2.as_the_original(v2.predictions, v2.model.postprocess)


@pytest.mark.parametrize(
    "naive", [{"clip": True}, {"detections_per_image": 200}, {"iou_threshold": 0.5}, {"top_k": 20}], ids=str
)
def test_suppression(v2, naive):
    options = {name: value for name, value in v2.config.postprocess.items() if name != "name"}
    assert not v2.as_the_original(v2.predictions, Postprocess(**{**options, **naive}))


@pytest.mark.parametrize("kind", GOLDENS)
def test_recognised_by_its_names(kind):
    found = [reading.name for reading in readings_of(foreign_of(hollow(shapes(kind))))]
    assert found == [f"lufficc/{name}" for name in GOLDENS[kind]]


@pytest.mark.parametrize("kind", ["vgg_ssd300_voc", "vgg_ssd512_coco"])
def test_files_of_version_1(kind):
    """Other names, the same tensors in the same places; no limit to an image's detections."""
    old, new = first_version(shapes(kind)), shapes(kind)
    file, size = foreign_of(hollow(old)), "512" if "512" in kind else "300"
    data = "coco_trainval35k" if "coco" in kind else "voc0712"
    found, now = convert(file, choose(file)), imported(kind)
    assert choose(file).name == f"lufficc/ssd{size}_{data}"
    assert found.model == now.model and found.categories is now.categories
    assert {name: x.shape for name, x in found.state.items()} == {name: x.shape for name, x in now.state.items()}
    assert list(found.state) == list(now.state), "in the same order, so each is where it was"
    assert found.config["default_boxes"] == now.config["default_boxes"] and len(old) == len(new)
    assert found.config["postprocess"] == {**now.config["postprocess"], "detections_per_image": None}


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("mobilenet_v2_ssd320_voc0712.pth", "mobilenet_v2_ssd320_voc0712"),
        ("mobilenet_v2_ssd320_voc0712_v2.pth", "mobilenet_v2_ssd320_voc0712_v2"),
        ("Mobilenet_V2_SSD320_VOC0712_V2 (1).pth", "mobilenet_v2_ssd320_voc0712_v2"),
    ],
)
def test_the_name_of_a_mobilenet(file, name):
    assert choose(named(file, shapes("mobilenet_v2_v1"))).name == f"lufficc/{name}"


def test_a_mobilenet_of_another_name_is_asked_about():
    with pytest.raises(ValueError, match="several things") as caught:
        choose(named("outputs/model_final.pth", shapes("mobilenet_v2_v1")))
    for origin, words in (("", "100, 150 and 300 pixels"), ("_v2", "107, 160 and 320 pixels")):
        assert f"origin='lufficc/mobilenet_v2_ssd320_voc0712{origin}'" in str(caught.value)
        assert words in str(caught.value)


@pytest.mark.parametrize("kind", ["vgg_ssd300_voc", "vgg_ssd512_voc"])
def test_default_boxes_of_other_classes_are_asked_about(kind):
    tensors = shapes(kind, num_classes=5)
    prefix = f"lufficc/{kind.removesuffix('_voc')}"
    with pytest.raises(ValueError, match=f"'{prefix}_voc0712'.*\n.*'{prefix}_coco_trainval35k'"):
        choose(named("mine.pth", tensors))
    for name in ("voc0712", "coco_trainval35k"):
        assert choose(named("mine.pth", tensors), f"{prefix}_{name}").name == f"{prefix}_{name}"
        published = f"{kind.removesuffix('_voc')}_{name}.pth"
        assert choose(named(published, tensors)).name == f"{prefix}_{name}"


@pytest.mark.parametrize(
    "names",
    [
        ("base_net.0.weight", "source_layer_add_ons.0.weight", "classification_headers.0.weight"),  # pytorch-ssd
        ("vgg.0.weight", "L2Norm.weight", "conf.0.bias"),  # ssd.pytorch
        ("backbone.features.0.weight", "backbone.l2_norm.weight", "bbox_head.cls_convs.0.weight"),  # mmdetection
        ("backbone.scale_weight", "head.classification_head.module_list.0.bias"),  # torchvision
        ("backbone._conv_stem.weight", "classifier.weight"),
        ("backbone.vgg.0.weight", "backbone.l2_norm.weight"),  # a trunk alone
    ],
)
def test_other_networks_are_not_its(names):
    assert lufficc.readings(foreign_of(hollow(dict.fromkeys(names, (4,))))) == []


@pytest.mark.parametrize(
    ("kind", "num_classes", "categories"),
    [
        ("vgg_ssd300_voc", 21, VOC),
        ("vgg_ssd300_coco", 81, COCO),
        ("mobilenet_v3", 7, None),
        ("efficient_net_b3", 81, COCO),
    ],
)
def test_classes(kind, num_classes, categories):
    file = foreign_of(hollow(shapes(kind, num_classes)))
    found = convert(file, choose(file))
    assert found.config["num_classes"] == num_classes and found.categories is categories
    assert "default boxes are those of" in found.assumed[-1] and "class" in found.assumed[0]


@pytest.mark.parametrize(
    ("kind", "name", "shape", "message"),
    [
        ("vgg_ssd300_voc", "cls_headers.3.bias", None, "no tensor 'box_head.predictor.cls_headers.3.bias'"),
        ("vgg_ssd512_voc", "cls_headers.0.bias", None, "no tensor 'box_head.predictor.cls_headers.0.bias'"),
        (
            "mobilenet_v3",
            "reg_headers.4.conv.3.weight",
            None,
            "no tensor 'box_head.predictor.reg_headers.4.conv.3.weight'",
        ),
        ("vgg_ssd300_voc", "cls_headers.0.bias", (85,), "headers.0.bias: the shape .85,. cannot be that of 4 boxes"),
        ("vgg_ssd300_voc", "reg_headers.4.bias", (24,), r"headers.4.bias has the shape \(24,\): expected 16"),
        (
            "efficient_net_b3",
            "cls_headers.2.weight",
            (84, 384, 3, 3),
            "headers.2.weight has the shape .*: expected 126",
        ),
        (
            "mobilenet_v3",
            "cls_headers.6.fc.bias",
            (126,),
            "unexpected tensor 'box_head.predictor.cls_headers.6.fc.bias'",
        ),
    ],
)
def test_other_layouts_are_refused(kind, name, shape, message):
    name = f"box_head.predictor.{name}"
    changed = {key: value for key, value in {**shapes(kind), name: shape}.items() if value is not None}
    file = foreign_of(hollow(changed))
    with pytest.raises(ValueError, match=message) as caught:
        convert(file, choose(file, f"lufficc/{GOLDENS[kind][0]}"))
    assert str(file.container.path) in str(caught.value)


@pytest.mark.parametrize("kind", ["mobilenet_v2_v1", "mobilenet_v3", "efficient_net_b3"])
def test_a_trunk_that_is_not_whole_is_refused(kind):
    tensors = shapes(kind)
    cut = [name for name in tensors if name.startswith("backbone.") and name.endswith("weight")][20]
    file = foreign_of(hollow({name: shape for name, shape in tensors.items() if name != cut}))
    found = convert(file, choose(file, f"lufficc/{GOLDENS[kind][0]}"))
    with torch.device("meta"), pytest.raises(ValueError, match=r"missing: backbone\.trunk\.[\w.]+weight$"):
        build_imported(found)


@pytest.mark.parametrize("kind", GOLDENS)
def test_tensors_are_not_copied(kind):
    """A linear layer, too, is seen as a convolution where it lies."""
    file = Golden.read(f"lufficc-{kind}").foreign() if kind == "mobilenet_v3" else foreign_of(hollow(shapes(kind)))
    found = convert(file, choose(file, f"lufficc/{GOLDENS[kind][0]}"))
    ours, theirs = ({x.data_ptr() for x in state.values()} for state in (found.state, file.state))
    assert ours == theirs and len(found.state) == len(file.state)
    assert bool(found.changes) == (kind == "mobilenet_v3")


@pytest.mark.parametrize("kind", GOLDENS)
def test_and_back(kind):
    file = foreign_of(hollow(shapes(kind)))
    network = next(network for network in lufficc.NETWORKS if GOLDENS[kind][0] in network.models)
    found = convert(file, choose(file, f"lufficc/{GOLDENS[kind][0]}"))
    assert list(rename_back(found.state, network.rules)) == list(file.state)


def test_a_file_with_the_momentum_of_training(tmp_path):
    """As its trainer saves one: weights under "model", and as many numbers again beside them."""
    path = tmp_path / "mobilenet_v2_ssd320_voc0712_v2.pth"
    weights = {name: torch.zeros(shape) for name, shape in shapes("mobilenet_v2_v1").items()}
    momentum = {k: {"momentum_buffer": tensor.clone()} for k, tensor in enumerate(weights.values())}
    optimizer = {"state": momentum, "param_groups": [{"lr": 1e-3, "params": list(momentum)}]}
    torch.save({"model": weights, "optimizer": optimizer, "scheduler": {"last_epoch": 1}, "iteration": 120000}, path)
    found = import_file(path)
    assert len(found.state) == len(weights) == 478
    assert found.config["default_boxes"]["steps"] == [16, 32, 64, 107, 160, 320]
