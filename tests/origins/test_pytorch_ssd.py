"""qfgaohao's pytorch-ssd: where a naive import gives other boxes and no error, and what its files are."""

from copy import copy, deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from goldens import Golden, made_batch
from steps import Steps, foreign_of, hollow
from torch import nn

from detzoo.backbones import squeezenet1_1
from detzoo.categories import VOC
from detzoo.components import DefaultBoxGenerator, Postprocess, Preprocess
from detzoo.importers import Foreign, Imported, choose, convert, pytorch_ssd, readings_of
from detzoo.importers.readers import Container
from detzoo.models import MODELS, SSDConfig
from detzoo.ops import xyxy_to_cxcywh

KINDS = ("vgg16-ssd", "vgg16-ssd-l2", "mb1-ssd", "mb1-ssd-lite", "mb2-ssd-lite", "sq-ssd-lite")


@pytest.fixture(scope="module")
def mb1() -> Steps:
    return Steps("pytorch_ssd-mb1-ssd")


@pytest.fixture(scope="module")
def mb2() -> Steps:
    return Steps("pytorch_ssd-mb2-ssd-lite")


def shapes(kind: str) -> dict[str, tuple[int, ...]]:
    """Of the tensors of such a model."""
    return {name: tuple(shape) for name, (shape, _) in Golden.read(f"pytorch_ssd-{kind}").layout.items()}


def foreign(kind: str) -> Foreign:
    return foreign_of(hollow(shapes(kind)))


def named(path: Path, kind: str) -> Foreign:
    return Foreign.of(Container("torch", hollow(shapes(kind)), {"content": {}}, path))


def imported(kind: str, origin: str | None = None) -> Imported:
    file = foreign(kind)
    return convert(file, choose(file, origin or f"pytorch-ssd/{kind.removesuffix('-l2')}"))


def config(found: Imported) -> SSDConfig:
    return replace(MODELS[found.model].config, **found.config)


def apart(kind: str, numbers: SSDConfig, **options) -> np.ndarray:
    """How far each default box of a config, with other options, is from the original's."""
    sides = {
        "vgg16-ssd": (38, 19, 10, 5, 3, 1),
        "sq-ssd-lite": (17, 10, 5, 3, 2, 1),
        "mb1-ssd-512": (32, 16, 8, 4, 2, 1),
    }
    part = {name: value for name, value in numbers.default_boxes.items() if name != "name"}
    generator = DefaultBoxGenerator.from_sizes(**{**part, **options}, image_size=numbers.size)
    grids = [(side, side) for side in sides.get(kind, (19, 10, 5, 3, 2, 1))]
    boxes = xyxy_to_cxcywh(generator(grids, numbers.size)) / numbers.size[0]
    return np.abs(boxes.numpy() - Golden.read(f"pytorch_ssd-{kind}").default_boxes).max(axis=1)


@pytest.mark.parametrize("kind", ["vgg16-ssd", "mb1-ssd", "sq-ssd-lite"])
def test_centres_end_at_the_image(kind):
    numbers = config(imported(kind))
    assert apart(kind, numbers).max() < 1e-6
    naive = apart(kind, numbers, clip="sizes")  # as torchvision does
    assert (naive > 1e-6).sum() == 114
    assert naive.max() == pytest.approx(9.5 * 32 / 300 - 1, abs=1e-6)


def test_the_resolution_of_a_mobilenet_is_asked_for_because_its_default_boxes_are_others():
    with pytest.raises(ValueError, match="several things") as caught:
        choose(foreign("mb1-ssd"))
    assert "'pytorch-ssd/mb1-ssd'" in str(caught.value) and "--resolution=512" in str(caught.value)
    numbers = config(imported("mb1-ssd-512", "pytorch-ssd/mb1-ssd-512"))
    assert numbers.size == (512, 512) and apart("mb1-ssd-512", numbers).max() < 1e-6
    usual = replace(config(imported("mb1-ssd")), size=(512, 512))
    scaled = [size * 512 / 300 for size in usual.default_boxes["min_sizes"]]
    assert apart("mb1-ssd-512", usual, min_sizes=scaled).max() > 0.01


@pytest.mark.parametrize("file", ["mobilenet-v1-ssd-mp-0_675.pth", "gun_model_2.21.pth"])
def test_the_published_mobilenets_have_300_pixels(file):
    assert choose(named(Path("models") / file, "mb1-ssd")).name == "pytorch-ssd/mb1-ssd"


@pytest.mark.parametrize(
    "naive",
    [{"resize": "bilinear"}, {"resize": "pillow"}, {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}],
    ids=["resize", "antialias", "127.5"],
)
def test_pixels(mb1, naive):
    """OpenCV's bytes, less 127 and over 128."""
    options = {name: value for name, value in mb1.config.preprocess.items() if name != "name"}
    predictions = mb1.predictions_after(Preprocess((300, 300), **{**options, **naive}))
    assert not mb1.as_the_original(predictions, mb1.model.postprocess)
    assert mb1.as_the_original(mb1.predictions, mb1.model.postprocess)


@pytest.mark.parametrize(
    "naive",
    [{"union_margin": 0.0}, {"top_k": 400}, {"detections_per_image": 200}, {"clip": True}, {"iou_threshold": 0.5}],
    ids=str,
)
def test_suppression(mb1, naive):
    options = {name: value for name, value in mb1.config.postprocess.items() if name != "name"}
    assert not mb1.as_the_original(mb1.predictions, Postprocess(**{**options, **naive}))


@torch.no_grad()
def test_mobilenet_v1_has_no_limit_of_six(mb1):
    """TensorFlow's has, and weights load into either."""
    trunk = deepcopy(mb1.model.backbone)
    for part in list(trunk.modules()):
        for name, layer in part.named_children():
            if isinstance(layer, nn.ReLU):
                setattr(part, name, nn.ReLU6())
    naive = copy(mb1)
    naive.maps = trunk(made_batch(300, 300, mb1.golden.scale))
    assert naive.raw_apart(mb1.model.head) > 1e-3
    assert mb1.raw_apart(mb1.model.head) < 1e-5


def test_depthwise_convolutions_of_the_heads_have_biases(mb2):
    """torchvision's SSDlite has none there."""
    state = dict(mb2.imported.state)
    naive = {
        key: torch.zeros_like(tensor) if key.startswith("head.") and key.endswith(".0.bias") else tensor
        for key, tensor in state.items()
    }
    assert mb2.raw_apart(mb2.head_with(naive)) > 0.01
    assert mb2.raw_apart(mb2.head_with(state)) < 1e-5


@torch.no_grad()
def test_squeezenet_rounds_down():
    """torchvision's has the same weights and 18 cells a side; here there are 17."""
    backbone = squeezenet1_1().eval()
    image = torch.zeros(1, 3, 300, 300)
    assert [x.shape[-1] for x in backbone(image)] == [17, 10, 5, 3, 2, 1]
    for layer in backbone.trunk:
        if isinstance(layer, nn.MaxPool2d):
            layer.ceil_mode = True
    assert [x.shape[-1] for x in backbone(image)] == [18, 10, 5, 3, 2, 1]


def test_the_norm_behind_conv4_3_goes_by_what_the_file_has():
    new, old = imported("vgg16-ssd"), imported("vgg16-ssd-l2")
    assert new.config["backbone"]["conv4_3_norm"] == "batch" and "backbone.norms.22.running_var" in new.state
    assert old.config["backbone"]["conv4_3_norm"] == "l2" and "backbone.norms.22.weight" in old.state
    assert new.config["preprocess"] == old.config["preprocess"] != imported("mb1-ssd").config["preprocess"]


@pytest.mark.parametrize("kind", KINDS)
def test_recognised_by_its_names(kind):
    names = [reading.name for reading in readings_of(foreign(kind))]
    wanted = f"pytorch-ssd/{kind.removesuffix('-l2')}"
    assert names == ([wanted, f"{wanted}-512"] if kind == "mb1-ssd" else [wanted])


@pytest.mark.parametrize(
    "names",
    [
        ("base_net.Conv2d_0.weight", "classification_headers.0.weight"),  # its experiment with an FPN
        ("base_net.3.conv1.weight", "classification_headers.0.0.weight"),  # its MobileNetV3
        ("vgg.0.weight", "L2Norm.weight", "conf.0.bias"),  # ssd.pytorch
        ("backbone.vgg.0.weight", "box_head.predictor.cls_headers.0.weight"),  # lufficc's
    ],
)
def test_other_networks_are_not_its(names):
    assert pytorch_ssd.readings(foreign_of(hollow(dict.fromkeys(names, (2,))))) == []


@pytest.mark.parametrize(
    ("kind", "num_classes", "categories"),
    [("vgg16-ssd", 21, VOC), ("mb1-ssd-lite", 9, None), ("mb2-ssd-lite", 21, VOC), ("sq-ssd-lite", 4, None)],
)
def test_classes(kind, num_classes, categories):
    found = imported(kind)
    assert found.config["num_classes"] == num_classes and found.categories is categories
    assert found.assumed, "the file does not say"


FRUIT = ("Apple", "Banana", "Grape", "Orange", "Pear", "Pineapple", "Strawberry", "Watermelon")


@pytest.mark.parametrize("name", ["labels.txt", "voc-model-labels.txt", "open-images-model-labels.txt"])
def test_names_of_classes_lie_beside_the_file(tmp_path, name):
    (tmp_path / name).write_text("\n".join(["BACKGROUND", *FRUIT]))
    found = trained_in(tmp_path)
    assert found.categories.names == FRUIT
    assert found.assumed == (f"the classes are those that {name} beside the file lists",)


@pytest.mark.parametrize("lines", [["BACKGROUND", *FRUIT, "Quince"], ["Quince", *FRUIT]], ids=["more", "no background"])
def test_names_of_other_classes_beside_the_file_are_not_taken(tmp_path, lines):
    (tmp_path / "labels.txt").write_text("\n".join(lines))
    assert trained_in(tmp_path).categories is None


def test_names_that_repeat_name_the_file_that_they_are_in(tmp_path):
    (tmp_path / "labels.txt").write_text("\n".join(["BACKGROUND", *FRUIT[:7], "Apple"]))
    with pytest.raises(ValueError, match=r"labels.txt: category names must be unique.*'Apple'"):
        trained_in(tmp_path)


def test_names_do_not_control_a_terminal(tmp_path):
    (tmp_path / "labels.txt").write_text("\n".join(["BACKGROUND", *FRUIT[:7], "\x1b[2J\u3000p\xe8re"]))
    assert trained_in(tmp_path).categories.names[7] == "?[2J\u3000p\xe8re"


def test_what_is_in_no_file_has_nothing_beside_it(tmp_path, monkeypatch):
    """The working directory is nobody's."""
    (tmp_path / "labels.txt").write_text("\n".join(["BACKGROUND", *FRUIT]))
    monkeypatch.chdir(tmp_path)
    file = named(Path("mb1-ssd-lite-Epoch-149-Loss-2.9.pth"), "mb1-ssd-lite")
    assert convert(file, choose(file)).categories is None


def trained_in(folder: Path) -> Imported:
    path = folder / "mb1-ssd-lite-Epoch-149-Loss-2.9.pth"
    path.touch()
    file = named(path, "mb1-ssd-lite")
    return convert(file, choose(file))


@pytest.mark.parametrize(
    ("kind", "name", "shape", "message"),
    [
        ("vgg16-ssd", "classification_headers.3.bias", None, "there is no tensor 'classification_headers.3.bias'"),
        ("mb2-ssd-lite", "regression_headers.4.3.weight", None, "there is no tensor 'regression_headers.4.3.weight'"),
        (
            "vgg16-ssd",
            "classification_headers.0.bias",
            (85,),
            "headers.0.bias: the shape .85,. cannot be that of 4 boxes",
        ),
        ("mb1-ssd", "classification_headers.0.bias", (84,), r"headers.0.weight has the shape \(126, 512, 3, 3\)"),
        ("mb1-ssd-lite", "regression_headers.5.bias", (16,), r"headers.5.bias has the shape \(16,\): expected 24"),
        ("mb2-ssd-lite", "base_net.19.conv.0.weight", (4,), "unexpected tensor 'base_net.19.conv.0.weight'"),
        ("vgg16-ssd", "base_net.35.weight", (4,), "unexpected tensor 'base_net.35.weight'"),
    ],
)
def test_other_layouts_are_refused(kind, name, shape, message):
    changed = {key: value for key, value in {**shapes(kind), name: shape}.items() if value is not None}
    file = foreign_of(hollow(changed))
    with pytest.raises(ValueError, match=message) as caught:
        convert(file, choose(file, f"pytorch-ssd/{kind}"))
    assert str(file.container.path) in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_tensors_are_not_copied(kind):
    file = foreign(kind)
    found = convert(file, choose(file, f"pytorch-ssd/{kind.removesuffix('-l2')}"))
    assert {id(tensor) for tensor in found.state.values()} == {id(tensor) for tensor in file.state.values()}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "vgg16-ssd-l2"])
def test_and_back(kind):
    theirs = pytorch_ssd.export(imported(kind).state)
    assert {name: tuple(tensor.shape) for name, tensor in theirs.items()} == shapes(kind)


@pytest.mark.parametrize("names", [["backbone.norms.22.weight"], ["backbone.trunk.0.0.weight", "neck.0.weight"]])
def test_no_way_back_for_what_its_code_has_not(names):
    with pytest.raises(ValueError, match='conv4_3_norm="batch"'):
        pytorch_ssd.export(hollow(dict.fromkeys(names, (2,))))


def test_no_way_back_for_the_old_norm():
    with pytest.raises(ValueError, match="its detectors are"):
        pytorch_ssd.export(imported("vgg16-ssd-l2").state)
