"""What is read from another project can be written, read again, and given back."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torchvision.models.detection as torchvision

import detzoo
from detzoo.categories import Categories
from detzoo.exchange import EXPORTS, check_suffix, format_report, inspect, save, save_for, suffixes_for
from detzoo.importers.pytorch_ssd import SHARED
from detzoo.models import MODELS, SSD300_VGG16_Weights, SSDLite320_MobileNet_V3_Large_Weights, build_ssd
from detzoo.models.build import spelt_out
from detzoo.models.checkpoint import model_record, save_checkpoint
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
        "default_boxes", "coder", "preprocess.resize"
    ]  # fmt: skip
    back = open_detector(tmp_path / "out.pth", origin="ssd.pytorch/coco")
    assert same(back.model, opened.model)


def test_antialiasing_is_told_and_no_reason_to_refuse(theirs, tmp_path):
    model, config = open_detector(theirs[1])
    trained = replace(config, preprocess={**config.preprocess, "resize": "bilinear_antialias"})
    assert save_for(tmp_path / "out.pth", Opened(model, trained), "torchvision") == [
        "preprocess.resize: bilinear_antialias here, bilinear in torchvision"
    ]


def test_another_spelling_of_equal_parts_is_no_difference(theirs, tmp_path):
    model, config = open_detector(theirs[1])
    parts = ("backbone", "default_boxes", "coder", "preprocess")
    spelt = replace(config, **{name: spelt_out(config)[name] for name in parts})
    assert spelt != config
    assert save_for(tmp_path / "out.pth", Opened(model, spelt), "torchvision") == []


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


# ---- files that do not load ----


@pytest.fixture
def broken(theirs, tmp_path):
    """torchvision's file without a tensor of the trunk, and with one of another shape."""
    state = torch.load(theirs[1], weights_only=True)
    del state["backbone.features.0.2.block.0.0.weight"]
    state["backbone.features.0.3.block.0.0.weight"] = torch.zeros(3, 3)
    torch.save(state, tmp_path / "broken.pth")
    return tmp_path / "broken.pth"


MISSING = "missing: backbone.features.0.2.block.0.0.weight (backbone.trunk.2.block.0.0.weight in detzoo)"
MISSHAPEN = (
    "backbone.features.0.3.block.0.0.weight (backbone.trunk.3.block.0.0.weight in detzoo): expected (72, 24, 1, 1)"
)


def test_what_keeps_a_file_from_loading_is_in_the_report(broken):
    report = inspect(broken)
    assert report.problems == (MISSING, f"{MISSHAPEN}, got (3, 3)")
    assert format_report(report).endswith(f"does not load: {MISSING}\ndoes not load: {MISSHAPEN}, got (3, 3)")


def test_loading_it_says_the_same_and_names_the_file(broken):
    with pytest.raises(ValueError, match="these weights are not of this model") as caught:
        detzoo.load(broken)
    message = str(caught.value)
    assert message.startswith(f"{broken}, read as torchvision/ssdlite320_mobilenet_v3_large: ")
    assert MISSING in message and MISSHAPEN in message


def test_a_checkpoint_of_our_own_that_lacks_a_tensor(small_config, tmp_path):
    record = model_record(build_ssd(replace(small_config, num_classes=3)), replace(small_config, num_classes=3))
    name = next(name for name in record["model"] if name.startswith("backbone."))
    del record["model"][name]
    save_checkpoint(tmp_path / "last.pt", record)
    assert inspect(tmp_path).problems == (f"missing: {name}",)
    with pytest.raises(ValueError, match=f"last.pt: these weights are not of this model:\n  - missing: {name}"):
        detzoo.load(tmp_path)


def test_a_checkpoint_whose_class_head_is_not_its_own_is_refused(small_config, tmp_path):
    """It would start from scratch in a detector that is to be used."""
    config = replace(small_config, num_classes=3)
    record = model_record(build_ssd(config), config)
    record["model"] = build_ssd(replace(config, num_classes=4)).state_dict()
    save_checkpoint(tmp_path / "last.pt", record)
    assert all("head.classification" in line for line in inspect(tmp_path).problems)
    with pytest.raises(ValueError, match="last.pt: these weights are not of this model"):
        detzoo.load(tmp_path)


def test_parts_of_somebodys_own_are_not_looked_at(small_config, tmp_path):
    config = replace(small_config, num_classes=3, matcher="no_such_package.Matcher")
    model = build_ssd(replace(config, matcher=small_config.matcher))
    save_checkpoint(tmp_path / "last.pt", model_record(model, config))
    report = inspect(tmp_path)
    assert report.problems == () and "matcher: no_such_package.Matcher" in report.assumed[0]


def test_names_of_strangers_do_not_control_a_terminal(small_config, tmp_path):
    """Of classes, of tensors and of parts, in reports and in errors."""
    config = replace(small_config, num_classes=None)
    record = model_record(build_ssd(config, categories=Categories(("cat\x1b[2J", "a\nb\u3000c"))), config)
    record["model"]["x\x1b[31m\n"] = torch.zeros(1)
    save_checkpoint(tmp_path / "last.pt", record)
    report = inspect(tmp_path)
    said = format_report(report)
    assert "cat?[2J, a?b\u3000c" in said and "unknown: x?[31m?" in said and "\x1b" not in said
    with pytest.raises(ValueError, match=r"unknown: x\?\[31m\?$"):
        detzoo.load(tmp_path)
    record["config"]["matcher"] = "a\x1b.b"
    save_checkpoint(tmp_path / "last.pt", record)
    with pytest.raises(ValueError, match=r"matcher: a\?.b"):
        detzoo.load(tmp_path)


# ---- names ----


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setattr("detzoo.hub._open", lambda *args: pytest.fail("nothing may be fetched"))
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.mark.parametrize("name", ["ssd300_vgg16", "SSD300_VGG16_Weights.COCO_V1"])
def test_a_name_is_reported_without_its_file(cache, name):
    text = format_report(inspect(name))
    place = cache / "ssd300_vgg16_coco-b556d3b4.pth"
    assert text.startswith(f"SSD300_VGG16_Weights.COCO_V1: published weights, whose file is not at {place} yet\n")
    weights = SSD300_VGG16_Weights.COCO_V1.value
    for fact in (weights.url, weights.sha256, "BSD-3-Clause", "verified architecture", "91 with background: person"):
        assert fact in text


def test_a_name_is_reported_with_its_file_where_that_is_here(theirs, cache, monkeypatch):
    member = SSDLite320_MobileNet_V3_Large_Weights.VOC0712_LUFFICC
    content = theirs[1].read_bytes()
    weights = replace(
        member.value, url="https://example.org/lite.pth", sha256=hashlib.sha256(content).hexdigest(),
        reading="torchvision", categories=Categories(("a", "b", "c")),
    )  # fmt: skip
    monkeypatch.setattr(member, "_value_", weights)
    assert inspect(str(member)).container is None
    cache.mkdir(parents=True)
    (cache / "lite.pth").write_bytes(content)
    report = inspect(str(member))
    assert report.container.path == cache / "lite.pth" and report.problems == ()
    text = format_report(report)
    assert "https://example.org/lite.pth" in text and "4 with background: a, b, c" in text
    assert "origin         torchvision/ssdlite320_mobilenet_v3_large" in text and "\nbackbone " in text


def test_addresses_and_models_without_weights_are_not_inspected(cache):
    with pytest.raises(ValueError, match="https://example.org/a.pth is an address, and nothing is fetched"):
        inspect("https://example.org/a.pth")
    with pytest.raises(ValueError, match="no weights of this model are published: train tiny_ssd"):
        inspect("tiny_ssd")


# ---- Lightning ----


def lightning(state: Mapping[str, torch.Tensor], prefix: str) -> dict:
    """A checkpoint as Lightning's Trainer writes it, of a module with the network in one of its attributes."""
    return {
        "epoch": 3, "global_step": 12, "pytorch-lightning_version": "2.6.0", "loops": {"fit_loop": {"state_dict": {}}},
        "state_dict": {f"{prefix}{name}": tensor for name, tensor in state.items()},
        "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(0.5)}},
        "optimizer_states": [{"state": {0: {"momentum_buffer": torch.zeros(2)}}, "param_groups": []}],
        "lr_schedulers": [], "hyper_parameters": {"learning_rate": 1e-3},
    }  # fmt: skip


@pytest.mark.parametrize("prefix", ["model.", "net.detector.", "model.module."])
def test_a_network_in_an_attribute_of_lightnings_module(theirs, tmp_path, prefix):
    model, path = theirs
    torch.save(lightning(model.state_dict(), prefix), tmp_path / "last.ckpt")
    assert inspect(tmp_path / "last.ckpt").changes == (f"names: without {prefix!r} before each of them",)
    assert same(detzoo.load(tmp_path / "last.ckpt"), detzoo.load(path))


def test_a_prefix_goes_only_where_somebody_knows_what_is_left(tmp_path):
    torch.save(lightning({"layer.weight": torch.zeros(2), "fc.bias": torch.zeros(2)}, "model."), tmp_path / "last.ckpt")
    with pytest.raises(ValueError, match="'model.layer.weight', 'model.fc.bias'.*fit no detector"):
        inspect(tmp_path / "last.ckpt")


def test_names_in_messages_have_their_prefix(theirs, tmp_path):
    state = theirs[0].state_dict()
    del state["backbone.features.0.2.block.0.0.weight"]
    torch.save(lightning(state, "model."), tmp_path / "last.ckpt")
    assert inspect(tmp_path / "last.ckpt").problems == (MISSING.replace("backbone", "model.backbone", 1),)


def test_names_in_messages_have_the_prefix_of_a_wrapper(theirs, tmp_path):
    """DataParallel's, which is in the file."""
    state = theirs[0].state_dict()
    del state["backbone.features.0.2.block.0.0.weight"]
    torch.save({"model": {f"module.{name}": tensor for name, tensor in state.items()}}, tmp_path / "last.pth")
    assert inspect(tmp_path / "last.pth").problems == (MISSING.replace("backbone", "module.backbone", 1),)


# ---- for others ----


def test_the_book_has_a_suffix_of_its_own(tmp_path):
    config = {
        "name": "nms", "score_threshold": 0.01, "iou_threshold": 0.5, "class_agnostic": True, "best_class_only": True,
        "top_k": None, "detections_per_image": None, "clip": False,
    }  # fmt: skip
    config = replace(MODELS["tiny_ssd"].config, num_classes=2, postprocess=config)
    opened = Opened(build_ssd(config).eval(), config)
    save_for(tmp_path / "tiny.params", opened, "d2l", despite_numbers=True)
    assert "blk_0.0.0.weight" in torch.load(tmp_path / "tiny.params", weights_only=True)
    assert same(detzoo.load(tmp_path / "tiny.params"), opened.model)
    with pytest.raises(ValueError, match="ends in one of .safetensors, .pt, .pth$"):
        check_suffix(tmp_path / "tiny.params", suffixes_for("torchvision"))


def test_rounded_numbers_are_no_difference(tmp_path):
    """123 / 255 is written 0.48235 elsewhere; the rest of the same part is told without them."""
    mean, std = [123 / 255, 117 / 255, 104 / 255], [1 / 255] * 3
    preset = MODELS["ssd300_vgg16"].config
    config = replace(preset, num_classes=3, preprocess={**preset.preprocess, "mean": mean, "std": std})
    model = build_ssd(config)
    assert save_for(tmp_path / "same.pth", Opened(model, config), "torchvision") == []
    other = replace(config, preprocess={**config.preprocess, "std": [2 / 255] * 3})
    (line,) = save_for(tmp_path / "other.pth", Opened(model, other), "torchvision", despite_numbers=True)
    assert line == (
        "preprocess: warp(std=[0.00784314, 0.00784314, 0.00784314]) here, "
        "warp(std=[0.00392157, 0.00392157, 0.00392157]) in torchvision"
    )


def test_a_ratio_of_a_third_is_not_333_thousandths(tmp_path):
    preset = MODELS["ssd300_mobilenet_v1"].config
    boxes = {**preset.default_boxes, "aspect_ratios": [[2, 3.003]] * 6}
    config = replace(preset, num_classes=3, default_boxes=boxes, **{key: SHARED[key] for key in SHARED})
    with pytest.raises(ValueError, match="default_boxes: sizes"):
        save_for(tmp_path / "out.pth", Opened(build_ssd(config), config), "pytorch-ssd")


def test_a_project_is_said_once_to_have_no_such_detector(theirs, tmp_path):
    with pytest.raises(ValueError, match="pytorch-ssd has no detector") as caught:
        save_for(tmp_path / "out.pth", open_detector(theirs[1]), "pytorch-ssd")
    assert str(caught.value).count("pytorch-ssd has no") == 1 and "its detectors are ssd300_vgg16" in str(caught.value)
