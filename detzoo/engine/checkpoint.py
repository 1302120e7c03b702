"""Where a run stands: all that it takes to go on."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.optim.lr_scheduler import LRScheduler

from .. import distributed
from ..models import SSD, SSDConfig
from ..models.checkpoint import BEST, LAST, model_record, read_checkpoint, save_checkpoint
from ..models.weights import load_weights


@dataclass
class Progress:
    """A model in training, between two epochs.

    Shuffling and augmentation follow from seed and epoch, and nothing else is random in training, so a run that was
    stopped goes on as though it had not been.

    Attributes:
        model: in training, without any wrapper.
        config: what builds the model.
        optimizer: of the model's parameters.
        schedule: of the optimiser.
        score: name of the metric by which the best epoch is chosen; more is better.
        epoch: epochs done.
        best: highest score so far.
        rows: what was logged so far, a row an epoch.
    """

    model: SSD
    config: SSDConfig
    optimizer: torch.optim.Optimizer
    schedule: LRScheduler
    score: str
    epoch: int = 0
    best: float = float("-inf")
    rows: list[dict[str, Any]] = field(default_factory=list)

    def remaining(self, epochs: int, stop_after: int | None = None) -> Iterator[int]:
        """Numbers of the epochs still to do, from 1, at most `stop_after` of them."""
        last = epochs if stop_after is None else min(epochs, self.epoch + stop_after)
        yield from range(self.epoch + 1, last + 1)

    def save(self, folder: Path, row: dict[str, Any]) -> None:
        """Count the epoch of `row` as done; rank 0 writes `last.pt`, and `best.pt` if the score is the best so far."""
        self.epoch = row["epoch"]
        self.rows.append(row)
        is_best = row.get(self.score, float("-inf")) > self.best
        self.best = max(self.best, row.get(self.score, float("-inf")))
        if not distributed.is_main():
            return
        record = {**model_record(self.model, self.config), "epoch": self.epoch, "best": self.best}
        if is_best:
            save_checkpoint(folder / BEST, record)
        state = {"optimizer": self.optimizer.state_dict(), "schedule": self.schedule.state_dict(), "rows": self.rows}
        save_checkpoint(folder / LAST, {**record, **state})

    def resume(self, folder: Path) -> None:
        """Go on from `last.pt` of a run folder.

        Raises:
            FileNotFoundError: if there is none.
            ValueError: if it belongs to another model, or to other classes.
        """
        record = read_checkpoint(folder / LAST)
        known, wanted = record["categories"], model_record(self.model, self.config)["categories"]
        if known != wanted:
            raise ValueError(
                f"{folder / LAST} was trained on other classes, {_names(known)}, than those of the data set, "
                f"{_names(wanted)}: go on with the config that the run began with, or start a new one with weights="
            )
        load_weights(self.model, record["model"])
        self.optimizer.load_state_dict(record["optimizer"])
        self.schedule.load_state_dict(record["schedule"])
        self.epoch, self.best, self.rows = record["epoch"], record["best"], record["rows"]


def _names(categories: dict[str, Any] | None) -> str:
    return "without names" if categories is None else ", ".join(categories["names"])
