"""balancap's SSD-Tensorflow: where a naive import gives other boxes and no error, and what its files do not say."""

from pathlib import Path

import numpy as np
import pytest
import torch
from goldens import Golden, made_batch, rows_of
from steps import Steps, hollow
from torch import Tensor

from detzoo.categories import COCO, VOC
from detzoo.components import DefaultBoxGenerator, Postprocess, Preprocess
from detzoo.importers import Foreign, Imported, choose, convert, readings_of, ssd_tensorflow
from detzoo.importers.numbers import RATIOS_512, SIZES_512_COCO, STEPS_512
from detzoo.importers.readers import Container

FT, VOC_ALONE = "VGG_VOC0712_SSD_300x300_ft_iter_120000.ckpt.index", "VGG_VOC0712_SSD_300x300_iter_120000.ckpt.index"
GRIDS_512 = [(cells, cells) for cells in (64, 32, 16, 8, 4, 2, 1)]


@pytest.fixture(scope="module")
def steps() -> Steps:
    return Steps("ssd_tensorflow-300-coco")


def shapes(size: str = "300-coco", classes: int = 21) -> dict[str, tuple[int, ...]]:
    found = {name: tuple(shape) for name, (shape, _) in Golden.read(f"ssd_tensorflow-{size}").layout.items()}
    for name, shape in found.items():
        if "conv_cls" in name:
            found[name] = (*shape[:-1], shape[-1] // 21 * classes)
    return found


def foreign(tensors: dict[str, Tensor], file: str = FT, kind: str = "tensorflow-bundle") -> Foreign:
    return Foreign.of(Container(kind, tensors, {"skipped": {}}, Path("somewhere") / file))


def imported(file: Foreign, origin: str | None = None) -> Imported:
    return convert(file, choose(file, origin))


def test_kernels_have_their_height_first(steps):
    """Squares are squares either way."""
    name = "head.classification.0.weight"
    naive = {**steps.imported.state, name: steps.imported.state[name].transpose(2, 3)}
    assert steps.raw_apart(steps.head_with(naive)) > 0.1
    assert steps.raw_apart(steps.model.head) < 1e-5


@torch.no_grad()
def test_red_comes_first(steps):
    golden = steps.golden
    naive = steps.model.predict(made_batch(*golden.size, golden.scale).flip(1)).logits[0].numpy()[rows_of(8732)]
    assert np.abs(naive - golden.logits).max() / np.abs(golden.logits).max() > 0.01


def test_the_file_trained_on_voc_alone_has_other_default_boxes(steps):
    other = imported(steps.foreign, "ssd-tensorflow/voc")
    assert other.config["default_boxes"]["min_sizes"][0] == 30
    options = {key: value for key, value in other.config["default_boxes"].items() if key != "name"}
    naive = DefaultBoxGenerator.from_sizes(**options, image_size=(300, 300))
    assert steps.default_boxes_apart(naive).min() > 1e-3, "all of them differ"
    published = Golden.read("ssd_tensorflow-300-voc").default_boxes
    assert published[0, 2:] == pytest.approx([0.1, 0.1]) and steps.golden.default_boxes[0, 2:] == pytest.approx(0.07)


@pytest.mark.parametrize(("clip", "differ"), [("none", 0), ("sizes", 2), ("centres_and_sizes", 116)])
def test_centres_beyond_the_image_stay_there(steps, clip, differ):
    """So do the two boxes of the last level that are wider or taller than it."""
    shapes_of_cells = steps.model.default_boxes.shapes
    generator = DefaultBoxGenerator(shapes_of_cells, steps=steps.config.default_boxes["steps"], clip=clip)
    assert (steps.default_boxes_apart(generator) > 1e-6).sum() == differ


def test_sizes_of_the_large_one_are_no_integers():
    """As they are in Caffe, from which its weights come."""
    golden = Golden.read("ssd_tensorflow-512")

    def apart(sizes: list[float]) -> float:
        boxes = DefaultBoxGenerator.from_sizes(
            sizes[:-1], sizes[1:], RATIOS_512, image_size=(512, 512), steps=STEPS_512, clip="none"
        )(GRIDS_512, (512, 512))
        return np.abs((boxes[:, 2:] - boxes[:, :2]).numpy() / 512 - golden.default_boxes[:, 2:]).max()

    assert apart(SIZES_512_COCO) < 1e-6 < 1e-3 < apart([float(int(size)) for size in SIZES_512_COCO])


@pytest.mark.parametrize("resize", ["bilinear", "opencv", "bilinear_antialias"])
def test_pixel_k_is_at_k(steps, resize):
    numbers = steps.config.preprocess
    naive = steps.predictions_after(Preprocess((300, 300), numbers["mean"], numbers["std"], resize=resize))
    assert not steps.as_the_original(naive, steps.model.postprocess)


def test_detections(steps):
    assert steps.as_the_original(steps.predictions, steps.model.postprocess)


@pytest.mark.parametrize(
    "naive", [{"clip": True}, {"iou_threshold": 0.5}, {"top_k": 50}, {"detections_per_image": 200}], ids=str
)
def test_suppression(steps, naive):
    options = {name: value for name, value in steps.config.postprocess.items() if name != "name"}
    assert not steps.as_the_original(steps.predictions, Postprocess(**{**options, **naive}))


def test_scores_of_exactly_a_hundredth_count(steps):
    boxes = torch.tensor([[[0.0, 0, 10, 10]]])
    score = torch.full((1, 1, 1), 0.01)
    assert len(steps.model.postprocess(score, boxes, (300, 300))[0]["labels"]) == 1
    assert len(steps.model.postprocess(score * 0.9999, boxes, (300, 300))[0]["labels"]) == 0


@pytest.mark.parametrize(
    ("file", "reading"),
    [
        (FT, "ssd-tensorflow/coco"),
        (VOC_ALONE, "ssd-tensorflow/voc"),
        ("ssd_300_vgg.ckpt.index", "ssd-tensorflow/coco"),
    ],
)
def test_published_files_are_known_by_name(file, reading):
    assert choose(foreign(hollow(shapes()), file)).name == reading


def test_which_default_boxes_a_file_was_trained_with_is_asked():
    with pytest.raises(ValueError, match="could be several things") as caught:
        choose(foreign(hollow(shapes()), "model.ckpt-90000.index"))
    assert "origin='ssd-tensorflow/coco': SSD300 with the default boxes of COCO" in str(caught.value)
    assert "origin='ssd-tensorflow/voc': SSD300 with the default boxes of VOC" in str(caught.value)


@pytest.mark.parametrize(("size", "number"), [("300-coco", 2), ("512", 1)])
def test_it_is_recognised_by_its_names(size, number):
    file = foreign(hollow(shapes(size)), "mine.ckpt.index")
    found = readings_of(file)
    assert len(found) == number and {reading.name.partition("/")[0] for reading in found} == {"ssd-tensorflow"}
    assert ssd_tensorflow.readings(foreign(file.state, "mine.pb", "tensorflow-graph")) != []
    assert ssd_tensorflow.readings(Foreign(Container("torch", {}, {}, Path("mine.pth")), file.state)) == []


def test_the_large_one_is_ssd512():
    found = imported(foreign(hollow(shapes("512")), "model.ckpt-1.index"))
    assert found.model == "ssd512_vgg16" and found.config["default_boxes"]["steps"][-1] == 512
    assert found.state["backbone.extras.5.2.weight"].shape == (256, 128, 4, 4)


@pytest.mark.parametrize(("classes", "categories"), [(21, VOC), (81, COCO), (3, None)])
def test_categories(classes, categories):
    found = imported(foreign(hollow(shapes(classes=classes))))
    assert found.config["num_classes"] == classes and found.categories == categories and len(found.assumed) == 1


def test_what_training_needs_is_left_out():
    more = {"ssd_300_vgg/conv7/weights/Momentum": (1, 1, 1024, 1024), "beta1_power": ()}
    found = imported(foreign(hollow({**shapes(), **more})))
    assert len(found.state) == 71 and "3 variables of training" in found.changes[1]


def test_kernels_are_not_copied(steps):
    theirs, ours = "ssd_300_vgg/conv7/weights", "backbone.extras.0.3.weight"
    assert steps.imported.state[ours].data_ptr() == steps.foreign.state[theirs].data_ptr()


@pytest.mark.parametrize(
    "without", ["ssd_300_vgg/block9_box/conv_cls/weights", "ssd_300_vgg/block11_box/conv_loc/biases"]
)
def test_files_that_are_not_complete(without):
    file = foreign(hollow({name: shape for name, shape in shapes().items() if name != without}))
    with pytest.raises(ValueError, match=f"no variable '{without}'"):
        imported(file)


def test_another_number_of_boxes():
    name = "ssd_300_vgg/block7_box/conv_loc/biases"
    with pytest.raises(ValueError, match=f"{name}: 16 numbers, expected 4 for each of 6 default boxes"):
        imported(foreign(hollow({**shapes(), name: (16,)})))


def test_heads_of_different_numbers_of_classes():
    name = "ssd_300_vgg/block7_box/conv_cls/biases"
    with pytest.raises(ValueError, match="the heads tell different numbers of classes apart"):
        imported(foreign(hollow({**shapes(), name: (60,)})))


def test_another_network_in_its_scope():
    with pytest.raises(ValueError, match="unexpected tensor 'ssd_300_vgg/block13/conv1x1/weights'"):
        imported(foreign(hollow({**shapes(), "ssd_300_vgg/block13/conv1x1/weights": (1, 1, 256, 128)})))
