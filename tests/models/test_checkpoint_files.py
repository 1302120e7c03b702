"""Checkpoints that are cut, or made up: what is missing or wrong is said, and in which file."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import detzoo
from detzoo.categories import Categories
from detzoo.importers.readers import read_container
from detzoo.lookup import split_part
from detzoo.models import MODELS, build_ssd
from detzoo.models.checkpoint import model_record, record_in

GONE = object()
FORMS = ["torch", "safetensors"]


@pytest.fixture
def record(small_config):
    torch.manual_seed(0)
    categories = Categories(("cat", "dog"))
    return model_record(build_ssd(small_config, categories=categories), replace(small_config, num_classes=3))


def written(record: dict, form: str, folder: Path, **changes: object) -> Path:
    """The record with other values, or without them, in a file."""
    record = {key: value for key, value in {**record, **changes}.items() if value is not GONE}
    path = folder / "mine.file"
    if form == "torch":
        torch.save(record, path)
        return path
    words = {key: value for key, value in record.items() if key != "model"}
    header = {key: value if isinstance(value, str) else json.dumps(value) for key, value in words.items()}
    save_file(record.get("model", {}), path, header)
    return path


def problem_of(path: Path) -> str:
    """All who open files say the same."""
    with pytest.raises(ValueError) as caught:
        detzoo.load(path)
    with pytest.raises(ValueError) as again:
        record_in(read_container(path))
    assert str(caught.value) == str(again.value)
    start = f"{path} is no whole checkpoint of detzoo (detzoo-1): "
    assert str(caught.value).startswith(start)
    return str(caught.value).removeprefix(start)


@pytest.mark.parametrize("form", FORMS)
def test_a_whole_one_is_opened(record, form, tmp_path):
    model = detzoo.load(written(record, form, tmp_path))
    assert model.categories.names == ("cat", "dog")
    assert all(torch.equal(tensor, record["model"][name]) for name, tensor in model.state_dict().items())
    assert detzoo.load(written(record, form, tmp_path, categories=None)).categories is None


@pytest.mark.parametrize("form", FORMS)
def test_all_that_is_missing_is_said(record, form, tmp_path):
    gone = dict.fromkeys(("config", "categories", "model"), GONE)
    expected = "there are no weights; there is no config; there is no categories"
    assert problem_of(written(record, form, tmp_path, **gone)) == expected
    assert problem_of(written(record, form, tmp_path, categories=GONE)) == "there is no categories"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("config", "message"),
    [
        ([], "a model config is an SSDConfig or a mapping of its fields, got list"),
        (3, "a model config is an SSDConfig or a mapping of its fields, got int"),
        ({}, "model needs the option 'backbone'"),
        ({"bakcbone": "tiny"}, "model has no option 'bakcbone': did you mean 'backbone'?"),
        ({"backbone": "tiny", "default_boxes": 3}, "default_boxes: expected a name or a mapping with a 'name'"),
        ({"backbone": "tiny", "default_boxes": "ssd", "size": "big"}, "model.size = 'big' (str): expected tuple"),
        ({"backbone": "tiny", "default_boxes": "ssd", "loss": None}, "loss: expected a name or a mapping"),
    ],
    ids=str,
)
def test_what_is_no_config(record, form, config, message, tmp_path):
    assert message in problem_of(written(record, form, tmp_path, config=config))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("categories", "message"),
    [
        (["cat", "dog"], "its categories are ['cat', 'dog']: expected names and ids"),
        ({}, "its categories are {}: expected names and ids"),
        ({"names": ["cat"], "ids": [1], "colours": []}, "expected names and ids"),
        ({"names": 3, "ids": [1]}, "the names of its categories are 3: "),
        ({"names": [["cat"]], "ids": [1]}, "the names of its categories are [['cat']]: "),
        ({"names": ["cat"], "ids": ["1"]}, "the ids of its categories are ['1']: "),
        ({"names": ["cat", "cat"], "ids": [1, 2]}, "category names must be unique"),
        ({"names": ["cat", "dog"], "ids": [1]}, "2 category names came with 1 ids"),
    ],
    ids=str,
)
def test_what_are_no_categories(record, form, categories, message, tmp_path):
    assert message in problem_of(written(record, form, tmp_path, categories=categories))


@pytest.mark.parametrize("text", ["{", "", "[" * 100_000], ids=["cut", "empty", "deep"])
def test_a_header_that_is_no_json(record, text, tmp_path):
    problem = problem_of(written(record, "safetensors", tmp_path, config=text, categories=text))
    assert problem.startswith("its config is no JSON (") and "; its categories is no JSON (" in problem


def test_nothing_of_a_config_is_looked_up_to_check_it(record, tmp_path):
    config = {**record["config"], "loss": "no_such_package.Loss"}
    path = written(record, "torch", tmp_path, config=config)
    assert record_in(read_container(path))["config"] == config
    with pytest.raises(ValueError, match="names parts that are not detzoo's .loss: no_such_package.Loss"):
        detzoo.load(path)


@pytest.mark.parametrize(("width", "message"), [(10.0, "expected .*, got"), (1e9, "no network that torch can make")])
def test_a_small_file_of_a_large_network_takes_no_memory(record, width, message, tmp_path, monkeypatch):
    """Weights are compared before the network is made with numbers."""
    small = MODELS["ssd300_mobilenet_v1"].config.as_dict()
    config = {
        **small,
        "num_classes": 3,
        "backbone": {**split_part(small["backbone"], "backbone")[1], "name": "mobilenet_v1"},
    }
    config["backbone"]["width"] = width
    path = written(record, "torch", tmp_path, config=config, model={"head.classification.0.bias": torch.zeros(3)})
    made = []
    monkeypatch.setattr("torch.nn.init.kaiming_uniform_", lambda tensor, **_: made.append(tensor.device.type))
    with pytest.raises(ValueError, match=f"(?s){path}: .*({message}|missing)"):
        detzoo.load(path)
    assert "cpu" not in made
