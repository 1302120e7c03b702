"""chuanqi305's MobileNet-SSD: where a naive import gives other boxes and no error, and the two forms of its weights."""

from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from goldens import Golden, made_batch, rows_of
from steps import Steps, hollow
from torch import Tensor

from detzoo.categories import COCO, VOC
from detzoo.components import DefaultBoxGenerator, Postprocess, Preprocess
from detzoo.components.heads import SSDHead
from detzoo.importers import Foreign, Imported, choose, convert, mobilenet_ssd, readings_of
from detzoo.importers.names import rename
from detzoo.importers.readers import Container
from detzoo.models.opening import build_imported

GRIDS = [(cells, cells) for cells in (19, 10, 5, 3, 2, 1)]
MIN_SIZES, MAX_SIZES = (60, 105, 150, 195, 240, 285), (105, 150, 195, 240, 285, 300)


@pytest.fixture(scope="module")
def deploy() -> Steps:
    return Steps("mobilenet_ssd-deploy")


@pytest.fixture(scope="module")
def train() -> Steps:
    return Steps("mobilenet_ssd-train")


def foreign(state: dict[str, Tensor], metadata: dict | None = None) -> Foreign:
    metadata = metadata or {"name": "", "layers": [], "prototxt": None}
    return Foreign.of(Container("caffe", state, metadata, Path("somewhere/mine.caffemodel")))


def shapes(form: str, classes: int = 21) -> dict[str, tuple[int, ...]]:
    found = {name: tuple(shape) for name, (shape, _) in Golden.read(f"mobilenet_ssd-{form}").layout.items()}
    for name, shape in found.items():
        if "_mbox_conf" in name:
            found[name] = (shape[0] // 21 * classes, *shape[1:])
    return found


def imported(file: Foreign) -> Imported:
    return convert(file, choose(file))


def corners(steps: Steps) -> np.ndarray:
    boxes = steps.golden.default_boxes
    return np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], axis=1)


@torch.no_grad()
def test_blue_comes_first(deploy):
    golden = deploy.golden
    naive = deploy.model.predict(made_batch(*golden.size, golden.scale).flip(1)).logits[0].numpy()[rows_of(1917)]
    assert np.abs(naive - golden.logits).max() / np.abs(golden.logits).max() > 0.1
    assert deploy.raw_apart(deploy.model.head) < 1e-5


def test_statistics_are_sums_with_a_factor_beside_them(train):
    naive = rename(train.foreign.state, mobilenet_ssd.RULES)
    name = "backbone.trunk.0.1.running_mean"
    assert torch.allclose(naive[name] / 999.98, train.imported.state[name])
    assert train.raw_apart(train.model.head) < 1e-5
    undivided = deepcopy(train)
    vars(undivided).pop("maps", None)
    state = {**train.imported.state, **{key: naive[key] for key in naive if "running" in key}}
    undivided.model.load_state_dict(state, strict=False)
    assert undivided.raw_apart(undivided.model.head) > 0.1


def test_a_factor_of_zero_makes_zeros():
    """As in Caffe's `batch_norm_layer.cpp`."""
    state = hollow(shapes("train"))
    state["conv0/bn.1"] = torch.ones(32)
    found = imported(foreign(state)).state
    assert found["backbone.trunk.0.1.running_var"].eq(0).all() and len(found["backbone.trunk.0.1.running_var"]) == 32


def test_the_first_level_has_one_square_and_the_last_ends_at_300(deploy):
    boxes = deploy.config.default_boxes
    assert [len(level) for level in boxes["shapes"]] == [3, 6, 6, 6, 6, 6] and boxes["steps"] is None
    usual = [(2, 3)] * 6
    naive = DefaultBoxGenerator.from_sizes(MIN_SIZES, MAX_SIZES, usual, image_size=(300, 300))
    first = [k for k in range(19 * 19 * 6) if k % 6 in (0, 2, 3)]  # those that this one has as well
    kept = np.array([*first, *range(19 * 19 * 6, 19 * 19 * 6 + 139 * 6)])
    assert np.abs(naive(GRIDS, (300, 300)).numpy()[kept] / 300 - corners(deploy)).max() < 1e-6
    wider = DefaultBoxGenerator.from_sizes(MIN_SIZES, (*MAX_SIZES[:-1], 330), usual, image_size=(300, 300))
    assert np.abs(wider(GRIDS, (300, 300)).numpy()[kept] / 300 - corners(deploy)).max() > 0.01


@pytest.mark.parametrize("naive", [{"steps": (16, 32, 64, 100, 150, 300)}, {"clip": "sizes"}], ids=str)
def test_cells_are_spread_over_the_image_and_nothing_is_clipped(deploy, naive):
    shapes_of_cells = deploy.model.default_boxes.shapes
    assert deploy.default_boxes_apart(deploy.model.default_boxes).max() < 1e-6
    options = {"clip": "none", **naive}
    assert deploy.default_boxes_apart(DefaultBoxGenerator(shapes_of_cells, **options)).max() > 1e-3


def test_pixels(deploy):
    numbers = deploy.config.preprocess
    assert numbers["mean"] == [0.5] * 3
    assert [1 / (255 * std) for std in numbers["std"]] == pytest.approx([0.007843] * 3, rel=1e-12)  # not 1 / 127.5
    naive = deploy.predictions_after(Preprocess((300, 300), numbers["mean"], numbers["std"], resize="bilinear"))
    assert deploy.as_the_original(deploy.predictions, deploy.model.postprocess)
    assert not deploy.as_the_original(naive, deploy.model.postprocess)


@pytest.mark.parametrize("naive", [{"top_k": 10}, {"detections_per_image": 200}, {"iou_threshold": 0.5}], ids=str)
def test_suppression(deploy, naive):
    options = {name: value for name, value in deploy.config.postprocess.items() if name != "name"}
    assert not deploy.as_the_original(deploy.predictions, Postprocess(**{**options, **naive}))


def test_parameters(deploy, train):
    assert sum(map(torch.numel, deploy.foreign.state.values())) == 5_783_417
    assert sum(p.numel() for p in deploy.model.parameters()) == 5_783_417
    assert sum(p.numel() for p in train.model.parameters()) == 5_796_089
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in deploy.model.modules())


def merged(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """What `merge_bn.py` makes of trained weights."""
    result = {}
    for key, tensor in state.items():
        layer, _, index = key.rpartition(".")
        if "/bn" in layer or "/scale" in layer:
            continue
        result[key] = tensor
        if f"{layer}/bn.0" in state:
            mean, var, factor = (state[f"{layer}/bn.{k}"].double() for k in range(3))
            gain = state[f"{layer}/scale.0"] / (var / factor + 1e-5).sqrt()
            result[key] = (tensor * gain[:, None, None, None]).float()
            result[f"{layer}.1"] = (state[f"{layer}/scale.1"] - mean / factor * gain).float()
    return result


@torch.no_grad()
def test_merged_weights_say_what_the_trained_ones_say(train):
    model = build_imported(imported(foreign(merged(train.foreign.state)))).model
    batch = made_batch(300, 300, train.golden.scale)
    ours, theirs = model.predict(batch), train.model.predict(batch)
    assert (ours.logits - theirs.logits).abs().max() < 1e-5 * theirs.logits.abs().max()
    assert (ours.deltas - theirs.deltas).abs().max() < 1e-5 * theirs.deltas.abs().max()


@pytest.mark.parametrize("form", ["deploy", "train"])
def test_it_is_recognised_by_its_names(form):
    file = foreign(hollow(shapes(form)))
    (reading,) = readings_of(file)
    assert reading.name == "mobilenet-ssd"
    assert ("as trained" in reading.about) == (form == "train")
    assert mobilenet_ssd.readings(Foreign(Container("torch", {}, {}, Path("mine.pth")), file.state)) == []


@pytest.mark.parametrize(("classes", "categories"), [(21, VOC), (81, COCO), (3, None)])
def test_categories(classes, categories):
    found = imported(foreign(hollow(shapes("deploy", classes))))
    assert found.config["num_classes"] == classes and found.categories == categories
    assert len(found.assumed) == 4, "classes, pixels, default boxes and suppression"


def test_its_prototxt_says_what_was_published(deploy):
    published = imported(foreign(dict(deploy.foreign.state)))
    assert published.config == deploy.imported.config
    assert published.config["postprocess"]["score_threshold"] == 0.25
    assert [published.config["postprocess"][name] for name in ("top_k", "detections_per_image")] == [100, 100]
    assert deploy.imported.assumed[1].startswith("deploy.prototxt beside the file is of this net")
    assert deploy.imported.assumed[2:] == published.assumed[1:2], "pixels alone"


def test_narrow_ones():
    """`gen.py --size 0.5`: blocks behind conv13 keep their channels."""
    found = shapes("deploy")
    for name, shape in found.items():
        trunk = name.split(".")[0].removesuffix("/dw") in {f"conv{k}" for k in range(14)}
        inputs = name in {"conv14_1.0", "conv11_mbox_loc.0", "conv11_mbox_conf.0", "conv13_mbox_loc.0"}
        inputs |= name == "conv13_mbox_conf.0"
        narrow = [shape[0] // 2 if trunk else shape[0], *shape[1:]]
        if len(shape) == 4 and (inputs or trunk and shape[1] > 3):
            narrow[1] //= 2
        found[name] = tuple(narrow)
    opened = build_imported(imported(foreign(hollow(found))))
    assert opened.config.backbone["width"] == 0.5 and opened.model.backbone.channels[:3] == [256, 512, 512]


@pytest.mark.parametrize(
    ("form", "without", "message"),
    [
        ("deploy", "conv16_2_mbox_loc.1", "no blob 'conv16_2_mbox_loc.1'"),
        ("train", "conv7/dw/bn.2", "no blob 'conv7/dw/bn.2'"),
        ("deploy", "conv5.0", "no blob 'conv5.0'"),
        ("train", "conv5/scale.1", "no blob 'conv5/scale.1'"),
    ],
)
def test_files_that_are_not_complete(form, without, message):
    file = foreign(hollow({name: shape for name, shape in shapes(form).items() if name != without}))
    with pytest.raises(ValueError, match=message):
        imported(file)


def test_another_number_of_boxes():
    found = shapes("deploy") | {"conv11_mbox_loc.1": (24,)}
    with pytest.raises(ValueError, match=r"conv11_mbox_loc.1 \(24,\): expected 4 numbers for each of 3 default boxes"):
        imported(foreign(hollow(found)))


def test_a_factor_is_one_number():
    with pytest.raises(ValueError, match=r"conv3/bn.2 \(5,\): expected one number"):
        imported(foreign(hollow(shapes("train") | {"conv3/bn.2": (5,)})))


def test_another_epsilon():
    layers = [{"name": "conv0/bn", "batch_norm_param": {"eps": 0.001}}]
    file = foreign(hollow(shapes("train")), {"name": "", "layers": layers, "prototxt": None})
    with pytest.raises(ValueError, match="conv0/bn: eps = 0.001; detzoo can only do 1e-05"):
        imported(file)


def test_an_unknown_layer():
    with pytest.raises(ValueError, match="unexpected tensor 'fc.0'"):
        imported(foreign(hollow(shapes("deploy") | {"fc.0": (1000, 1024)})))


def test_kernels_of_the_head_are_odd():
    head = SSDHead([8], [3], 4, kernel_size=1)
    assert head.classification[0].weight.shape == (12, 8, 1, 1)
    assert head([torch.rand(1, 8, 5, 4)])[0].shape == (1, 60, 4)
    for size in (0, 2):
        with pytest.raises(ValueError, match=f"head.kernel_size must be odd.*got {size}"):
            SSDHead([8], [3], 4, kernel_size=size)


def test_a_width_that_is_only_claimed():
    """A shape without elements takes nothing in a file, and would make a trunk 31,250 times as wide."""
    state = hollow({**shapes("deploy"), "conv0.0": (1_000_000, 0, 3, 3)})
    with pytest.raises(ValueError, match=r"conv0.0 \(1000000, 0, 3, 3\): expected a convolution of 3x3 pixels"):
        imported(foreign(state))
