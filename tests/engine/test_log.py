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


def test_csv(tmp_path):
    log = RunLog(tmp_path)
    for count, row in enumerate(ROWS, start=1):
        log.record(row)
        assert [line["epoch"] for line in read(tmp_path)] == ["1", "2", "3"][:count], "it can be read at any time"
    log.close()
    first, second, third = read(tmp_path)
    assert first == {"epoch": "1", "loss": "0.333333", "seconds": "2", "AP": ""}
    assert second["loss"] == "1e-07" and second["AP"] == "nan" and third["loss"] == "1.23457e+08"
    assert {path.name for path in tmp_path.iterdir()} == {"log.csv", "tensorboard"}


def test_earlier_rows_stay(tmp_path):
    log = RunLog(tmp_path)
    log.restore(ROWS[:2])
    log.record(ROWS[2])
    log.close()
    assert [line["epoch"] for line in read(tmp_path)] == ["1", "2", "3"]


def test_tensorboard_has_the_numbers(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = RunLog(tmp_path)
    for row in ROWS:
        log.record(row)
    log.close()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert set(events.Tags()["scalars"]) == {"loss", "seconds", "AP"}
    assert [(event.step, event.value) for event in events.Scalars("seconds")] == [(1, 2.0), (2, 2.5), (3, 2.5)]


def test_other_ranks_write_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(distributed, "rank", lambda: 1)
    log = RunLog(tmp_path)
    log.record(ROWS[0])
    log.close()
    assert list(tmp_path.iterdir()) == [] and log.rows == ROWS[:1]


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
