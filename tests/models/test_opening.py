"""`detzoo.load` opens whatever is a detector, and makes one for other classes of it."""

import logging
from dataclasses import replace

import pytest
import torch

import detzoo
from detzoo.categories import VOC, Categories
from detzoo.hub import DownloadError
from detzoo.models import build_ssd
from detzoo.models.checkpoint import model_record, save_checkpoint
from detzoo.models.classes import class_tensors, for_classes
from detzoo.models.opening import open_detector


@pytest.fixture
def trained(tmp_path, small_config):
    """A checkpoint whose class head tells VOC's classes apart by its biases."""
    torch.manual_seed(0)
    config = replace(small_config, num_classes=None)
    model = build_ssd(config, categories=VOC)
    save_checkpoint(tmp_path / "best.pt", model_record(model, config))
    return tmp_path, model, config


def test_classes_that_both_know_keep_their_rows(trained):
    folder, model, config = trained
    changed = detzoo.load(folder, classes=["dog", "unicorn", "airplane"])
    assert changed.categories.names == ("dog", "unicorn", "airplane") and changed.head.num_classes == 4
    old, new = model.state_dict(), changed.state_dict()
    heads = class_tensors(config)
    assert heads and all(torch.equal(old[key], new[key]) for key in old if key not in heads)
    for key in heads:
        boxes = model.default_boxes.boxes_per_cell[int(key.split(".")[2])]
        theirs, ours = old[key].unflatten(0, (boxes, 21)), new[key].unflatten(0, (boxes, 4))
        for here, there in ((0, 0), (1, 12), (3, 1)):  # background, dog, VOC's aeroplane
            assert torch.equal(ours[:, here], theirs[:, there])
        if key.endswith("weight"):
            assert not (theirs == ours[:, 2:3]).flatten(2).all(-1).any(), "the unicorn's rows are somebody else's"


def test_the_same_classes_give_the_same_detector(trained):
    folder, model, _ = trained
    again = detzoo.load(folder, classes=VOC.names)
    assert all(torch.equal(a, b) for a, b in zip(again.state_dict().values(), model.state_dict().values(), strict=True))


def test_what_starts_from_scratch_is_logged(trained, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("detzoo"), "propagate", True)
    with caplog.at_level(logging.WARNING, logger="detzoo"):
        detzoo.load(trained[0], classes=["dog", "unicorn"])
    assert "classes kept: 1 of 2; from scratch: ['unicorn']" in caplog.text


def test_a_name_in_other_letters_is_pointed_at(trained, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("detzoo"), "propagate", True)
    with caplog.at_level(logging.WARNING, logger="detzoo"):
        detzoo.load(trained[0], classes=["Dog", "unicorn"])
    assert "from scratch: ['Dog', 'unicorn']; 'Dog' is 'dog' there" in caplog.text


def test_so_many_classes_without_names(trained):
    folder, model, config = trained
    changed = detzoo.load(folder, num_classes=4)
    assert changed.categories is None and changed.head.num_classes == 4 and not changed.training
    old, new = model.state_dict(), changed.state_dict()
    heads = class_tensors(config)
    assert all(torch.equal(old[key], new[key]) for key in old if key not in heads)
    for key in heads:
        boxes = model.default_boxes.boxes_per_cell[int(key.split(".")[2])]
        theirs, ours = old[key].unflatten(0, (boxes, 21)), new[key].unflatten(0, (boxes, 4))
        assert torch.equal(ours[:, 0], theirs[:, 0]) and (
            key.endswith("bias") or not torch.equal(ours[:, 1], theirs[:, 1])
        )


@pytest.mark.parametrize(
    ("options", "told"), [({"num_classes": 1}, "at least 2"), ({"num_classes": 3, "classes": ["a"]}, "follows from")]
)
def test_numbers_of_classes_that_are_none(trained, options, told):
    with pytest.raises(ValueError, match=f"^num_classes = {options['num_classes']}: .*{told}"):
        detzoo.load(trained[0], **options)


def test_of_labels_without_names_only_the_background_is_kept(small_config):
    config = replace(small_config, num_classes=3)
    model = build_ssd(config)
    changed = for_classes(model, config, Categories(("a", "b")))
    key = class_tensors(config)[0]
    boxes = model.default_boxes.boxes_per_cell[0]
    theirs, ours = (each.state_dict()[key].unflatten(0, (boxes, 3)) for each in (model, changed))
    assert torch.equal(ours[:, 0], theirs[:, 0]) and not torch.equal(ours[:, 1:], theirs[:, 1:])
    assert changed.categories.names == ("a", "b")


@pytest.mark.parametrize("classes", ["person", [], 5, [1, 2], [""], ["background", "dog"]], ids=str)
def test_classes_that_are_none(trained, classes):
    with pytest.raises(ValueError, match="^classes"):
        detzoo.load(trained[0], classes=classes)


@pytest.mark.parametrize("path", ["nothing.pth", "no/such/thing", "s3://bucket/a.pth"])
def test_a_path_without_a_file_is_said_to_be_one(path):
    with pytest.raises(FileNotFoundError, match=f"no file at {path}"):
        detzoo.load(path)


def test_config_of_what_was_opened_builds_it(trained):
    opened = open_detector(trained[0])
    assert build_ssd(opened.config).state_dict().keys() == opened.model.state_dict().keys()


def test_origin_is_for_files_of_others(trained):
    with pytest.raises(ValueError, match="is a checkpoint of detzoo: leave origin='torchvision' out"):
        detzoo.load(trained[0] / "best.pt", origin="torchvision")
    with pytest.raises(FileNotFoundError, match="no file at ssd300_vgg16, and origin='torchvision' is for one"):
        detzoo.load("ssd300_vgg16", origin="torchvision")


def test_unknown_names():
    with pytest.raises(ValueError, match="no model 'ssd300_vgg': .*did you mean 'ssd300_vgg16'"):
        detzoo.load("ssd300_vgg")
    with pytest.raises(ValueError, match="unknown weights 'SSD300_VGG16_Weights.COCO'"):
        detzoo.load("SSD300_VGG16_Weights.COCO")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("VOC0712_SSD_PYTORC", "'SSD300_VGG16_Weights.VOC0712_SSD_PYTORCH'"),
        ("voc0712_sgrvinod", "'SSD300_VGG16_Weights.VOC0712_SGRVINOD'"),
        ("COCO_V1", "'SSD300_VGG16_Weights.COCO_V1' or 'SSDLite320_MobileNet_V3_Large_Weights.COCO_V1'"),
        ("SSD300_VGG16", "'ssd300_vgg16'"),
    ],
)
def test_the_nearest_name_is_that_of_a_model_or_of_weights(name, meant):
    with pytest.raises(ValueError, match=f"no model '{name}': .*did you mean {meant}\\?$"):
        detzoo.load(name)


def test_a_name_that_is_like_no_other_gets_the_models():
    with pytest.raises(ValueError, match="no name: expected one of: .*ssd300_vgg16, .*tiny_ssd$"):
        detzoo.load("xyzzy")


@pytest.mark.parametrize(
    "source", ["ssd300_vgg16", "SSD300_VGG16_Weights.VOC0712_SGRVINOD", "http://127.0.0.1:9/a.pth"]
)
def test_who_cannot_fetch_is_told_to_give_a_path_in_place_of_the_name(source, tmp_path, monkeypatch):
    """No option of other commands."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    monkeypatch.setattr("detzoo.hub._open", lambda *args: (_ for _ in ()).throw(OSError("no network")))
    with pytest.raises(
        DownloadError, match=r"by hand, or give the path of a file of your own in (its )?place"
    ) as caught:
        detzoo.load(source)
    assert "PATH" not in str(caught.value)


def test_the_class_head_is_measured_once(trained, monkeypatch):
    built = []
    monkeypatch.setattr(
        "detzoo.models.classes.build_ssd", lambda *args, **named: built.append(1) or build_ssd(*args, **named)
    )
    detzoo.load(trained[0], classes=["dog"])
    assert len(built) == 3, "the new one, and two to see which tensors go by the number of classes"
