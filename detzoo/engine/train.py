"""The training loop, the only one."""

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel

from .. import distributed
from ..data import Batch, TrainingLoader
from ..structures import PaddedTargets
from .log import RunLog, progress
from .run import Run

logger = logging.getLogger("detzoo")


@dataclass
class Updater:
    """Forward, backward, update: one step of the optimiser.

    Attributes:
        trainee: the model, or its distributed wrapper.
        optimizer: of the trainee's parameters.
        schedule: stepped after every step.
        scaler: of gradients, enabled for float16 only.
        run: device and precision.
        accumulate: parts in which a batch is computed.
        clip_norm: limit of the norm of all gradients together.
        mean: running mean of the weights.
    """

    trainee: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: LRScheduler
    run: Run
    scaler: torch.amp.GradScaler
    accumulate: int = 1
    clip_norm: float | None = None
    mean: AveragedModel | None = None

    def step(self, batch: Batch) -> dict[str, float]:
        """Learn from a batch; the losses as numbers, those of the batch of all processes.

        Raises:
            FloatingPointError: if the loss or a gradient is not finite; no weight was changed then, in any process.
            ValueError: if batch norm is given a single value.
        """
        self.optimizer.zero_grad(set_to_none=True)
        losses = [self._backward(images, targets, last) for images, targets, last in self._parts(batch)]
        names, columns = losses[0].keys(), zip(*(part.values() for part in losses), strict=True)
        means = torch.stack([torch.stack(column).mean() for column in columns])
        norm = self._gradient_norm()
        told = distributed.mean_tensor(torch.stack((means.sum(), *means, norm)))
        *numbers, length = told.tolist()  # the one place where a GPU is waited for
        values = dict(zip(("loss", *names), numbers, strict=True))
        if not math.isfinite(values["loss"]):
            raise FloatingPointError(f"the loss is not finite ({values}); no weight was changed by this step")
        if not math.isfinite(length) and not self.scaler.is_enabled():  # a scaler leaves such a step out, and goes on
            raise FloatingPointError(f"gradients are not finite ({values}); no weight was changed by this step")
        self._update(norm)
        return values

    def learning_rate(self) -> float:
        """Of the weights, in the next step."""
        return self.schedule.get_last_lr()[0]

    def _parts(self, batch: Batch) -> Iterator[tuple[Tensor, PaddedTargets, bool]]:
        """Images and targets of each part, and whether it is the last."""
        images = batch.images.to(self.run.device, non_blocking=True)
        columns = [images, *batch.targets]
        parts = list(zip(*(column.tensor_split(self.accumulate) for column in columns), strict=True))
        for number, (part, *targets) in enumerate(parts, start=1):
            yield part, PaddedTargets(*targets), number == len(parts)

    def _backward(self, images: Tensor, targets: PaddedTargets, last: bool) -> dict[str, Tensor]:
        with self._gradients_stay_here(not last):
            with self.run.autocast():
                losses = self._losses(images, targets)
            total = torch.stack(list(losses.values())).sum() / self.accumulate
            self.scaler.scale(total).backward()
        return {name: value.detach() for name, value in losses.items()}

    def _losses(self, images: Tensor, targets: PaddedTargets) -> dict[str, Tensor]:
        try:
            return self.trainee(images, targets)
        except ValueError as error:
            if len(images) > 1 or "more than 1 value per channel" not in str(error):
                raise
            raise ValueError(
                "batch norm cannot learn from one image whose last map is one cell: give each process and each part of "
                "a step two or more, with a larger loader.batch_size, a smaller accumulate or fewer processes"
            ) from error

    def _gradients_stay_here(self, stay: bool) -> AbstractContextManager:
        """Processes exchange gradients once a step, with the last part."""
        several = isinstance(self.trainee, DistributedDataParallel)
        return self.trainee.no_sync() if several and stay else nullcontext()

    def _parameters(self) -> list[Tensor]:
        return [p for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]

    def _gradient_norm(self) -> Tensor:
        """Of all gradients together; they are the same in all processes."""
        self.scaler.unscale_(self.optimizer)
        return nn.utils.get_total_norm([p.grad for p in self._parameters()]).float()

    def _update(self, norm: Tensor) -> None:
        if self.clip_norm is not None:
            nn.utils.clip_grads_with_norm_(self._parameters(), self.clip_norm, norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.step()
        if self.mean is not None:
            self.mean.update_parameters(unwrapped(self.trainee))


def unwrapped(trainee: nn.Module) -> nn.Module:
    """The model inside its distributed wrapper."""
    return trainee.module if isinstance(trainee, DistributedDataParallel) else trainee


def train_one_epoch(
    updater: Updater,
    loader: TrainingLoader,
    *,
    epoch: int,
    meter: "Meter | None" = None,
    log: RunLog | None = None,
    log_every: int = 50,
    after_step: Callable[["Meter"], None] | None = None,
) -> dict[str, float]:
    """The rest of a pass over the training set; the epoch's mean losses, learning rate and seconds.

    Args:
        updater: what is done with a batch.
        loader: of `training_loader`.
        epoch: number of this epoch, from 1.
        meter: what is known of the steps of this epoch that are done already; None at its beginning.
        log: takes the numbers of single steps.
        log_every: steps between its entries, and between lines where standard error is no terminal and has no bar.
        after_step: called after each step.

    Raises:
        FloatingPointError: naming the images of the batch, if the loss is not finite.
    """
    meter = meter or Meter()
    updater.trainee.train()
    loader.begin(epoch, first=meter.done)
    steps = len(loader)
    meter.start()
    bar = progress(loader, f"epoch {epoch}", steps, done=meter.done)
    for step, batch in enumerate(bar, start=meter.done + 1):
        meter.data_is_there()
        rate = updater.learning_rate()
        losses = _named(updater, batch, loader)
        meter.step_is_done(losses)
        if log is not None and step % log_every == 0:
            log.record_step((epoch - 1) * steps + step, {**losses, "lr": rate, **meter.times()})
        if not bar.disable:
            bar.set_postfix_str(str(meter), refresh=False)
        elif step % log_every == 0:
            logger.info("epoch %d step %d/%d  lr %.3g  %s", epoch, step, steps, rate, meter)
        if after_step is not None:
            after_step(meter)
            meter.start()  # writing a checkpoint is neither a step nor waiting for data
    return {**meter.means(), "lr": updater.learning_rate(), "seconds": meter.seconds}


def _named(updater: Updater, batch: Batch, loader: TrainingLoader) -> dict[str, float]:
    """A step; if it fails, the images of the batch are named."""
    try:
        return updater.step(batch)
    except FloatingPointError as error:
        names = [loader.source.name(index) for index in batch.indices.tolist()]
        raise FloatingPointError(
            f"{error}. Images of the batch: {', '.join(names)}. "
            "Lower optimizer.lr or raise schedule.warmup_steps if this comes early; look at these images otherwise"
        ) from None


class Meter:
    """Means of the losses over an epoch, and where its time went.

    Attributes:
        done: steps of the epoch.
        sums: of the losses over them, by name.
        seconds: that they took, over all sessions.
        waited: seconds of these for data.
    """

    def __init__(
        self, done: int = 0, sums: dict[str, float] | None = None, seconds: float = 0.0, waited: float = 0.0
    ) -> None:
        self.done = done
        self.sums = dict(sums or {})
        self.seconds = seconds
        self.waited = waited
        self._last = time.perf_counter()

    def start(self) -> None:
        """Time counts from here on."""
        self._last = time.perf_counter()

    def data_is_there(self) -> None:
        self.waited += time.perf_counter() - self._last

    def step_is_done(self, losses: dict[str, float]) -> None:
        self.done += 1
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        now = time.perf_counter()
        self.seconds += now - self._last
        self._last = now

    def means(self) -> dict[str, float]:
        """Mean losses over the steps."""
        return {name: value / self.done for name, value in self.sums.items()}

    def state(self) -> dict[str, Any]:
        """The arguments of an equal meter."""
        return {"done": self.done, "sums": dict(self.sums), "seconds": self.seconds, "waited": self.waited}

    def times(self) -> dict[str, float]:
        """Mean seconds of a step, and those of them for data."""
        return {"step_seconds": self.seconds / self.done, "data_seconds": self.waited / self.done}

    def __str__(self) -> str:
        losses = "  ".join(f"{name} {value:.3f}" for name, value in self.means().items())
        return f"{losses}  {self.seconds / self.done:.3f} s a step, {self.waited / self.done:.3f} of it for data"
