"""Every recipe of `configs/experiment/`: what its head promises, its arithmetic, and two training steps of it.

That each one composes and builds is asked in `test_configs.py`, where being in the folder enrols it.
"""

import csv
import importlib.util
import logging
import math
import re
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf, open_dict

from detzoo.engine import run as run_module
from detzoo.engine.config import register_configs

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs"
RECIPES = sorted(path.stem for path in (CONFIGS / "experiment").rglob("*.yaml"))
OURS = {"bccd_ssdlite320", "demo"}  # made and run here; all others are somebody's published training
VOC0712, COCO = 16551, 117266  # images of both trainval sets; images of train2017 with an object


def composed(name: str, *overrides: str) -> DictConfig:
    register_configs()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose("train", [f"experiment={name}", *overrides])


def test_every_recipe_is_known():
    assert len(RECIPES) == 17, f"found {RECIPES}"


# ---- the head ----


def head_of(name: str) -> str:
    """The comment that a recipe opens with, as one text whose paragraphs begin at the left."""
    lines = (CONFIGS / "experiment" / f"{name}.yaml").read_text().splitlines()
    assert lines[0] == "# @package _global_"
    comments = lines[1 : next(k for k, line in enumerate(lines) if not line.startswith("#"))]
    return "\n".join(comment.removeprefix("#").removeprefix(" ") for comment in comments).replace("\n  ", " ")


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_named_and_opens_with_command_source_hardware_and_number(name):
    assert composed(name).name == name
    head = head_of(name)
    assert re.search(rf"\breferences/train\.py experiment={name}\b", head) or re.search(rf"\bmake {name}\b", head)
    for promise in (r"^Source: \S+", r"^Hardware: \S+", r"^Expect: .*\d"):
        assert re.search(promise, head, re.MULTILINE), promise
    if name not in OURS:
        assert re.search(r"^Source: .*https://", head, re.MULTILINE)
        assert re.search(r"^Expect: .*not run here for lack of the data", head, re.MULTILINE)


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("coco_ssd300_step1", "19.5 AP"),
        ("coco_ssd300_step2", "21.1 AP"),
        ("coco_ssd300_step3", "22.9 AP"),
        ("coco_ssd300_step4", "23.9 AP"),
        ("coco_ssd300", "25.1 AP"),
        ("coco_ssdlite320", "21.3 AP"),
        ("coco_nvidia_ssd300_resnet50", "25.0 AP"),
        ("voc_ssd300", "68.0 mAP_11"),
        ("voc0712_ssd300", "77.2 mAP_11"),
        ("voc0712_ssd512", "79.8 mAP_11"),
        ("voc0712_sgrvinod_ssd300", "77.2 mAP_11"),
        ("voc0712_pytorch_ssd_vgg16", "77.26 mAP_11"),
        ("voc0712_pytorch_ssd_mobilenet_v1", "67.5 mAP_11"),
        ("voc0712_pytorch_ssd_mobilenet_v2", "68.6 mAP_11"),
    ],
)
def test_published_numbers(name, number):
    assert f"Expect: {number} on" in head_of(name) and "published by the origin" in head_of(name)


# ---- arithmetic ----


@pytest.mark.parametrize(
    ("name", "images", "steps", "decays"),
    [
        ("voc0712_ssd300", VOC0712, 120_000, [80_000, 100_000]),
        ("voc0712_ssd512", VOC0712, 120_000, [80_000, 100_000]),
        ("voc_ssd300", 5011, 60_000, [40_000, 50_000]),
        ("coco_ssd300_step2", COCO, 240_000, [160_000, 200_000]),
        ("coco_ssd300_step3", COCO, 240_000, [160_000, 200_000]),
        ("coco_ssd300_step4", COCO, 240_000, [160_000, 200_000]),
    ],
)
def test_epochs_stand_for_the_steps_of_the_origin(name, images, steps, decays):
    config = composed(name)
    an_epoch = images // config.loader.batch_size  # an incomplete last batch is left out
    assert abs(config.epochs * an_epoch - steps) < an_epoch
    found = [milestone * an_epoch for milestone in config.schedule.milestones]
    assert all(abs(step - expected) < 0.1 * an_epoch for step, expected in zip(found, decays, strict=True))


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_says_itself_when_its_learning_rate_falls(name):
    config = composed(name)
    if config.schedule.name == "multistep":
        default = OmegaConf.load(CONFIGS / "schedule" / "multistep.yaml")
        assert config.schedule.milestones != default.milestones
        assert config.schedule.milestones[-1] < config.epochs


@pytest.mark.parametrize("name", [name for name in RECIPES if name not in OURS])
def test_the_learning_rate_is_meant_for_this_batch_or_a_fraction_of_it(name):
    config = composed(name)
    assert config.loader.batch_size % config.reference_batch_size == 0


def test_the_steps_of_the_article_change_one_thing_each():
    """From the second on; the first one's numbers are another model's."""
    configs = [
        OmegaConf.to_container(composed(name)) for name in (*(f"coco_ssd300_step{k}" for k in (2, 3, 4)), "coco_ssd300")
    ]
    changed = [{key for key in one if one[key] != other[key]} - {"name"} for one, other in zip(configs, configs[1:])]
    assert changed == [
        {"transforms"},
        {"model", "weights_backbone"},
        {"epochs", "evaluate_every", "optimizer", "schedule"},
    ]


# ---- two steps ----

ALONE = ["device=cpu", "precision=float32", "weights_backbone=null", "loader.workers=0", "pictures=0", "log_every=1"]
SHORT = ["epochs=1", "limit_batches=2", "limit_images=1", "loader.eval_batch_size=1"]


@pytest.fixture(scope="module")
def script():
    """`references/train.py` as a module."""
    spec = importlib.util.spec_from_file_location("references_train", ROOT / "references" / "train.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def alone(monkeypatch):
    """Put the logger and the threads back as they were, and leave glibc and the environment out of it."""
    logger, threads = logging.getLogger("detzoo"), torch.get_num_threads()
    state = logger.handlers[:], logger.propagate, logger.level
    monkeypatch.setattr(run_module, "tune_allocator", lambda: None)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    yield
    logger.handlers[:], logger.propagate = state[:2]
    logger.setLevel(state[2])
    torch.set_num_threads(threads)


def two_steps_of(name: str, folder: Path) -> DictConfig:
    """The recipe on synthetic pictures: its network, parts, loss and optimizer, from scratch.

    VGG takes seconds for an image, so it gets one at a time, at the least size that leaves its extra blocks a cell to
    work on; a batch norm behind a map of one cell needs two.
    """
    vgg = composed(name).model.backbone.name == "vgg16"
    batch, reduced = (1, ["model.size=[272,272]"]) if vgg else (2, [])
    config = composed(name, *ALONE, *SHORT, *reduced, f"loader.batch_size={batch}", f"folder={folder}")
    with open_dict(config):
        config.dataset = {
            "train": {"name": "synthetic", "num_images": 2 * batch, "size": [96, 128]},
            "val": {"name": "synthetic", "num_images": 1, "seed": 1, "size": [96, 128]},
        }
    return config


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if any(part in name for part in ("ssd300", "512", "vgg")) else name
        for name in RECIPES
    ],
)
def test_two_steps(script, alone, name, tmp_path):
    script.main(two_steps_of(name, tmp_path / "run"))
    with open(tmp_path / "run" / "log.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    for loss in ("loss", "bbox_regression", "classification"):
        assert math.isfinite(float(row[loss])) and float(row[loss]) > 0
    assert (tmp_path / "run" / "last.pt").is_file()
