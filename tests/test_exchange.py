"""What is read from another project can be written, read again, and given back."""

import json
from dataclasses import replace

import pytest
import torch
import torchvision.models.detection as torchvision

import detzoo
from detzoo.exchange import EXPORTS, format_report, inspect, save, save_for
from detzoo.models import MODELS, build_ssd
from detzoo.models.opening import Opened, open_detector


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """torchvision's SSDlite for three classes and background, and its file."""
    torch.manual_seed(0)
    model = torchvision.ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=4)
    path = tmp_path_factory.mktemp("theirs") / "lite.pth"
    torch.save(model.state_dict(), path)
    return model, path


def same(model: detzoo.SSD, other: detzoo.SSD) -> bool:
    mine, yours = model.state_dict(), other.state_dict()
    return mine.keys() == yours.keys() and all(torch.equal(mine[key], yours[key]) for key in mine)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_what_is_saved_comes_back_to_the_last_bit(theirs, tmp_path, suffix):
    opened = open_detector(theirs[1])
    written = save(tmp_path / f"out{suffix}", opened)
    again = open_detector(written[0])
    assert same(again.model, opened.model) and again.config.as_dict() == opened.config.as_dict()
    images = [torch.randint(0, 256, (3, 90, 120), dtype=torch.uint8)]
    for ours, other in zip(again.model.detect(images), opened.model.detect(images), strict=True):
        assert all(torch.equal(ours[key], other[key]) for key in ours)


def test_a_safetensors_file_has_its_config_beside_it_for_people(theirs, tmp_path):
    paths = save(tmp_path / "out.safetensors", open_detector(theirs[1]))
    assert [path.name for path in paths] == ["out.safetensors", "out.json"]
    words = json.loads(paths[1].read_text())
    assert words["config"]["num_classes"] == 4 and words["categories"] is None


def test_a_safetensors_file_can_be_read_by_whoever_can_read_the_others(theirs, tmp_path):
    path, beside = save(tmp_path / "out.safetensors", open_detector(theirs[1]))
    assert path.stat().st_mode == beside.stat().st_mode


def test_a_file_that_is_not_ours_is_not_overwritten(theirs, tmp_path):
    (tmp_path / "train.json").write_text('{"images": []}')
    with pytest.raises(ValueError, match="train.json is there already, and is not detzoo's"):
        save(tmp_path / "train.safetensors", open_detector(theirs[1]))
    assert [path.name for path in tmp_path.iterdir()] == ["train.json"]
    for _ in range(2):
        save(tmp_path / "mine.safetensors", open_detector(theirs[1]))


def test_other_suffixes_are_refused_before_anything_is_written(theirs, tmp_path):
    with pytest.raises(ValueError, match="out.h5: expected the name of a file that ends in one of"):
        save(tmp_path / "out.h5", open_detector(theirs[1]))
    assert list(tmp_path.iterdir()) == []


def test_back_to_torchvision(theirs, tmp_path):
    model, path = theirs
    assert save_for(tmp_path / "back.pth", open_detector(path), "torchvision") == []
    state = torch.load(tmp_path / "back.pth", weights_only=True)
    model.load_state_dict(state)  # strict
    assert all(torch.equal(state[key], tensor) for key, tensor in torch.load(path, weights_only=True).items())


def test_other_numbers_are_told_and_not_written(tmp_path):
    config = replace(MODELS["ssd300_vgg16"].config, num_classes=3)
    opened = Opened(build_ssd(config), config)
    with pytest.raises(ValueError, match="ssd.pytorch would use these weights with other numbers") as caught:
        save_for(tmp_path / "out.pth", opened, "ssd.pytorch")
    assert "default_boxes: scales(" in str(caught.value) and not list(tmp_path.iterdir())
    told = save_for(tmp_path / "out.pth", opened, "ssd.pytorch", despite_numbers=True)
    assert [line.partition(":")[0] for line in told] == [
        "default_boxes", "coder", "preprocess", "preprocess.resize"
    ]  # fmt: skip
    back = open_detector(tmp_path / "out.pth", origin="ssd.pytorch/coco")
    assert same(back.model, opened.model)


def test_antialiasing_is_told_and_no_reason_to_refuse(theirs, tmp_path):
    model, config = open_detector(theirs[1])
    trained = replace(config, preprocess={**config.preprocess, "resize": "bilinear_antialias"})
    assert save_for(tmp_path / "out.pth", Opened(model, trained), "torchvision") == [
        "preprocess.resize: bilinear_antialias here, bilinear in torchvision"
    ]


def test_logits_that_mean_something_else_are_refused(tmp_path):
    config = replace(MODELS["ssdlite320_mobilenet_v3_large"].config, num_classes=3, loss="focal")
    with pytest.raises(ValueError, match="its scores would be wrong over there"):
        save_for(tmp_path / "out.pth", Opened(build_ssd(config), config), "torchvision", despite_numbers=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("project", sorted(EXPORTS))
def test_an_architecture_that_the_other_side_lacks(project, tmp_path, small_config):
    config = replace(small_config, num_classes=3)
    with pytest.raises(ValueError, match=f"{project}.* no "):
        save_for(tmp_path / "out.pth", Opened(build_ssd(config), config), project)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_project(theirs, tmp_path):
    with pytest.raises(ValueError, match="no way to 'torchvison': did you mean 'torchvision'"):
        save_for(tmp_path / "out.pth", open_detector(theirs[1]), "torchvison")


def test_report_of_another_projects_file(theirs):
    text = format_report(inspect(theirs[1]))
    assert "origin         torchvision/ssdlite320_mobilenet_v3_large" in text
    assert "classes        4 with background: without names" in text
    assert "resize=bilinear" in text and "assumed        the names of the 3 classes" in text


def test_origin_is_not_for_our_own(theirs, tmp_path):
    (path, _) = save(tmp_path / "out.safetensors", open_detector(theirs[1]))
    with pytest.raises(ValueError, match="is a checkpoint of detzoo: leave origin='torchvision' out"):
        inspect(path, "torchvision")


def test_report_of_a_checkpoint(theirs, tmp_path):
    (path, _) = save(tmp_path / "out.safetensors", open_detector(theirs[1]))
    assert "origin         a checkpoint of detzoo" in format_report(inspect(path))
