"""TinySSD of Dive into Deep Learning: where a naive import gives other boxes and no error, and what its files are."""

import pytest
import torch
from goldens import Golden
from steps import Steps, foreign_of, hollow

from detzoo.components import DefaultBoxGenerator, Postprocess, Preprocess
from detzoo.importers import choose, convert, d2l, readings_of

SQUARES = (0.2, 0.37, 0.54, 0.71, 0.88)


@pytest.fixture(scope="module")
def steps() -> Steps:
    return Steps("d2l-four")


def shapes(name: str = "d2l-banana") -> dict[str, tuple[int, ...]]:
    return {key: tuple(shape) for key, (shape, _) in Golden.read(name).layout.items()}


def test_the_larger_squares_are_rounded(steps):
    scales = DefaultBoxGenerator.from_scales([*SQUARES, 1.05], [[2]] * 5, clip="none")
    naive = steps.default_boxes_apart(scales)
    assert (naive > 1e-6).sum() == 32**2 + 16**2 + 8**2 + 4**2 + 1  # one box of each cell
    assert 4e-4 < naive.max() < 5e-4
    assert steps.default_boxes_apart(steps.model.default_boxes).max() < 1e-6


@pytest.mark.parametrize("clip", ["sizes", "centres_and_sizes"])
def test_boxes_reach_beyond_the_image(steps, clip):
    naive = DefaultBoxGenerator(steps.model.default_boxes.shapes, clip=clip)
    assert steps.default_boxes_apart(naive).max() > 0.2


@pytest.mark.parametrize("naive", [{"resize": "bilinear"}, {"std": (1.0, 1.0, 1.0)}], ids=["resize", "scale"])
def test_pixels(steps, naive):
    """Bytes as they are."""
    options = {name: value for name, value in steps.config.preprocess.items() if name != "name"}
    predictions = steps.predictions_after(Preprocess((256, 256), **{**options, **naive}))
    assert not steps.as_the_original(predictions, steps.model.postprocess)
    assert steps.as_the_original(steps.predictions, steps.model.postprocess)


@pytest.mark.parametrize(
    "naive",
    [
        {"class_agnostic": False},
        {"class_agnostic": False, "best_class_only": False},
        {"top_k": 400},
        {"clip": True},
        {"detections_per_image": 100},
    ],
    ids=str,
)
def test_suppression(steps, naive):
    options = {name: value for name, value in steps.config.postprocess.items() if name != "name"}
    assert not steps.as_the_original(steps.predictions, Postprocess(**{**options, **naive}))


@pytest.mark.parametrize("score", [0.0099999, 0.009999999, 0.01])
def test_a_score_of_the_threshold_stays(steps, score):
    found = steps.model.postprocess(torch.tensor([[[score, 0.0]]]), torch.tensor([[[0.0, 0.0, 9.0, 9.0]]]), (256, 256))
    assert len(found[0]["scores"]) == (score >= 0.009999999)


def test_recognised_by_its_names():
    (reading,) = readings_of(foreign_of(hollow(shapes())))
    assert reading.name == "d2l"
    assert d2l.readings(foreign_of(hollow({"blk_0.0.0.weight": (16, 3, 3, 3)}))) == []


@pytest.mark.parametrize(("name", "num_classes", "names"), [("d2l-banana", 2, ("banana",)), ("d2l-four", 5, None)])
def test_classes(name, num_classes, names):
    file = foreign_of(hollow(shapes(name)))
    found = convert(file, choose(file))
    assert found.config["num_classes"] == num_classes
    assert (found.categories and found.categories.names) == names
    assert len(found.assumed) == 2


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("cls_2.bias", None, "there is no tensor 'cls_2.bias'"),
        ("bbox_4.weight", None, "there is no tensor 'bbox_4.weight'"),
        ("cls_0.bias", (9,), "cls_0.bias: the shape .9,. cannot be that of 4 boxes"),
        ("bbox_1.bias", (24,), r"bbox_1.bias has the shape \(24,\): expected 16 channels"),
        ("blk_4.0.weight", (128,), "unexpected tensor 'blk_4.0.weight'"),
    ],
)
def test_other_layouts_are_refused(name, shape, message):
    changed = {key: value for key, value in {**shapes(), name: shape}.items() if value is not None}
    file = foreign_of(hollow(changed))
    with pytest.raises(ValueError, match=message) as caught:
        convert(file, choose(file))
    assert str(file.container.path) in str(caught.value)


def test_and_back():
    file = foreign_of(hollow(shapes()))
    theirs = d2l.export(convert(file, choose(file)).state)
    assert {name: tuple(tensor.shape) for name, tensor in theirs.items()} == shapes()
