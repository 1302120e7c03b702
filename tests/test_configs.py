"""Every YAML of `configs/` is composed, type-checked and built; a model's numbers are in its preset, nowhere else."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torchvision
import yaml
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from torch import nn

import detzoo
from detzoo.categories import VOC
from detzoo.data import DATASETS, TRANSFORMS
from detzoo.engine.config import EvaluateConfig, TrainConfig, check_run, register_configs
from detzoo.engine.model import build_model
from detzoo.engine.optim import build_optimizer, build_schedule
from detzoo.engine.run import Run
from detzoo.lookup import ConfigError, build_part, resolve_part
from detzoo.metrics import METRICS
from detzoo.models import MODELS, build_ssd
from detzoo.models.config import read_config

CONFIGS = Path(__file__).parents[1] / "configs"
FILES = sorted(path.relative_to(CONFIGS).as_posix() for path in CONFIGS.rglob("*.yaml"))
CPU = Run(torch.device("cpu"), Path("not written to"))
GROUPS = ("model", "dataset", "transforms", "optimizer", "schedule", "experiment")
OPTIONS = [
    *((path.split("/")[0], Path(path).stem) for path in FILES if "/" in path),
    *(("model", name) for name in MODELS),
]


@pytest.fixture(autouse=True)
def presets():
    register_configs()
    yield
    register_configs()  # the presets as they are again, whatever a test did to them


def composed(*overrides: str, name: str = "train"):
    """The config that a command line comes to; data sets on disk lie in /data."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose(name, list(overrides))
        return compose(name, [*overrides, *(f"{key}=/data" for key in unset_paths(config.dataset, "dataset"))])


def unset_paths(node, name: str) -> list[str]:
    """Options below a data set that have no default."""
    if not isinstance(node, DictConfig):
        return []
    unset = [
        f"{name}.{key}" for key in node if OmegaConf.is_missing(node, key) and not OmegaConf.is_interpolation(node, key)
    ]
    parts = [key for key in node if OmegaConf.is_dict(node._get_node(key))]
    return unset + [path for key in parts for path in unset_paths(node[key], f"{name}.{key}")]


def checked(config) -> TrainConfig:
    """As the scripts see it: types checked, nothing missing, everything resolved."""
    OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    return OmegaConf.to_object(config)


def modelled(config, **options) -> nn.Module:
    """Without memory for the weights, which takes no time."""
    with torch.device("meta"):
        return build_ssd(config, **options)


def test_every_file_is_known():
    assert len(FILES) == 43, f"found {FILES}"
    assert {path.split("/")[0] for path in FILES} == {*GROUPS, "train.yaml", "evaluate.yaml"}
    assert not list(CONFIGS.rglob("*.yml")), "Hydra does not see them"


@pytest.mark.parametrize(("group", "option"), OPTIONS, ids=map("/".join, OPTIONS))
def test_every_option_makes_a_run(group, option):
    config = checked(composed(f"{group}={option}"))
    assert type(config) is TrainConfig
    model = modelled(config.model, categories=VOC)
    assert model.head.num_classes == 21
    assert model.preprocess.resize == "bilinear_antialias", "trained as the loader resizes"
    optimizer = build_optimizer(model, config.optimizer, config.parameters)
    build_schedule(optimizer, config.schedule, epochs=config.epochs, steps_per_epoch=10)
    build_part(TRANSFORMS, config.transforms, "transforms")
    resolve_part(METRICS, config.metric, "metric", ["annotations"])
    for split in ("train", "val"):
        resolve_part(DATASETS, config.dataset[split], f"dataset.{split}")


def test_measurements_compose():
    for dataset in DATASETS:
        config = OmegaConf.to_object(composed("source=ssd300_vgg16", f"dataset={dataset}", name="evaluate"))
        assert type(config) is EvaluateConfig and config.source == "ssd300_vgg16"
        resolve_part(DATASETS, config.dataset["val"], "dataset.val")


@pytest.mark.parametrize("name", ["train", "evaluate"])
def test_the_options_of_a_run_and_their_defaults_are_in_the_schema_alone(name):
    assert set(yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())) == {"defaults", "hydra"}


def test_steps_of_the_schedule_come_within_a_run():
    config = composed("schedule=multistep")
    assert 0 < config.schedule.milestones[0] < config.schedule.milestones[-1] < config.epochs


@pytest.mark.parametrize("dataset", ["csv", "yolo", "banana"])
@pytest.mark.parametrize("split", ["train", "val"])
def test_readers_of_image_sizes_do_with_broken_images_what_the_run_says(dataset, split):
    def broken(*overrides: str, name: str = "train") -> str:
        config = composed(f"dataset={dataset}", *overrides, name=name)
        return OmegaConf.to_container(config.dataset[split], resolve=True)["broken"]

    assert broken() == "error" and broken("broken_images=drop") == "drop" and broken("dataset.broken=drop") == "drop"
    assert broken("source=a", name="evaluate") == "error"
    assert broken("source=a", "dataset.broken=drop", name="evaluate") == "drop"


@pytest.mark.parametrize("dataset", ["csv", "voc", "voc_folder"])
def test_classes_are_said_once_for_both_sets(dataset):
    config = checked(composed(f"dataset={dataset}", "dataset.classes=[b,a]"))
    assert config.dataset["train"]["classes"] == config.dataset["val"]["classes"] == ["b", "a"]


@pytest.mark.parametrize("name", ["mosaic", "mixup"])
def test_mixing_ends_with_an_epoch(name):
    assert build_part(TRANSFORMS, checked(composed(f"transforms={name}")).transforms, "transforms").mix_epochs is None
    config = checked(composed(f"transforms={name}", "transforms.mix_epochs=9"))
    assert build_part(TRANSFORMS, config.transforms, "transforms").mix_epochs == 9


# ---- one truth ----


@pytest.mark.parametrize("name", MODELS)
def test_hydra_has_the_preset_number_for_number(name):
    found = read_config(composed(f"model={name}").model).as_dict()
    preset = MODELS[name].config.as_dict()
    assert found.pop("num_classes") is None and preset.pop("num_classes") is not None
    assert found["preprocess"].pop("resize") == "bilinear_antialias", "the one thing that train.yaml changes"
    preset["preprocess"].pop("resize")
    assert found == preset


@pytest.mark.parametrize(
    ("part", "option", "value"),
    [
        ("postprocess", "score_threshold", 0.123),
        ("loss", "negatives_per_positive", 2.5),
        ("matcher", "iou_threshold", 0.35),
        ("default_boxes", "steps", (9, 17, 33, 65, 101, 299)),
    ],
)
def test_a_number_changed_in_the_preset_changes_the_entry_point_and_the_recipe(monkeypatch, part, option, value):
    monkeypatch.setitem(getattr(detzoo.models.SSD300_VGG16, part), option, value)
    register_configs()
    with torch.device("meta"):
        by_name = detzoo.models.ssd300_vgg16()
    by_hydra = modelled(checked(composed("model=ssd300_vgg16")).model, categories=VOC)
    for model in (by_name, by_hydra):
        assert getattr(getattr(model, part), option) == value


def test_a_field_changed_in_the_preset(monkeypatch):
    monkeypatch.setattr(detzoo.models.SSD300_VGG16, "size", (310, 330))
    register_configs()
    with torch.device("meta"):
        assert detzoo.models.ssd300_vgg16().preprocess.size == (310, 330)
    assert tuple(composed("model=ssd300_vgg16").model.size) == (310, 330)


def test_composing_leaves_the_preset_alone():
    before = detzoo.models.SSD300_VGG16.as_dict()
    composed("model=ssd300_vgg16", "model.postprocess.top_k=7", "model.size=[96,96]")
    assert detzoo.models.SSD300_VGG16.as_dict() == before


# ---- what is refused ----


def refusal(*overrides: str) -> str:
    with pytest.raises(HydraException) as caught:
        composed(*overrides)
    return f"{caught.value} {caught.value.__cause__}"


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("epoch=3", "epoch"),
        ("dataset.roots=/data", "roots"),
        ("loader.batchsize=3", "batchsize"),
        ("epochs=many", "many"),
        ("loader.batch_size=1.5", "1.5"),
    ],
)
def test_misspelt_and_ill_typed_overrides(override, named):
    assert named in refusal("dataset=voc", override)


@pytest.mark.parametrize("group", GROUPS)
def test_unknown_options_are_answered_with_the_known_ones(group):
    message = refusal(f"{group}=ssd301")
    assert f"{group}/ssd301" in message
    assert all(option in message for known, option in OPTIONS if known == group)


def problems_of(*overrides: str) -> list[str]:
    """What is said of a command line before any data is read."""
    with pytest.raises(ConfigError) as caught:
        check_run(OmegaConf.to_object(composed(*overrides)))
    return caught.value.problems


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.momentun=0.9", "optimizer has no option 'momentun': did you mean 'momentum'?"),
        ("schedule.warmup=9", "schedule has no option 'warmup': did you mean 'warmup_steps'?"),
        ("model.sise=[96,96]", "model has no option 'sise': did you mean 'size'?"),
        ("model.head.chanels=3", "head has no option 'chanels'"),
        ("model.head.name=ssdlight", "unknown head 'ssdlight': did you mean 'ssdlite'?"),
        ("model.loss.negatives_per_postive=3",
         "loss has no option 'negatives_per_postive': did you mean 'negatives_per_positive'?"),
        ("model.postprocess.top_k=many", "postprocess.top_k = 'many' (str): expected int"),
        ("model.postprocess.class_agnositc=true",
         "postprocess has no option 'class_agnositc': did you mean 'class_agnostic'?"),
        ("model.size=[96]", "model.size = [96] (list): expected tuple[int, int]"),
    ],
)  # fmt: skip
def test_what_hydra_cannot_know_is_refused_before_data_is_read(override, message):
    (problem,) = problems_of("model=ssd300_vgg16", override)
    assert problem.startswith(message)


def test_all_that_is_wrong_with_a_run_is_said_at_once():
    wrong = ("epochs=0", "transforms.foo=1", "optimizer.lrr=1", "model.neck.name=fpm", "model.coder.weight=[1,1,1,1]")
    assert len(problems_of(*wrong)) == 5


@pytest.mark.parametrize(
    ("part", "name", "left"),
    [
        ("loss", "focal", "'negatives_per_positive' (of 'multibox'), 'minimum_negatives' (of 'multibox')"),
        ("matcher", "atss", "'iou_threshold' (of 'ssd')"),
        ("backbone", "vgg16", "'reduced_tail' (of 'mobilenet_v3_large')"),
        ("default_boxes", "linear", "'scales' (of 'scales')"),
    ],
)
def test_a_name_alone_does_not_replace_a_part(part, name, left):
    (problem,) = problems_of("model=ssdlite320_mobilenet_v3_large", f"model.{part}.name={name}")
    assert problem.startswith(f"{part} '{name}' has no option {left}: what is left over")
    assert f"goes with model.{part}={name}," in problem and f"model.{part}=null model.{part}.name={name} " in problem


def test_a_mapping_does_not_replace_a_part_either():
    (problem,) = problems_of("model=ssd300_vgg16", "model.loss={name: focal, alpha: 0.5}")
    assert "'negatives_per_positive' (of 'multibox')" in problem and "goes with model.loss=focal" in problem


def test_what_these_messages_say_to_do():
    def loss(*overrides: str):
        return modelled(composed("model=ssd300_vgg16", "model.num_classes=3", *overrides).model).loss

    assert type(loss("model.loss=focal")).__name__ == "FocalLoss"
    assert loss("model.loss=null", "model.loss.name=focal", "model.loss.alpha=0.5").alpha == 0.5
    assert loss("model.loss=focal", "model.loss={name: focal, alpha: 0.5}").alpha == 0.5
    (problem,) = problems_of("model=ssd300_vgg16", "model.loss=focal", "model.loss.alpha=0.5")
    assert "got {'alpha': 0.5}: say loss.name=NAME as well, since options take the place of a name" in problem


def test_the_data_decide_how_many_classes_there_are():
    config = OmegaConf.to_object(composed("model.num_classes=5"))
    with pytest.raises(ConfigError, match="leave model.num_classes out"):
        modelled(config.model, categories=VOC)


# ---- options that no preset spells out ----


@pytest.mark.parametrize("model", ["ssd300_vgg16", "tiny128"])  # a preset, and a file
def test_any_option_of_a_part_is_set_without_a_plus(model):
    overrides = (
        "model.postprocess.name=soft_nms", "model.postprocess.method=gaussian", "model.postprocess.sigma=0.4",
        "model.postprocess.class_agnostic=true", "model.postprocess.clip=false", "model.loss.box={name: l1}",
        "model.coder.weights=[1,1,1,1]", "model.neck.name=fpn", "model.neck.out_channels=8", "model.num_classes=3",
        "optimizer.nesterov=true",
    )  # fmt: skip
    config = OmegaConf.to_object(composed(f"model={model}", *overrides))
    check_run(config)
    built = modelled(config.model)
    assert (built.postprocess.sigma, built.postprocess.class_agnostic, built.postprocess.clip) == (0.4, True, False)
    assert built.coder.weights == (1, 1, 1, 1) and set(built.neck.channels) == {8}
    assert type(built.loss.box).__name__ == "L1BoxLoss" and config.optimizer["nesterov"] is True


def test_any_option_of_a_recipe_is_set_without_a_plus():
    config = composed("experiment=bccd_ssdlite320", "model.postprocess.method=gaussian")
    assert (config.model.postprocess.name, config.model.postprocess.method) == ("soft_nms", "gaussian")


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], {}),
        (["postprocess=null"], None),
        (["postprocess=soft_nms"], "soft_nms"),
        (["postprocess.name=soft_nms", "postprocess.method=gaussian"], {"name": "soft_nms", "method": "gaussian"}),
        (["postprocess={name: nms, top_k: 9}"], {"name": "nms", "top_k": 9}),
    ],
)
def test_another_suppression_for_a_measurement(overrides, expected):
    assert OmegaConf.to_object(composed("source=a", *overrides, name="evaluate")).postprocess == expected


# ---- a model from its config ----


@pytest.mark.parametrize("name", ["tiny128", "ssdlite320_mobilenet_v3_large"])
def test_frozen_stages_and_layout(name):
    config = checked(composed(f"model={name}", "trainable_layers=1"))
    model = build_model(config, VOC, CPU)
    trained = {key.split(".")[2] for key, p in model.backbone.trunk.named_parameters(prefix="x.x") if p.requires_grad}
    last = range(len(model.backbone.trunk))[model.backbone.stages[-1]]
    assert trained == {str(layer) for layer in last}
    assert all(p.requires_grad for p in model.head.parameters())
    widest = max(model.parameters(), key=lambda p: p.numel() * (p.ndim == 4))
    assert widest.is_contiguous(memory_format=torch.channels_last)


def test_weights_to_start_from(tmp_path, small_config):
    source = build_ssd(small_config, categories=VOC)
    torch.save(source.state_dict(), tmp_path / "weights.pth")
    config = TrainConfig(model=small_config, weights=str(tmp_path / "weights.pth"))
    model = build_model(config, VOC, CPU)
    assert all(torch.equal(tensor, source.state_dict()[key]) for key, tensor in model.state_dict().items())


@pytest.mark.parametrize("as_yaml", [False, True])
def test_weights_of_the_trunk(tmp_path, as_yaml):
    trunk = torchvision.models.mobilenet_v3_large()
    torch.save(trunk.state_dict(), tmp_path / "trunk.pth")
    preset = detzoo.models.SSDLITE320_MOBILENET_V3_LARGE
    model = replace(preset, num_classes=None, backbone={"name": "mobilenet_v3_large", "reduced_tail": False})
    model = model.as_dict() if as_yaml else model  # what a model of one's own in configs/model comes to
    config = TrainConfig(model=model, weights_backbone=str(tmp_path / "trunk.pth"))
    built = build_model(config, VOC, CPU)
    assert torch.equal(built.backbone.trunk[0][0].weight, trunk.features[0][0].weight)


def test_two_kinds_of_weights():
    config = checked(composed("weights=a.pth", "weights_backbone=b.pth"))
    with pytest.raises(ConfigError, match="exclude each other"):
        check_run(config)
