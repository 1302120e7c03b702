"""A step: its parts, its limits, its running mean, and what happens when it goes wrong."""

import pytest
import torch
from torch import nn

from detzoo.data import Batch, SyntheticDataset, training_loader
from detzoo.data.transforms import Augmentation
from detzoo.engine.ema import running_mean
from detzoo.engine.log import RunLog
from detzoo.engine.run import Run
from detzoo.engine.train import Meter, Updater, train_one_epoch
from detzoo.models import build_ssd
from detzoo.structures import PaddedTargets

pytestmark = pytest.mark.usefixtures("one_thread")


class Slope(nn.Module):
    """Losses that are plain functions of one weight and of what the images show."""

    def __init__(self, start: float = 0.5):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(start))
        self.seen = []

    def forward(self, images, targets):
        self.seen.append((len(images), len(targets.boxes), len(targets.labels), len(targets.mask)))
        return {"a": (self.weight * images.float()).mean(), "b": 2 * self.weight}


def batch_of(values: list[int]) -> Batch:
    count = len(values)
    images = torch.tensor(values, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 2, 2)
    targets = PaddedTargets(torch.zeros(count, 1, 4), torch.zeros(count, 1).long(), torch.zeros(count, 1).bool())
    return Batch(images, targets, torch.arange(count))


@pytest.fixture
def updater(tmp_path):
    def updater(model: nn.Module, lr: float = 0.1, **options) -> Updater:
        optimizer = torch.optim.SGD(model.parameters(), lr=lr)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
        scaler = options.pop("scaler", torch.amp.GradScaler("cpu", enabled=False))
        return Updater(model, optimizer, schedule, Run(torch.device("cpu"), tmp_path), scaler, **options)

    return updater


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_parts_of_a_batch_teach_what_the_whole_does(updater, parts):
    model = Slope()
    losses = updater(model, accumulate=parts).step(batch_of([10, 20, 30, 100]))
    assert losses == pytest.approx({"loss": 21.0, "a": 20.0, "b": 1.0})
    assert model.weight.item() == pytest.approx(0.5 - 0.1 * (40 + 2))
    assert model.seen == [(4 // parts,) * 4] * parts


def test_gradients_are_limited_in_norm(updater):
    model = Slope()
    updater(model, clip_norm=1.5).step(batch_of([40]))
    assert model.weight.item() == pytest.approx(0.5 - 0.1 * 1.5, rel=1e-4)


def test_gradients_are_limited_without_their_scale(updater):
    model, scaler = Slope(), torch.amp.GradScaler("cpu", init_scale=1024.0)
    losses = updater(model, clip_norm=1.5, scaler=scaler).step(batch_of([40]))
    assert model.weight.item() == pytest.approx(0.5 - 0.1 * 1.5, rel=1e-4)
    assert losses["loss"] == pytest.approx(21), "losses are told without their scale"


def test_learning_rate_follows_the_schedule(updater):
    model = Slope()
    steps = updater(model)
    for expected in (0.1, 0.05, 0.025):
        before = model.weight.item()
        assert steps.learning_rate() == pytest.approx(expected)
        steps.step(batch_of([0]))
        assert before - model.weight.item() == pytest.approx(expected * 2)


def test_a_loss_that_is_not_finite_changes_nothing(updater):
    model = Slope(float("inf"))
    mean = running_mean(model, 0.9)
    steps = updater(model, mean=mean)
    with pytest.raises(FloatingPointError, match="the loss is not finite .* no weight was changed"):
        steps.step(batch_of([1]))
    assert model.weight.item() == float("inf") and mean.n_averaged == 0 and steps.learning_rate() == 0.1


def test_a_gradient_that_is_not_finite_changes_nothing(updater):
    class Cliff(Slope):
        def forward(self, images, targets):
            return {"a": (self.weight - 0.5).abs().sqrt() + images.float().mean()}  # infinitely steep where it stands

    model = Cliff()
    with pytest.raises(FloatingPointError, match="gradients are not finite .* no weight was changed"):
        updater(model).step(batch_of([1]))
    assert model.weight.item() == 0.5
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    assert updater(model, scaler=scaler).step(batch_of([1])) == {"loss": 1.0, "a": 1.0}, (
        "a scaler goes on, more carefully"
    )
    assert model.weight.item() == 0.5 and scaler.get_scale() == 2.0


def test_batch_norm_with_one_value_is_told_in_options(updater):
    class OneCell(Slope):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm2d(3)

        def forward(self, images, targets):
            return {"a": self.norm(images[:, :, :1, :1].float()).mean()}

    with pytest.raises(ValueError, match="larger loader.batch_size, a smaller accumulate or fewer processes"):
        updater(OneCell(), accumulate=2).step(batch_of([1, 2]))
    updater(OneCell(), accumulate=2).step(batch_of([1, 2, 3, 4]))


def test_running_mean_follows(updater):
    model = Slope(1.0)
    steps = updater(model, lr=1.0, mean=running_mean(model, 0.5, warmup=False))
    expected = None
    for _ in range(4):
        steps.step(batch_of([0]))
        expected = model.weight.item() if expected is None else 0.5 * expected + 0.5 * model.weight.item()
    assert steps.mean.module.weight.item() == pytest.approx(expected) != model.weight.item()


def test_decay_of_the_running_mean_rises():
    model = Slope(0.0)
    mean, values = running_mean(model, 0.99), []
    for step in range(5):
        model.weight.data.fill_(float(step))
        mean.update_parameters(model)
        values.append(mean.module.weight.item())
    expected = [0.0]
    for step in range(1, 5):
        kept = (1 + step) / (10 + step)
        expected.append(kept * expected[-1] + (1 - kept) * step)
    assert values == pytest.approx(expected)


def test_running_mean_has_the_batch_statistics_of_the_model():
    model = nn.Sequential(nn.BatchNorm2d(3))
    mean = running_mean(model, 0.9)
    for _ in range(2):
        model(torch.rand(2, 3, 4, 4))
        mean.update_parameters(model)
    assert torch.equal(mean.module[0].running_var, model[0].running_var) and not mean.training
    assert not any(parameter.requires_grad for parameter in mean.parameters())


@pytest.fixture
def shapes():
    return SyntheticDataset(8, size=(96, 96))


@pytest.fixture
def epoch(shapes, small_config, updater, tmp_path):
    """An epoch of two steps."""
    torch.manual_seed(0)
    model = build_ssd(small_config, categories=shapes.categories)
    loader = training_loader(shapes, (96, 96), Augmentation(), batch_size=4)

    def epoch(lr: float = 1e-3, **options) -> dict[str, float]:
        return train_one_epoch(updater(model, lr), loader, epoch=1, **options)

    return epoch


def test_row_of_an_epoch(epoch):
    seen = []
    row = epoch(after_step=lambda meter: seen.append(meter.done))
    assert seen == [1, 2] and list(row) == ["loss", "bbox_regression", "classification", "lr", "seconds"]
    assert row["loss"] == pytest.approx(row["bbox_regression"] + row["classification"]) and row["seconds"] > 0


def test_steps_are_logged_as_often_as_asked(epoch, tmp_path):
    class Notes(RunLog):
        def __init__(self):
            self.noted = {}

        def record_step(self, step, numbers):
            self.noted[step] = numbers

    for log_every, steps in ((1, [1, 2]), (2, [2])):
        notes = Notes()
        epoch(log=notes, log_every=log_every)
        assert list(notes.noted) == steps
        assert {"loss", "lr", "step_seconds", "data_seconds"} <= set(notes.noted[2])
        assert 0 < notes.noted[2]["data_seconds"] < notes.noted[2]["step_seconds"]


def test_images_of_a_broken_step_are_named(epoch, shapes):
    with pytest.raises(FloatingPointError, match="not finite") as caught:
        for _ in range(3):
            epoch(lr=1e30)
    assert sum(shapes.name(index) in str(caught.value) for index in range(8)) == 4


def test_the_rest_of_an_epoch(epoch):
    meter = Meter(done=1, sums={"loss": 100.0, "bbox_regression": 40.0, "classification": 60.0}, seconds=50.0)
    seen = []
    row = epoch(meter=meter, after_step=lambda meter: seen.append(meter.done))
    assert seen == [2] and row["loss"] > 50 and row["seconds"] > 50
