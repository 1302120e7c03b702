"""The log of a run: a CSV whose columns may come late, TensorBoard, a bar for terminals only."""

import csv
import io
import sys

import pytest

from detzoo import distributed
from detzoo.engine.log import RunLog, progress, summary

ROWS = [
    {"epoch": 1, "loss": 1 / 3, "seconds": 2.0},
    {"epoch": 2, "loss": 1e-7, "seconds": 2.5, "AP": float("nan")},
    {"epoch": 3, "loss": 123456789.0, "seconds": 2.5},
]


def read(folder):
    with open(folder / "log.csv", newline="") as file:
        return list(csv.DictReader(file))


def fill(log):
    for row in ROWS:
        log.rows.append(row)
        log.record_epoch()
    log.close()


def scalars(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    return {name: [(e.step, e.value) for e in events.Scalars(name)] for name in events.Tags()["scalars"]}


def test_csv(tmp_path):
    log = RunLog(tmp_path, [])
    for count, row in enumerate(ROWS, start=1):
        log.rows.append(row)
        log.record_epoch()
        assert [line["epoch"] for line in read(tmp_path)] == ["1", "2", "3"][:count], "it can be read at any time"
    log.close()
    first, second, third = read(tmp_path)
    assert first == {"epoch": "1", "loss": "0.333333", "seconds": "2", "AP": ""}
    assert second["loss"] == "1e-07" and second["AP"] == "nan" and third["loss"] == "1.23457e+08"
    assert {path.name for path in tmp_path.iterdir()} == {"log.csv", "tensorboard"}


def test_rows_of_an_earlier_session_are_written_at_once(tmp_path):
    """It may have been killed after the checkpoint was written and before the log was."""
    RunLog(tmp_path, ROWS[:2]).close()
    assert [line["epoch"] for line in read(tmp_path)] == ["1", "2"]


def test_tensorboard_has_the_numbers(tmp_path):
    log = RunLog(tmp_path, [])
    log.record_step(20, {"loss": 0.5, "data_seconds": 0.25})
    fill(log)
    found = scalars(tmp_path)
    assert set(found) == {"loss", "seconds", "AP", "step/loss", "step/data_seconds"}
    assert found["seconds"] == [(1, 2.0), (2, 2.5), (3, 2.5)] and found["step/loss"] == [(20, 0.5)]


def test_steps_after_the_checkpoint_are_taken_back(tmp_path):
    log = RunLog(tmp_path, [])
    for step in (10, 20, 30):
        log.record_step(step, {"loss": 0.5})
    log.close()
    log = RunLog(tmp_path, [], first_step=16)
    log.record_step(20, {"loss": 0.25})
    log.close()
    assert scalars(tmp_path)["step/loss"] == [(10, 0.5), (20, 0.25)]


def test_other_ranks_write_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(distributed, "rank", lambda: 1)
    log = RunLog(tmp_path, ROWS[:1])
    log.record_step(1, {"loss": 1.0})
    log.record_epoch()
    log.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("terminal", "rank", "shown"), [(True, 0, True), (False, 0, False), (True, 1, False)])
def test_bar_is_for_the_terminal_of_rank_0(monkeypatch, terminal, rank, shown):
    screen = io.StringIO()
    screen.isatty = lambda: terminal
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(distributed, "rank", lambda: rank)
    assert list(progress(iter("abc"), "letters", 3)) == ["a", "b", "c"]
    assert ("letters" in screen.getvalue()) is shown


def test_summary_is_one_line():
    assert summary({"epoch": 2, "loss": 1.23456, "lr": 0.00001}) == "epoch 2  loss 1.235  lr 1e-05"
