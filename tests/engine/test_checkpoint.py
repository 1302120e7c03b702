"""A run that was stopped goes on as though it had not been, and its files are whole, plain data."""

import random
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from detzoo import distributed
from detzoo.categories import Categories
from detzoo.data import Augmentation, SyntheticDataset, training_loader
from detzoo.engine.checkpoint import Progress, fingerprint
from detzoo.engine.ema import running_mean
from detzoo.engine.optim import build_optimizer, build_schedule
from detzoo.engine.run import Run
from detzoo.engine.train import Meter, Updater, train_one_epoch
from detzoo.models import build_ssd, load

pytestmark = pytest.mark.usefixtures("one_thread")

EPOCHS = 3


@pytest.fixture(scope="module")
def shapes():
    return SyntheticDataset(12, size=(96, 96))


@pytest.fixture
def start(small_config, shapes):
    """A model before its first epoch, the same whenever it is called."""

    def start(seed: int = 0, optimizer: str = "adamw", ema: bool = False, fp16: bool = False, **changes) -> Progress:
        torch.manual_seed(seed)
        config = replace(small_config, **changes)
        model = build_ssd(config, categories=shapes.categories)
        optimizer = build_optimizer(model, {"name": optimizer, "lr": 0.01, "weight_decay": 0.01})
        schedule = build_schedule(optimizer, {"name": "cosine", "warmup_steps": 3}, epochs=EPOCHS, steps_per_epoch=3)
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**8, growth_interval=2, enabled=fp16)
        mean = running_mean(model, 0.9) if ema else None
        return Progress(model, config, optimizer, schedule, "score", fingerprint(shapes), scaler, mean)

    return start


class Killed(Exception):
    """In the middle of an epoch."""


@pytest.fixture
def train(shapes, tmp_path):
    """Go through (some of) the epochs still to be done, saving every step, until so many steps were done."""

    def train(progress: Progress, folder=tmp_path, stop_after: int | None = None, steps: int = 99) -> list[dict]:
        loader = training_loader(shapes, (96, 96), Augmentation(iou_crop=True), batch_size=4, seed=5)
        run = Run(torch.device("cpu"), folder, "float16" if progress.scaler.is_enabled() else "float32")
        updater = Updater(
            Noisy(progress.model), progress.optimizer, progress.schedule, run, progress.scaler, mean=progress.mean
        )

        def after_step(meter):
            progress.save(folder, meter.state() if meter.done < 3 else None)
            if progress.steps_done(3) >= steps and meter.done < 3:
                raise Killed

        for epoch in progress.remaining(EPOCHS, stop_after):
            row = train_one_epoch(updater, loader, epoch=epoch, meter=progress.take_meter(), after_step=after_step)
            del row["seconds"]
            progress.end_epoch(folder, {"epoch": epoch, **row})
        return progress.rows

    return train


class Noisy(nn.Module):
    """The losses of a model times something random, from every generator there is."""

    def __init__(self, model):
        super().__init__()
        self.module = model

    def forward(self, images, targets):
        luck = torch.rand(1).item() + random.random() + np.random.random()
        return {name: value * luck for name, value in self.module(images, targets).items()}


@pytest.mark.parametrize(
    "options", [{"optimizer": "adamw"}, {"optimizer": "sgd"}, {"ema": True}, {"fp16": True}], ids=str
)
def test_resumed_run_is_the_uninterrupted_one(start, train, tmp_path, options):
    seed_all()
    whole = start(**options)
    expected = train(whole, tmp_path / "whole")
    assert [row["epoch"] for row in expected] == [1, 2, 3]
    assert len({row["loss"] for row in expected}) == 3, "something is learnt, or the comparison says nothing"

    seed_all()
    train(start(**options), tmp_path / "stopped", stop_after=1)
    for steps in (4, 5, 7, 99):  # killed in the middle of the second epoch, twice, and of the third
        seed_all(99)
        resumed = start(seed=99, **options)
        resumed.resume(tmp_path / "stopped")
        with nullcontext() if steps == 99 else pytest.raises(Killed):
            train(resumed, tmp_path / "stopped", steps=steps)
    assert resumed.rows == expected
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name
    for name, tensor in whole.measured.state_dict().items():
        assert torch.equal(tensor, resumed.measured.state_dict()[name]), name
    assert whole.scaler.state_dict() == resumed.scaler.state_dict()


def seed_all(seed: int = 0) -> None:
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)


def test_meter_goes_on():
    meter = Meter()
    for value in (1.0, 0.1, 0.7):
        meter.step_is_done({"loss": value})
    copy = Meter(**meter.state())
    for each in (meter, copy):
        each.step_is_done({"loss": 0.3})
    assert copy.means() == meter.means() and copy.done == 4 and copy.seconds > 0


def test_with_another_number_of_processes_the_generators_stay(start, tmp_path, monkeypatch):
    start().save(tmp_path)
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    seed_all(5)
    expected = torch.get_rng_state()
    other = start()
    torch.set_rng_state(expected)
    other.resume(tmp_path)
    assert torch.equal(torch.get_rng_state(), expected)


def test_nothing_remains_of_a_finished_run(start, train, tmp_path):
    train(start())
    finished = start()
    finished.resume(tmp_path)
    assert list(finished.remaining(EPOCHS)) == [] and list(finished.remaining(EPOCHS + 1)) == [4]


@pytest.mark.parametrize(("stop_after", "expected"), [(None, [3, 4, 5]), (1, [3]), (2, [3, 4]), (9, [3, 4, 5])])
def test_remaining_epochs(start, stop_after, expected):
    progress = start()
    progress.epoch = 2
    assert list(progress.remaining(5, stop_after)) == expected


def test_files_hold_plain_data_and_tensors(start, train, tmp_path):
    progress = start()
    train(progress, stop_after=1)
    progress.end_epoch(tmp_path, {"epoch": 2, "loss": 1.5, "score": 0.25})
    last, best = (torch.load(tmp_path / name, weights_only=True) for name in ("last.pt", "best.pt"))
    assert set(last) - set(best) == {"optimizer", "schedule", "scaler", "mean", "data", "meter", "rows", "generators"}
    assert best["epoch"] == 2 and best["best"] == 0.25 and best["categories"]["names"][0] == "circle"
    assert last["rows"][1] == {"epoch": 2, "loss": 1.5, "score": 0.25}


def test_model_of_a_run_folder(start, train, tmp_path):
    progress = start()
    train(progress, stop_after=1)
    images = [torch.rand(3, 80, 120)]
    expected = progress.model.eval().detect(images)[0]
    found = load(tmp_path)  # no epoch was scored: the last one
    assert not found.training and found.categories == progress.model.categories
    assert all(torch.equal(found.detect(images)[0][name], column) for name, column in expected.items())


def test_best_is_the_first_of_the_highest_score(start, tmp_path):
    progress, best = start(), []
    for epoch, score in enumerate([None, 0.2, 0.5, 0.4, None, 0.5, float("nan"), 0.6], start=1):
        progress.end_epoch(tmp_path, {"epoch": epoch} if score is None else {"epoch": epoch, "score": score})
        file = tmp_path / "best.pt"
        best.append(torch.load(file, weights_only=True)["epoch"] if file.exists() else None)
    assert best == [None, 2, 3, 3, 3, 3, 3, 8]
    assert progress.best == 0.6


def test_best_is_not_forgotten_between_sessions(start, tmp_path):
    start().end_epoch(tmp_path, {"epoch": 1, "score": 0.5})
    resumed = start()
    resumed.resume(tmp_path)
    resumed.end_epoch(tmp_path, {"epoch": 2, "score": 0.4})
    assert torch.load(tmp_path / "best.pt", weights_only=True)["epoch"] == 1
    assert torch.load(tmp_path / "last.pt", weights_only=True)["best"] == 0.5


def test_only_rank_0_writes(start, tmp_path, monkeypatch):
    monkeypatch.setattr(distributed, "rank", lambda: 1)
    progress = start()
    progress.end_epoch(tmp_path, {"epoch": 1, "score": 0.5})
    assert progress.best == 0.5 and list(tmp_path.iterdir()) == []


def test_half_written_file_is_never_visible(start, tmp_path, monkeypatch):
    def fill_the_disk(record, path):
        path.write_bytes(b"half")
        raise OSError("no space left")

    progress = start()
    progress.end_epoch(tmp_path, {"epoch": 1, "score": 0.5})
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr(torch, "save", fill_the_disk)
    with pytest.raises(OSError, match="no space left"):
        progress.end_epoch(tmp_path, {"epoch": 2, "score": 0.6})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_nothing_to_resume(start, tmp_path):
    with pytest.raises(FileNotFoundError, match="last.pt"):
        start().resume(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"head": "ssdlite"},
        {"backbone": {"name": "tiny", "channels": [8, 16, 24, 16], "first_level": 3}},
    ],
)
def test_checkpoint_of_another_model(start, tmp_path, changes):
    start().end_epoch(tmp_path, {"epoch": 1})
    with pytest.raises(ValueError, match="not of this model"):
        start(**changes).resume(tmp_path)


@pytest.mark.parametrize("names", [("circle", "square"), ("square", "circle", "triangle", "star", "cross", "ring")])
def test_checkpoint_of_other_classes(start, tmp_path, small_config, names):
    start().end_epoch(tmp_path, {"epoch": 1})
    other = start()
    other.model = build_ssd(small_config, categories=Categories(names))
    with pytest.raises(ValueError, match=f"other classes, circle, square, .* data set, {', '.join(names)}: go on with"):
        other.resume(tmp_path)


def test_checkpoint_of_other_data(start, tmp_path, shapes):
    start().end_epoch(tmp_path, {"epoch": 1})
    other = start()
    other.data = fingerprint(SyntheticDataset(len(shapes), seed=1, size=(96, 96)))
    assert other.data != fingerprint(shapes) == fingerprint(SyntheticDataset(len(shapes), size=(96, 96)))
    with pytest.raises(ValueError, match="other images or boxes than the training set has now"):
        other.resume(tmp_path)


def test_an_epoch_that_was_measured_is_kept_though_its_score_is_nan(start, tmp_path):
    progress = start()
    for epoch, score in enumerate([float("nan"), 0.1, float("nan")], start=1):
        progress.end_epoch(tmp_path, {"epoch": epoch, "score": score})
        assert torch.load(tmp_path / "best.pt", weights_only=True)["epoch"] == min(epoch, 2)


def test_file_of_something_else(start, tmp_path):
    torch.save({"model": {}}, tmp_path / "last.pt")
    with pytest.raises(ValueError, match="no checkpoint of detzoo"):
        start().resume(tmp_path)
