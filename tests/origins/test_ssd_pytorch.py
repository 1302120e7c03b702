"""amdegroot/ssd.pytorch: where a naive import gives other boxes and no error, and what its files are."""

import hashlib
from copy import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from goldens import Golden, made_batch
from steps import Steps, foreign_of, hollow
from torch.func import functional_call

from detzoo.categories import COCO, VOC
from detzoo.components import DefaultBoxGenerator, Postprocess, Preprocess
from detzoo.importers import Foreign, Imported, choose, convert, readings_of, ssd_pytorch
from detzoo.importers.names import rename
from detzoo.importers.numbers import RATIOS_300, SIZES_300_COCO, SIZES_300_VOC, STEPS_300
from detzoo.importers.readers import Container

SHAPES = {name: tuple(shape) for name, (shape, _) in Golden.read("ssd_pytorch-voc").layout.items()}
FIRST = "vgg.0.weight"
BEYOND = 19 * 6  # boxes of the last row and column of the third level, whose centres lie beyond the image


@pytest.fixture(scope="module")
def steps() -> Steps:
    return Steps("ssd_pytorch-voc")


@pytest.fixture(scope="module")
def caffe() -> Steps:
    return Steps("ssd_pytorch-caffe")


def shapes(num_classes: int = 21) -> dict[str, tuple[int, ...]]:
    """Of the tensors of such a model."""
    return {
        name: (shape[0] // 21 * num_classes, *shape[1:]) if name.startswith("conf.") else shape
        for name, shape in SHAPES.items()
    }


def named(file: str | Path, num_classes: int = 21) -> Foreign:
    return Foreign.of(Container("torch", hollow(shapes(num_classes)), {"content": {}}, Path(file)))


def imported(num_classes: int, origin: str | None = None) -> Imported:
    file = named("mine.pth", num_classes)
    return convert(file, choose(file, origin))


def sized(sizes: list[float], clip: str) -> DefaultBoxGenerator:
    pairs = sizes[:-1], sizes[1:]
    return DefaultBoxGenerator.from_sizes(*pairs, RATIOS_300, image_size=(300, 300), steps=STEPS_300, clip=clip)


def test_centres_end_at_the_image(steps):
    naive = steps.default_boxes_apart(sized(SIZES_300_VOC, "sizes"))  # as torchvision does
    assert (naive > 1e-6).sum() == BEYOND and naive.max() == pytest.approx(9.5 * 32 / 300 - 1, abs=1e-6)
    assert steps.default_boxes_apart(steps.model.default_boxes).max() < 1e-6


def test_of_the_file_from_caffe_nothing_ends_at_the_image(caffe):
    naive = caffe.default_boxes_apart(sized(SIZES_300_VOC, "centres_and_sizes"))
    assert (naive > 1e-6).sum() > BEYOND and naive.max() > 0.1
    assert caffe.default_boxes_apart(caffe.model.default_boxes).max() < 1e-6


def test_sizes_of_coco_are_not_those_of_voc(steps):
    naive = steps.default_boxes_apart(sized(SIZES_300_COCO, "centres_and_sizes"))
    assert (naive > 0.01).sum() > 8000 and naive.max() > 0.05


def test_sizes_of_voc_are_not_those_of_coco():
    theirs = Golden.read("ssd_pytorch-coco").default_boxes
    coco, voc = (centred(sized(sizes, "centres_and_sizes")) for sizes in (SIZES_300_COCO, SIZES_300_VOC))
    assert np.abs(coco - theirs).max() < 1e-6 and np.abs(voc - theirs).max() > 0.05


def centred(generator: DefaultBoxGenerator) -> np.ndarray:
    """Default boxes [A, 4] as centre and size, fractions of an image of 300 pixels."""
    boxes = generator([(side, side) for side in (38, 19, 10, 5, 3, 1)], (300, 300)) / 300
    return torch.cat([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], dim=1).numpy()


@torch.no_grad()
def raw_apart_with(steps: Steps, first: torch.Tensor) -> float:
    """How far the outputs are from the original's with these weights of the first convolution."""
    naive, batch = copy(steps), made_batch(300, 300, steps.golden.scale)
    naive.maps = functional_call(steps.model.backbone, {"trunk.0.weight": first}, batch)
    return naive.raw_apart(steps.model.head)


def test_blue_comes_first_in_the_file_from_caffe(caffe):
    assert caffe.raw_apart(caffe.model.head) < 1e-5
    assert raw_apart_with(caffe, caffe.foreign.state[FIRST]) > 0.01


def test_red_comes_first_in_the_others(steps):
    assert steps.raw_apart(steps.model.head) < 1e-5
    assert raw_apart_with(steps, steps.foreign.state[FIRST].flip(1)) > 0.01


@pytest.mark.parametrize("naive", ["bilinear", "bilinear_antialias", "pillow"])
def test_pictures_are_shrunk_as_opencv_does(steps, naive):
    assert steps.as_the_original(steps.predictions, steps.model.postprocess)
    options = {name: value for name, value in steps.config.preprocess.items() if name != "name"}
    predictions = steps.predictions_after(Preprocess((300, 300), **{**options, "resize": naive}))
    assert not steps.as_the_original(predictions, steps.model.postprocess)


@pytest.mark.parametrize("naive", [{"detections_per_image": 200}, {"top_k": 400}, {"clip": True}], ids=str)
def test_suppression(steps, naive):
    """Its last step, 200 boxes an image, has no effect in the original."""
    options = {name: value for name, value in steps.config.postprocess.items() if name != "name"}
    assert not steps.as_the_original(steps.predictions, Postprocess(**{**options, **naive}))


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("ssd300_mAP_77.43_v2.pth", "voc"),
        ("SSD300_map_77.43_v2 (1).pth", "voc"),
        ("ssd_300_VOC0712.pth", "caffe"),
        ("ssd_300_voc0712 (1).pth", "caffe"),
    ],
)
def test_published_files_are_known_by_name(file, name):
    assert choose(named(file)).name == f"ssd.pytorch/{name}"


def test_a_published_file_of_another_name_is_known_by_its_hash(tmp_path, monkeypatch):
    path = tmp_path / "renamed.pth"
    path.write_bytes(b"stands for the published file")
    assert [reading.hinted for reading in readings_of(named(path))] == [False, False]
    monkeypatch.setattr(ssd_pytorch, "V2_SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    assert choose(named(path)).name == "ssd.pytorch/voc"


@pytest.mark.parametrize(("file", "origin"), [("mine.pth", "ssd.pytorch/voc"), ("mine.pth", "ssd.pytorch/caffe")])
def test_a_file_is_not_read_for_its_hash_where_the_origin_is_said(file, origin, monkeypatch):
    monkeypatch.setattr(Foreign, "sha256", property(lambda self: pytest.fail("the file is read a second time")))
    assert choose(named(file), origin).name == origin


@pytest.mark.parametrize("file", ["mine.pth", "weights/VOC.pth", "ssd300_COCO_115000.pth", "my_ssd_300_VOC0712.pth"])
def test_21_classes_of_another_name_are_asked_about(file):
    """Training writes VOC's weights as ssd300_COCO_<iteration>.pth, too."""
    with pytest.raises(ValueError, match="several things") as caught:
        choose(named(file))
    for name, words in (("voc", "VOC's default boxes"), ("caffe", "blue first, default boxes not clipped")):
        assert f"origin='ssd.pytorch/{name}'" in str(caught.value) and words in str(caught.value)
        assert choose(named(file), f"ssd.pytorch/{name}").name == f"ssd.pytorch/{name}"


def test_the_user_may_contradict_the_name():
    assert choose(named("ssd_300_VOC0712.pth"), "ssd.pytorch/voc").name == "ssd.pytorch/voc"


@pytest.mark.parametrize(("num_classes", "categories"), [(81, COCO), (201, None)])
def test_as_many_classes_as_coco_has(num_classes, categories):
    """201 is the number in its config."""
    (reading,) = readings_of(named("mine.pth", num_classes))
    assert reading.name == "ssd.pytorch/coco"
    found = imported(num_classes)
    assert found.config["num_classes"] == num_classes and found.categories is categories
    assert found.config["default_boxes"]["min_sizes"] == SIZES_300_COCO[:-1]


@pytest.mark.parametrize("num_classes", [2, 20, 22, 91])
def test_default_boxes_of_other_classes_are_asked_about(num_classes):
    with pytest.raises(ValueError, match="'ssd.pytorch/voc'.*\n.*'ssd.pytorch/coco'") as caught:
        imported(num_classes)
    assert "caffe" not in str(caught.value)
    for name, sizes in (("voc", SIZES_300_VOC), ("coco", SIZES_300_COCO)):
        found = imported(num_classes, f"ssd.pytorch/{name}")
        assert found.config["num_classes"] == num_classes
        assert found.config["default_boxes"]["min_sizes"] == sizes[:-1]


@pytest.mark.parametrize("name", ["voc", "caffe"])
def test_what_is_assumed(name):
    found = imported(21, f"ssd.pytorch/{name}")
    assert found.categories is VOC and found.assumed[0] == "the 20 classes are VOC's"
    assert bool(found.changes) == (name == "caffe") == any("blue" in line for line in found.assumed)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("conf.3.bias", None, "there is no tensor 'conf.3.bias'"),
        ("conf.0.weight", None, "there is no tensor 'conf.0.weight'"),
        ("loc.5.weight", None, "there is no tensor 'loc.5.weight'"),
        ("conf.0.bias", (85,), "conf.0.bias: the shape .85,. cannot be that of 4 boxes"),
        ("conf.4.bias", (126,), r"conf.4.bias has the shape \(126,\): expected 84 channels"),
        ("loc.1.weight", (16, 1024, 3, 3), r"loc.1.weight has the shape \(16, 1024, 3, 3\): expected 24 channels"),
        ("conf.6.bias", (84,), "unexpected tensor 'conf.6.bias'"),
        ("extras.8.weight", (128, 256, 1, 1), "unexpected tensor 'extras.8.weight'"),
        ("vgg.30.weight", (1024, 512, 3, 3), "unexpected tensor 'vgg.30.weight'"),
    ],
)
def test_other_architectures_are_refused(name, shape, message):
    changed = {key: value for key, value in {**shapes(), name: shape}.items() if value is not None}
    file = foreign_of(hollow(changed))
    with pytest.raises(ValueError, match=message) as caught:
        convert(file, choose(file, "ssd.pytorch/voc"))
    assert str(file.container.path) in str(caught.value)


def test_an_odd_number_of_boxes_is_said_with_the_files_name():
    file = named("ssd300_mAP_77.43_v2.pth")
    file.state["conf.0.bias"] = torch.zeros(85)
    with pytest.raises(ValueError, match="v2.pth, read as ssd.pytorch/voc: conf.0.bias: the shape .85,. cannot"):
        convert(file, choose(file))


def test_the_trunk_that_training_begins_with_is_no_detector():
    """vgg16_reducedfc.pth: the layers of `vgg` without that word."""
    trunk = {name.removeprefix("vgg."): shape for name, shape in SHAPES.items() if name.startswith("vgg.")}
    assert "0.weight" in trunk and "33.bias" in trunk
    file = Foreign.of(Container("torch", hollow(trunk), {"content": {}}, Path("vgg16_reducedfc.pth")))
    assert readings_of(file) == []
    with pytest.raises(ValueError, match="fit no detector of"):
        choose(file)


@pytest.mark.parametrize("name", ["voc", "coco"])
def test_tensors_are_not_copied(name):
    file = named("mine.pth", 5)
    found = convert(file, choose(file, f"ssd.pytorch/{name}"))
    assert {id(tensor) for tensor in found.state.values()} == {id(tensor) for tensor in file.state.values()}


def test_of_the_file_from_caffe_only_the_first_convolution_is_copied():
    file = named("ssd_300_VOC0712.pth")
    found = convert(file, choose(file))
    ours, theirs = ({tensor.data_ptr() for tensor in state.values()} for state in (found.state, file.state))
    assert len(found.state) == len(file.state) and ours & theirs == theirs - {file.state[FIRST].data_ptr()}
    assert found.changes == ("backbone.trunk.0.weight: blue first to red first",)


def same(state: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return state.keys() == other.keys() and all(torch.equal(state[name], other[name]) for name in state)


@pytest.mark.parametrize("name", ["voc", "coco"])
def test_and_back(name):
    file = Golden.read(f"ssd_pytorch-{name}").foreign()
    assert same(ssd_pytorch.export(convert(file, choose(file)).state), file.state)


def test_what_came_from_caffe_goes_back_with_red_first(caffe):
    """As its code has its images; that the file of its name has blue first nobody could see."""
    back = ssd_pytorch.export(caffe.imported.state)
    assert torch.equal(back[FIRST], caffe.foreign.state[FIRST].flip(1))
    assert not torch.equal(back[FIRST], caffe.foreign.state[FIRST])
    assert same({**back, FIRST: caffe.foreign.state[FIRST]}, caffe.foreign.state)
    assert same(rename(back, ssd_pytorch.RULES), dict(caffe.imported.state)), "and is read again as ssd.pytorch/voc"


def test_no_way_back_for_what_its_code_has_not():
    with pytest.raises(ValueError, match="no place for the tensor 'backbone.norms.22.running_mean'"):
        ssd_pytorch.export(hollow({"backbone.trunk.0.weight": (4,), "backbone.norms.22.running_mean": (4,)}))
