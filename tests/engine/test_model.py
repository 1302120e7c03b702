"""Weights that a run starts from, or measures alone."""

import json
import logging
import shlex
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir

from detzoo.categories import COCO, VOC, Categories
from detzoo.engine.config import TrainConfig, register_configs, typed
from detzoo.engine.model import _check_numbers, build_model, load_weights_alone
from detzoo.importers import Foreign, Imported, choose, convert
from detzoo.importers.readers import Container, state_dict_in
from detzoo.lookup import ConfigError
from detzoo.models import MODELS, SSDConfig, build_ssd
from detzoo.models.checkpoint import model_record, save_checkpoint
from detzoo.models.classes import class_tensors
from detzoo.models.config import read_config
from detzoo.models.entry import check_same_network
from detzoo.models.presets import config_of

CONFIGS = Path(__file__).parents[2] / "configs"
GOLDEN = Path(__file__).parents[1] / "origins" / "golden"


def test_measuring_weights_runs_no_code_unless_trusted(tmp_path, small_config):
    config = replace(small_config, num_classes=3, matcher="detzoo.components.matcher.SSDMatcher")
    save_checkpoint(tmp_path / "own.pt", model_record(build_ssd(config, categories=Categories(("a", "b"))), config))
    run = TrainConfig(model=small_config, test_only=True, weights=str(tmp_path / "own.pt"))
    with pytest.raises(ValueError, match="names parts that are not detzoo's"):
        load_weights_alone(run, torch.device("cpu"))
    assert load_weights_alone(replace(run, trust_parts=True), torch.device("cpu")).head.num_classes == 3


def test_weights_of_other_default_boxes_are_refused():
    preset = MODELS["ssd300_vgg16"].config
    other = replace(preset, default_boxes={**preset.default_boxes, "clip": "none"})
    check_same_network(preset.as_dict(), preset, "file.pth")
    with pytest.raises(ValueError, match="file.pth was trained with another default_boxes than this model has"):
        check_same_network(other.as_dict(), preset, "file.pth")


def composed(*overrides: str) -> SSDConfig:
    register_configs()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return read_config(typed(compose("train", list(overrides)), TrainConfig).model)


@pytest.mark.parametrize("origin", ["ssd_pytorch-voc", "mmdetection-ssdlite320", "nvidia-resnet18", "sgrvinod"])
def test_the_options_that_are_advised_make_the_model_that_the_weights_are_of(origin, tmp_path):
    """Another project's numbers are spelt out for the command line, and are understood there."""
    theirs = config_of(recognised(origin))
    with pytest.raises(ValueError, match="To train it, say ") as caught:
        _check_numbers(theirs.as_dict(), composed("model=tiny_ssd"), "file.pth")
    advice = shlex.split(str(caught.value).partition("To train it, say ")[2])
    check_same_network(theirs.as_dict(), composed("model=tiny_ssd", *advice), "file.pth")


def recognised(origin: str) -> Imported:
    """The importer's word on a file without numbers."""
    with np.load(GOLDEN / f"{origin}.npz") as file:
        words = json.loads(str(file["words"]))
    state = {name: torch.zeros(()).expand(shape) for name, (shape, _) in words["layout"].items()}
    container = Container(words["kind"], state, words["metadata"] or {"content": {}}, Path(words["file"]))
    foreign = Foreign(container, state_dict_in(container).tensors)
    return convert(foreign, choose(foreign, words["origin"]))


def test_a_part_at_the_wrong_place_is_told_where_it_belongs():
    register_configs()
    with (
        initialize_config_dir(str(CONFIGS), version_base="1.3"),
        pytest.raises(ConfigError, match="it is model.backbone"),
    ):
        typed(compose("train", ["+backbone=timm/resnet18"]), TrainConfig)


# ---- weights to start from ----


def started(model: SSDConfig, categories: Categories, weights: Path) -> dict[str, torch.Tensor]:
    """The weights with which training begins."""
    run = SimpleNamespace(goes_on=False, device=torch.device("cpu"))
    return build_model(TrainConfig(model=model, weights=str(weights)), categories, run).state_dict()


@pytest.fixture
def of_coco(small_config, tmp_path):
    """A checkpoint of COCO's 80 classes, and its weights."""
    torch.manual_seed(0)
    config = replace(small_config, num_classes=None)
    model = build_ssd(config, categories=COCO)
    save_checkpoint(tmp_path / "coco.pt", model_record(model, config))
    return tmp_path / "coco.pt", model.state_dict()


def test_classes_that_weights_and_data_share_keep_their_rows(of_coco, small_config, caplog, monkeypatch):
    """All of VOC's are COCO's by one word or another, but not at the same labels."""
    monkeypatch.setattr(logging.getLogger("detzoo"), "propagate", True)
    (path, old), categories = of_coco, Categories((*VOC.names[:3], "unicorn", *VOC.names[3:]))
    with caplog.at_level(logging.INFO, logger="detzoo"):
        new = started(small_config, categories, path)
    heads = class_tensors(small_config)
    assert heads and all(torch.equal(old[key], new[key]) for key in old if key not in heads)
    labels, unicorn = categories.labels_in(COCO), 4
    assert labels.count(0) == 2 and labels[unicorn] == 0, "the background and the unicorn"
    for key in heads:
        theirs, ours = old[key].unflatten(0, (-1, 81)), new[key].unflatten(0, (-1, 22))
        for label, was in enumerate(labels):
            if label != unicorn:
                assert torch.equal(ours[:, label], theirs[:, was])
        if key.endswith("weight"):
            assert not (theirs == ours[:, unicorn : unicorn + 1]).flatten(2).all(-1).any()
    assert f"the rows of {', '.join(VOC.names)} and the background are kept" in caplog.text
    assert "classes kept: 20 of 21; from scratch: ['unicorn']" in caplog.text


def test_the_same_classes_keep_all(of_coco, small_config):
    path, old = of_coco
    new = started(small_config, COCO, path)
    assert all(torch.equal(old[key], new[key]) for key in old)


def test_logits_of_another_kind_keep_no_row(of_coco, small_config):
    path, old = of_coco
    new = started(replace(small_config, loss="focal"), Categories(("person", "dog")), path)
    for key in class_tensors(small_config):
        if key.endswith("weight"):
            theirs, ours = old[key].unflatten(0, (-1, 81)), new[key].unflatten(0, (-1, 3))
            assert not any(torch.equal(ours[:, label], theirs[:, was]) for label, was in ((0, 0), (1, 1), (2, 17)))


def test_weights_that_do_not_fit_name_their_file(of_coco, small_config, tmp_path):
    record = torch.load(of_coco[0], weights_only=True)
    name = next(name for name in record["model"] if name.startswith("backbone."))
    del record["model"][name]
    save_checkpoint(tmp_path / "half.pt", record)
    for categories in (COCO, VOC):
        with pytest.raises(ValueError, match=f"half.pt: these weights are not of this model:\n  - missing: {name}"):
            started(small_config, categories, tmp_path / "half.pt")


def test_a_preset_is_advised_by_its_name():
    theirs = MODELS["ssd300_vgg16"].config
    with pytest.raises(ValueError, match="To train it, say model=ssd300_vgg16$"):
        _check_numbers(theirs.as_dict(), composed("model=ssdlite320_mobilenet_v3_large"), "file.pth")


def test_a_checkpoint_of_our_own_of_another_preset(tmp_path, small_config):
    config = replace(MODELS["tiny_ssd"].config, num_classes=None)
    save_checkpoint(tmp_path / "tiny.pt", model_record(build_ssd(config, categories=VOC), config))
    with pytest.raises(ValueError, match="tiny.pt was trained with another .*To train it, say model=tiny_ssd$"):
        started(replace(MODELS["ssd300_resnet18"].config, num_classes=None), VOC, tmp_path / "tiny.pt")
