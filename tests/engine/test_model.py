"""Weights that a run starts from, or measures alone."""

import json
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir

from detzoo.categories import Categories
from detzoo.engine.config import TrainConfig, register_configs, typed
from detzoo.engine.model import _check_numbers, load_weights_alone
from detzoo.importers import Foreign, Imported, choose, convert
from detzoo.importers.readers import Container, state_dict_in
from detzoo.lookup import ConfigError
from detzoo.models import MODELS, SSDConfig, build_ssd
from detzoo.models.checkpoint import model_record, save_checkpoint
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
