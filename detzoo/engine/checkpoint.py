"""Where a run stands: all that it takes to go on."""

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel

from .. import distributed
from ..data import DetectionDataset
from ..models import SSD, SSDConfig, build_ssd
from ..models.checkpoint import BEST, LAST, model_record, read_checkpoint, save_checkpoint
from ..models.weights import load_weights
from .train import Meter


@dataclass
class Progress:
    """A model in training, between two steps.

    Shuffling and augmentation follow from seed, epoch and image; what else is random (dropout, a part of one's own)
    follows from the states of the generators, which are kept. So a run that was stopped goes on as though it had not
    been.

    Attributes:
        model: in training, without any wrapper.
        config: what builds the model.
        optimizer: of the model's parameters.
        schedule: of the optimiser.
        score: name of the metric by which the best epoch is chosen; more is better.
        data: fingerprint of the training set; a run goes on with the one it began with.
        scaler: of gradients, enabled for float16 only.
        mean: running mean of the weights.
        epoch: whole epochs done.
        meter: state of the `Meter` of the epoch that is begun, as last saved; None between epochs.
        best: highest score so far.
        rows: what was logged so far, a row an epoch.
    """

    model: SSD
    config: SSDConfig
    optimizer: torch.optim.Optimizer
    schedule: LRScheduler
    score: str
    data: str = ""
    scaler: torch.amp.GradScaler = field(default_factory=lambda: torch.amp.GradScaler("cpu", enabled=False))
    mean: AveragedModel | None = None
    epoch: int = 0
    meter: dict[str, Any] | None = None
    best: float = float("-inf")
    rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def measured(self) -> SSD:
        """What is evaluated and kept as the best: the running mean where there is one, else the model itself."""
        return self.model if self.mean is None else self.mean.module

    def remaining(self, epochs: int, stop_after: int | None = None) -> Iterator[int]:
        """Numbers of the epochs still to do, from 1, at most `stop_after` of them."""
        last = epochs if stop_after is None else min(epochs, self.epoch + stop_after)
        yield from range(self.epoch + 1, last + 1)

    def end_epoch(self, folder: Path, row: dict[str, Any]) -> None:
        """Count the epoch of `row` as done and write `last.pt`, and `best.pt` if the score is the best so far."""
        self.epoch = row["epoch"]
        self.rows.append(row)
        score = row.get(self.score, float("-inf"))
        is_best = score > self.best or (self.score in row and self.best == float("-inf"))  # the first, though nan
        self.best = max(self.best, score)
        if is_best and distributed.is_main():
            record = model_record(self.measured, self.config)
            save_checkpoint(folder / BEST, {**record, "epoch": self.epoch, "best": self.best})
        self.save(folder)

    def steps_done(self, steps_per_epoch: int) -> int:
        """Training steps over all epochs."""
        return self.epoch * steps_per_epoch + (self.meter["done"] if self.meter else 0)

    def take_meter(self) -> Meter:
        """For the next epoch: that of the steps done already, where it was begun in an earlier session."""
        meter, self.meter = Meter(**(self.meter or {})), None
        return meter

    def save(self, folder: Path, meter: dict[str, Any] | None = None) -> None:
        """Rank 0 writes `last.pt`; all ranks must call it. `meter` is the state of the epoch that is begun."""
        self.meter = meter
        generators = distributed.gather_to_main(generator_states())
        if not distributed.is_main():
            return
        parts = {"optimizer": self.optimizer, "schedule": self.schedule, "scaler": self.scaler, "mean": self.mean}
        save_checkpoint(
            folder / LAST,
            {
                **model_record(self.model, self.config),
                **{name: None if part is None else part.state_dict() for name, part in parts.items()},
                **{name: getattr(self, name) for name in ("data", "epoch", "meter", "best", "rows")},
                "generators": generators,
            },
        )

    def resume(self, folder: Path) -> None:
        """Go on from `last.pt` of a run folder, which rank 0 reads for all.

        Raises:
            FileNotFoundError: if there is none.
            ValueError: if it belongs to another model, to other classes or to another training set.
        """
        record = distributed.from_main(read_checkpoint(folder / LAST) if distributed.is_main() else None)
        known, wanted = record["categories"], model_record(self.model, self.config)["categories"]
        if known != wanted:
            raise ValueError(
                f"{folder / LAST} was trained on other classes, {_names(known)}, than those of the data set, "
                f"{_names(wanted)}: go on with the config that the run began with, or start a new one with weights="
            )
        if record["data"] != self.data:
            raise ValueError(
                f"{folder / LAST} was trained on other images or boxes than the training set has now: put the data "
                "back as they were, or start a new run with weights="
            )
        load_weights(self.model, record["model"])
        self.optimizer.load_state_dict(record["optimizer"])
        self.schedule.load_state_dict(record["schedule"])
        self.scaler.load_state_dict(record["scaler"])
        if self.mean is not None:
            self.mean.load_state_dict(record["mean"])
        self.epoch, self.meter, self.best = record["epoch"], record["meter"], record["best"]
        self.rows[:] = record["rows"]
        if len(record["generators"]) == distributed.world_size():  # with other processes there is no same as before
            restore_generators(record["generators"][distributed.rank()])

    def best_model(self, folder: Path) -> tuple[SSD, int] | None:
        """The model of `best.pt`, on the CPU, in eval mode, and its epoch; None if no epoch was evaluated yet.

        Built from the config of this run and not from the file's, so that no file decides what code is run; rank 0
        reads it for all.
        """
        found = distributed.is_main() and (folder / BEST).is_file()
        record = distributed.from_main(read_checkpoint(folder / BEST) if found else None)
        if record is None:
            return None
        model = build_ssd(self.config, categories=self.model.categories)
        load_weights(model, record["model"])
        return model.eval(), record["epoch"]


def fingerprint(dataset: DetectionDataset) -> str:
    """A hash of what there is to learn from: sizes, boxes and labels of all images, in their order."""
    digest, annotations = hashlib.sha256(), dataset.annotations
    for column in (annotations.image_sizes, annotations.offsets, annotations.boxes, annotations.labels):
        digest.update(np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()


def generator_states() -> dict[str, Any]:
    """The states of all global random generators of this process, as plain data and tensors."""
    algorithm, keys, *position = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (algorithm, torch.from_numpy(keys.astype(np.int64)), *position),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }


def restore_generators(states: dict[str, Any]) -> None:
    """Put the generators where `generator_states` found them."""
    algorithm, keys, *position = states["numpy"]
    random.setstate(states["python"])
    np.random.set_state((algorithm, keys.numpy().astype(np.uint32), *position))
    torch.set_rng_state(states["torch"])
    if states["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])


def _names(categories: dict[str, Any] | None) -> str:
    return "without names" if categories is None else ", ".join(categories["names"])
