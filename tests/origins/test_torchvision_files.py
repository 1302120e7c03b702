"""Weights of torchvision's detectors, whole and not: what is wrong is said in torchvision's words."""

import pytest
import torch
import torchvision.models.detection as theirs
from steps import foreign_of, hollow

from detzoo.importers import Imported, choose, convert

CLASSES, BOXES = "head.classification_head.module_list", "head.regression_head.module_list"
TAIL = "backbone.features.1.3.0.weight"


def shapes_of(name: str) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        model = getattr(theirs, name)(weights=None, weights_backbone=None, num_classes=4)
    return {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}


SHAPES = {name: shapes_of(name) for name in ("ssd300_vgg16", "ssdlite320_mobilenet_v3_large")}


def imported(name: str, **changed: tuple[int, ...] | None) -> Imported:
    """A file of these shapes, with others (`__` for a dot in a name), None for no tensor of that name."""
    shapes = SHAPES[name] | {key.replace("__", "."): shape for key, shape in changed.items()}
    tensors = hollow({key: shape for key, shape in shapes.items() if shape is not None})
    foreign = foreign_of(tensors)
    return convert(foreign, choose(foreign))


def under(name: str) -> str:
    return name.replace(".", "__")


@pytest.mark.parametrize("name", SHAPES)
def test_a_whole_one(name):
    found = imported(name)
    assert found.model == name and found.config["num_classes"] == 4 and len(found.state) == len(SHAPES[name])


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("ssd300_vgg16", f"{CLASSES}.0.bias"),
        ("ssd300_vgg16", f"{CLASSES}.5.weight"),
        ("ssd300_vgg16", f"{BOXES}.2.bias"),
        ("ssdlite320_mobilenet_v3_large", f"{CLASSES}.0.1.bias"),
        ("ssdlite320_mobilenet_v3_large", f"{BOXES}.5.1.weight"),
    ],
)
def test_a_tensor_that_is_not_there(name, missing):
    with pytest.raises(
        ValueError, match=f"^somewhere/mine.pth, read as torchvision/{name}: there is no tensor '{missing}'"
    ):
        imported(name, **{under(missing): None})


@pytest.mark.parametrize(
    ("name", "key", "shape", "message"),
    [
        ("ssd300_vgg16", f"{CLASSES}.0.bias", (18,), "the shape .18,. cannot be that of 4 boxes"),
        ("ssd300_vgg16", f"{CLASSES}.1.bias", (16,), "expected 24 channels, of 6 boxes of a cell and 4 classes"),
        ("ssd300_vgg16", f"{BOXES}.4.weight", (24, 256, 3, 3), "expected 16 channels, of 4 boxes of a cell and 4 coor"),
        ("ssdlite320_mobilenet_v3_large", f"{BOXES}.0.1.bias", (16,), "expected 24 channels, of 6 boxes of a cell"),
    ],
)
def test_other_numbers_of_boxes(name, key, shape, message):
    """As who built a detector with other default boxes has, whose shapes nothing in the file says."""
    with pytest.raises(ValueError, match=f"{key}.*{message}"):
        imported(name, **{under(key): shape})


def test_a_tail_without_a_shape():
    """The number of its channels says whether it was halved, and its shape is checked where it is loaded."""
    name = "ssdlite320_mobilenet_v3_large"
    assert [imported(name, **{under(TAIL): shape}).config["backbone"]["reduced_tail"] for shape in ((), (480,))] == [
        False,
        True,
    ]
