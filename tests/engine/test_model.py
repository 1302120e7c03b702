"""Weights that a run starts from, or measures alone."""

from dataclasses import replace

import pytest
import torch

from detzoo.categories import Categories
from detzoo.engine.config import TrainConfig
from detzoo.engine.model import load_weights_alone
from detzoo.models import MODELS, build_ssd
from detzoo.models.checkpoint import model_record, save_checkpoint
from detzoo.models.entry import check_same_network


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
