"""Runs that are killed, restarted, tried out: what becomes of them is what would have become of one run."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import torch
import yaml

from detzoo.models import load

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
SMALL = {
    "defaults": [{"override /model": "small"}, {"override /transforms": "ssd"}],
    "name": "small",
    "dataset": {"train": {"num_images": 26, "size": [80, 100]}, "val": {"num_images": 4, "size": [80, 100]}},
    "model": {"backbone": {"channels": [8, 16, 16, 16]}},
    "loader": {"batch_size": 4, "eval_batch_size": 2},
    "schedule": {"warmup_steps": 2},
    "epochs": 3,
    "evaluate_every": 1,
    "ema": {"decay": 0.9},
    "device": "cpu",
    "pictures": 0,
}
MODEL = {
    "backbone": {"name": "tiny", "channels": [8, 16, 16, 16], "first_level": 3},
    "default_boxes": {"name": "scales", "scales": [0.2, 0.5, 0.9], "aspect_ratios": [[2], [2]]},
    "size": [96, 96],
    "preprocess": {"name": "warp"},
}
# A loss of one's own that kills its process at its 9th call in training, once.
MORTAL = """
import os, signal
from pathlib import Path
from detzoo.components import MultiBoxLoss

class Mortal(MultiBoxLoss):
    calls = 0

    def forward(self, *tensors):
        Mortal.calls += self.training
        mark = Path(os.environ["MARK"])
        if Mortal.calls == 9 and os.environ.get("RANK", "0") == "0" and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(*tensors)
"""


@pytest.fixture(scope="module")
def configs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("configs")
    for path, head, content in (
        ("model/small.yaml", "", MODEL),
        ("experiment/small.yaml", "# @package _global_\n", SMALL),
    ):
        (folder / path).parent.mkdir()
        (folder / path).write_text(head + yaml.safe_dump(content))
    (folder / "mortal.py").write_text(MORTAL)
    return folder


@pytest.fixture
def command(configs, tmp_path, monkeypatch):
    """The command line of a run; processes that it starts use one thread each."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(configs))
    monkeypatch.setenv("MARK", str(tmp_path / "mark"))
    monkeypatch.chdir(tmp_path)

    def command(*overrides, torchrun: tuple[str, ...] = (), flags: tuple[str, ...] = ()) -> list[str]:
        launcher = ["-m", "torch.distributed.run", "--standalone", *torchrun] if torchrun else []
        script = str(ROOT / "references" / "train.py")
        return [sys.executable, *launcher, script, f"--config-dir={configs}", *flags, "experiment=small", *overrides]

    return command


def run(command: list[str], status: int | None = 0, timeout: float = 180) -> subprocess.CompletedProcess:
    """Run to the end; a run that hangs is killed with all its processes."""
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True) as process:
        try:
            output, errors = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    assert status is None or process.returncode == status, errors
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def state_of(folder) -> dict:
    return torch.load(folder / "last.pt", weights_only=True)


def assert_same_run(folder, other) -> None:
    """Weights, running mean, optimiser and logged losses, to the last bit."""
    ours, theirs = state_of(folder), state_of(other)
    for part in ("model", "mean"):
        assert all(torch.equal(tensor, theirs[part][name]) for name, tensor in ours[part].items()), part
    moments = [[state["momentum_buffer"] for state in each["optimizer"]["state"].values()] for each in (ours, theirs)]
    assert all(map(torch.equal, *moments))
    assert [without_times(row) for row in ours["rows"]] == [without_times(row) for row in theirs["rows"]]
    assert len(ours["rows"]) == 3
    assert ours["best"] == theirs["best"]
    lines, expected = ((path / "log.csv").read_text().splitlines() for path in (folder, other))
    assert len(lines) == len(expected) == 4


def without_times(row: dict) -> str:
    return str({name: value for name, value in row.items() if name != "seconds"})  # nan equals nan so


def test_killed_at_any_moment_and_started_again(command, tmp_path):
    """`kill -9` nine times, at moments spread over start-up, steps, the writing of checkpoints and evaluation."""
    options = ["checkpoint_every=2", "resume=auto"]
    run(command(*options, f"folder={tmp_path / 'whole'}"))
    folder, seen = tmp_path / "killed", set()
    again = command(*options, f"folder={folder}")
    for delay in (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5):
        seen.add(kill_after_progress(again, folder, delay))
    done = run(again)
    assert len(seen) >= 3, "it was killed at different steps"
    assert "going on in" in done.stderr
    assert_same_run(folder, tmp_path / "whole")
    assert not list(folder.glob(".*")), "what killed writers left is gone"


def kill_after_progress(command: list[str], folder: Path, delay: float) -> tuple[int, int]:
    """Start the run, wait for a new checkpoint (or the end), then `delay` seconds, then kill it; where it stood."""
    before, deadline = written(folder), time.monotonic() + 120
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, start_new_session=True)
        while written(folder) == before and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(delay)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        said.seek(0)
        assert written(folder) != before or process.returncode == 0, f"no checkpoint: {said.read()}"
    record = state_of(folder)
    return record["epoch"], (record["meter"] or {"done": 0})["done"]


def written(folder: Path) -> int:
    file = folder / "last.pt"
    return file.stat().st_mtime_ns if file.exists() else 0


def test_auto_without_a_folder_finds_the_run_again(command, tmp_path):
    mortal = command("checkpoint_every=2", "resume=auto", "+model.loss=mortal.Mortal")
    assert run(mortal, status=None).returncode == -signal.SIGKILL
    (folder,) = (tmp_path / "runs").iterdir()
    record = state_of(folder)
    assert (record["epoch"], record["meter"]["done"]) == (1, 2), "killed in the ninth step; six are an epoch"
    run(mortal)
    assert list((tmp_path / "runs").iterdir()) == [folder] and state_of(folder)["epoch"] == 3
    run(command("+model.loss=mortal.Mortal", "checkpoint_every=2", f"folder={tmp_path / 'whole'}"))
    assert_same_run(folder, tmp_path / "whole")


def test_torchrun_restarts_a_run_that_lost_a_process(command, tmp_path):
    """Elastic: one of two processes is killed, both are started again and go on from the last checkpoint."""
    folder, torchrun = tmp_path / "run", ("--nproc-per-node=2", "--max-restarts=1")
    options = ["checkpoint_every=2", "resume=auto", "+model.loss=mortal.Mortal"]
    done = run(command(*options, f"folder={folder}", torchrun=torchrun))
    assert (tmp_path / "mark").exists() and "going on in" in done.stderr
    run(command(*options, f"folder={tmp_path / 'whole'}", torchrun=torchrun))
    assert_same_run(folder, tmp_path / "whole")


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_learns(command, tmp_path, precision):
    run(command(f"precision={precision}", f"folder={tmp_path / 'run'}", "accumulate=2", "clip_norm=10"))
    rows = state_of(tmp_path / "run")["rows"]
    assert rows[2]["loss"] < 0.9 * rows[0]["loss"] and rows[2]["val_loss"] < rows[0]["val_loss"]


def test_fast_dev_run_leaves_nothing(command, tmp_path):
    done = run(command("fast_dev_run=2"))
    assert "every part of the program ran; nothing of it is kept" in done.stderr
    assert list(tmp_path.iterdir()) == []
    refused = run(command("fast_dev_run=2", "folder=x"), status=2)
    assert "fast_dev_run leaves no folder behind" in refused.stderr


def test_overfit_batches_measures_what_it_learns(command, tmp_path):
    folder = tmp_path / "run"
    options = ["overfit_batches=1", "transforms=none", "epochs=20", "evaluate_every=20", "ema.decay=null"]
    run(command(*options, "optimizer.lr=0.02", f"folder={folder}", "limit_images=4"))
    rows = state_of(folder)["rows"]
    assert len(rows) == 20 and rows[-1]["loss"] < 0.6 * rows[0]["loss"]
    assert rows[-1]["val_loss"] < rows[0]["loss"] and "AP" in rows[-1]


def test_test_only_measures_the_weights(command, tmp_path):
    run(command("epochs=1", f"folder={tmp_path / 'run'}"))
    trained = state_of(tmp_path / "run")["rows"][0]
    best = tmp_path / "run" / "best.pt"
    run(command("test_only=true", f"weights={best}", f"folder={tmp_path / 'test'}"))
    report = yaml.safe_load((tmp_path / "test" / "metrics.json").read_text())
    assert report["weights"] == str(best) and report["metrics"]["AP"] == pytest.approx(trained["AP"], abs=1e-6)
    assert report["losses"]["val_loss"] == pytest.approx(trained["val_loss"], abs=1e-5)
    assert not (tmp_path / "test" / "last.pt").exists()
    no_images = "dataset.train.num_images=0"  # an error where it is built, but val is all it takes
    run(command("test_only=true", f"weights={best}", f"folder={tmp_path / 'again'}", no_images))
    again = yaml.safe_load((tmp_path / "again" / "metrics.json").read_text())
    assert again["metrics"] == report["metrics"]
    assert "test_only evaluates weights: say which" in run(command("test_only=true"), status=2).stderr


def test_the_best_is_the_running_mean(command, tmp_path):
    run(command("epochs=1", f"folder={tmp_path / 'run'}"))
    record = state_of(tmp_path / "run")
    best = load(tmp_path / "run").state_dict()
    for name, tensor in best.items():
        assert torch.equal(tensor, record["mean"][f"module.{name}"]), name
    assert any(not torch.equal(tensor, record["model"][name]) for name, tensor in best.items())


def test_a_run_goes_on_with_the_data_it_began_with(command, tmp_path):
    folder = tmp_path / "run"
    run(command("epochs=2", "stop_after=1", f"folder={folder}"))
    config = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(
        config.replace("num_images: 26", "num_images: 27")
    )  # as if files had come along
    refused = run(command("epochs=2", f"resume={folder}", "dataset.train.num_images=27"), status=2)
    assert "other images or boxes than the training set has now" in refused.stderr


def test_one_job_of_a_sweep_may_fail(command, tmp_path):
    """The learning rate in the middle diverges; the last one is trained all the same, each in a folder of its own."""
    rates = "optimizer.lr=0.01,1e30,0.02"
    done = run(command(rates, "schedule.warmup_steps=0", "epochs=1", "ema.decay=null", flags=("-m",)), status=None)
    assert done.returncode != 0 and "not finite" in done.stderr
    folders = sorted(path for path in (tmp_path / "runs").iterdir() if path.is_dir())
    assert len(folders) == 3 and [path for path in folders if (path / "metrics.json").exists()] == folders[::2]
    assert (tmp_path / "runs" / "multirun.yaml").exists()


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
def test_compiled(command, tmp_path):
    """To the rounding of float32 the same losses."""
    options = ["epochs=1", "limit_batches=2", "limit_images=2", "optimizer.lr=0.01"]
    for compiled in ("false", "true"):
        run(command(*options, f"compile={compiled}", f"folder={tmp_path / compiled}"), timeout=300)
    one, other = (state_of(tmp_path / compiled)["rows"][0] for compiled in ("false", "true"))
    assert one["loss"] == pytest.approx(other["loss"], rel=1e-3)
