"""The scripts as people start them: plain and under torchrun, stopped and resumed, gone wrong, measured again."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

pytestmark = pytest.mark.slow

REFERENCES = Path(__file__).parents[1] / "references"
LOSSES = ("loss", "bbox_regression", "classification")

MODEL = {
    "backbone": {"name": "tiny", "channels": [8, 16, 16, 16], "first_level": 3},
    "default_boxes": {"name": "scales", "scales": [0.2, 0.5, 0.9], "aspect_ratios": [[2], [2]]},
    "size": [96, 96],
    "preprocess": {"name": "warp"},
}
SMALL = {
    "defaults": [{"override /model": "small"}, {"override /transforms": "ssd"}],
    "name": "small",
    "dataset": {
        "train": {"num_images": 14, "size": [80, 100]},
        "val": {"num_images": 7, "size": [80, 100]},
    },
    "loader": {"batch_size": 4, "eval_batch_size": 2},
    "schedule": {"warmup_steps": 2},
    "epochs": 2,
    "evaluate_every": 1,
    "device": "cpu",
    "pictures": 3,
}


def write_yaml(path, content, head=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(head + yaml.safe_dump(content))


@pytest.fixture(scope="module")
def configs(tmp_path_factory):
    """A folder of one's own configs: a model and a recipe beside those of the project."""
    folder = tmp_path_factory.mktemp("configs")
    write_yaml(folder / "model" / "small.yaml", MODEL)
    write_yaml(folder / "experiment" / "small.yaml", SMALL, head="# @package _global_\n")
    return folder


@pytest.fixture(scope="module")
def call(configs, tmp_path_factory):
    """Run a script with overrides, in one process or several, and return what became of it."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # several processes on few cores must not fight over threads

    def call(script, *overrides, processes=1, status=0):
        torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        command = [sys.executable, *(torchrun if processes > 1 else []), str(REFERENCES / script)]
        command += [f"--config-dir={configs}", *overrides]
        done = subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True, timeout=120)
        assert (done.returncode == 0) is (status == 0), done.stderr
        assert list(elsewhere.iterdir()) == [], "nothing is written but where it was asked for"
        return done

    return call


@pytest.fixture(scope="module")
def trained(call, tmp_path_factory):
    """The folder of a whole run, and what it said."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    return folder, call("train.py", "experiment=small", f"folder={folder}")


def log_of(folder) -> list[dict]:
    with open(folder / "log.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_run_folder(trained):
    folder, done = trained
    names = {"config.yaml", "log.csv", "tensorboard", "last.pt", "best.pt", "metrics.json", "pictures"}
    assert {path.name for path in folder.iterdir()} == names
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["epochs"] == 2 and config["model"]["size"] == [96, 96]
    rows = log_of(folder)
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert all(float(row[name]) > 0 for row in rows for name in (*LOSSES, "seconds")) and all(row["AP"] for row in rows)
    assert len(list((folder / "tensorboard").iterdir())) == 1
    pictures = sorted((folder / "pictures").iterdir())
    assert [path.name for path in pictures] == ["000000.jpg", "000003.jpg", "000006.jpg"]
    with Image.open(pictures[0]) as picture:
        assert picture.format == "JPEG" and picture.width > 2 * 480, "ground truth beside detections"
    for path in (folder / "last.pt", folder / "best.pt"):
        torch.load(path, weights_only=True)
    assert done.stdout == "" and f"pictures: {folder / 'pictures'}" in done.stderr


def test_metrics_are_those_of_the_best_epoch(trained):
    check_report(trained[0])


def test_two_processes_measure_one_model(call, tmp_path):
    """Each process has batch statistics of its own after a step; its numbers must be those of the file."""
    call("train.py", "experiment=small", f"folder={tmp_path / 'two'}", "epochs=1", processes=2)
    check_report(tmp_path / "two", processes=2)


def check_report(folder, processes=1):
    report = json.loads((folder / "metrics.json").read_text())
    best = max(log_of(folder), key=lambda row: float(row["AP"]))
    assert report["epoch"] == int(best["epoch"]) and report["images"] == 7
    for name, value in report["metrics"].items():
        expected = float(best[name])
        assert (value is None and np.isnan(expected)) or value == pytest.approx(expected, abs=2e-6)
    assert set(report["per_class"]) == {"circle", "square", "triangle", "star", "cross", "ring"}
    assert "experiment=small" in report["command"] and report["machine"]["processes"] == processes


def test_evaluate_gives_the_same_numbers_in_two_processes(trained, call, tmp_path):
    """Seven images in shards of four and three; a network in eval mode sees no other image, so nothing may differ."""
    folder, _ = trained
    output, pictures = tmp_path / "numbers.json", tmp_path / "pictures"
    options = ["batch_size=2", "device=cpu", "num_pictures=2"]  # and the data set of the run folder
    done = call("evaluate.py", f"source={folder}", *options, f"output={output}", f"pictures={pictures}", processes=2)
    report, expected = json.loads(output.read_text()), json.loads((folder / "metrics.json").read_text())
    assert report["metrics"] == expected["metrics"] and report["per_class"] == expected["per_class"]
    assert report["images"] == 7 and report["machine"]["processes"] == 2
    assert json.loads(done.stdout) == report, "printed once, by rank 0"
    assert len(list(pictures.iterdir())) == 2


def test_resumed_run_is_the_uninterrupted_one(trained, call, tmp_path):
    expected, _ = trained
    folder = tmp_path / "stopped"
    call("train.py", "experiment=small", f"folder={folder}", "stop_after=1")
    assert len(log_of(folder)) == 1
    call("train.py", "experiment=small", f"resume={folder}")
    for row, other in zip(log_of(folder), log_of(expected), strict=True):
        assert {**row, "seconds": ""} == {**other, "seconds": ""}
    ours, theirs = (torch.load(path / "last.pt", weights_only=True)["model"] for path in (folder, expected))
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


def test_a_run_goes_on_with_its_own_config_or_not_at_all(trained, call):
    folder, _ = trained
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    done = call("train.py", "experiment=small", f"resume={folder}", "epochs=3", "optimizer.lr=0.5", status=1)
    assert "2 options differ: epochs was 2, is 3; optimizer.lr was 0.05, is 0.5" in done.stderr
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_what_is_wrong_with_a_run_is_told_before_it_begins(call, tmp_path):
    options = ["schedule.name=cosin", "evaluate_every=0", "dataset.train.num_imges=3", f"folder={tmp_path / 'none'}"]
    done = call(
        "train.py", "experiment=small", *("+" * ("num_imges" in option) + option for option in options), status=1
    )
    for problem in ("did you mean 'cosine'", "evaluate_every = 0: expected 1 or more", "did you mean 'num_images'"):
        assert problem in done.stderr
    assert not (tmp_path / "none").exists()


def test_an_option_that_was_added_is_still_checked(call, tmp_path):
    done = call("train.py", "experiment=small", "+optimzer.lr=3", f"folder={tmp_path / 'none'}", status=1)
    assert "no option 'optimzer': did you mean 'optimizer'?" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("options", [[], ["clip_norm=1", "ema.decay=0.9"]], ids=["plain", "clipped, averaged"])
def test_two_processes_train_as_one(call, tmp_path, options):
    """The same global batches and the same losses, to a relative 1e-4 over three steps of float32.

    Images have different numbers of objects, and all of the network learns, batch norm included. Rounding grows from
    step to step, in a network that is so far from anywhere; `tests/engine/test_two_processes.py` does it in double.
    """
    rows = []
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        common = ["experiment=small", "sync_batch_norm=true", "optimizer.lr=0.02", "epochs=1", f"folder={folder}"]
        call("train.py", *common, *options, processes=processes)
        assert len(list(folder.glob("tensorboard/*"))) == 1, "rank 0 alone writes"
        rows += log_of(folder)
    for name in (*LOSSES, "lr"):
        assert float(rows[0][name]) == pytest.approx(float(rows[1][name]), rel=1e-4), name


def test_without_synchronised_batch_norm_each_process_has_its_own(call, tmp_path):
    """So that the test above could fail."""
    for processes in (1, 2):
        options = ["experiment=small", "optimizer.lr=0.02", f"folder={tmp_path / str(processes)}", "epochs=1"]
        call("train.py", *options, processes=processes)
    one, two = (float(log_of(tmp_path / n)[0]["loss"]) for n in ("1", "2"))
    assert one != pytest.approx(two, rel=1e-3)


@pytest.mark.parametrize("processes", [1, 2])
def test_diverging_run_stops_and_names_the_images(call, tmp_path, processes):
    folder = tmp_path / "run"
    options = ["optimizer.lr=1e30", "schedule.warmup_steps=0", f"folder={folder}"]
    done = call("train.py", "experiment=small", *options, processes=processes, status=1)
    assert "the loss is not finite" in done.stderr and "Lower optimizer.lr" in done.stderr
    assert "Images of the batch: synthetic image " in done.stderr
    assert not (folder / "last.pt").exists(), "nothing is kept of a broken epoch"
