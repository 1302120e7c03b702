"""The training loop, the only one."""

import logging
import math
import time

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader

from .. import distributed
from ..data import Batch
from .log import progress
from .run import Run

logger = logging.getLogger("detzoo")


def train_one_epoch(
    trainee: nn.Module,
    loader: DataLoader,
    optimizer: torch.optim.Optimizer,
    schedule: LRScheduler,
    *,
    run: Run,
    epoch: int,
    log_every: int,
) -> dict[str, float]:
    """One pass over the training set; the epoch's mean losses, learning rate and seconds.

    Args:
        trainee: the model, or its distributed wrapper.
        loader: of `training_loader`.
        optimizer: of the trainee's parameters.
        schedule: stepped after every step.
        run: device and precision.
        epoch: number of this epoch, from 1.
        log_every: steps between lines, where standard error is no terminal and there is no bar.

    Raises:
        FloatingPointError: naming the images of the batch, if the loss is not finite.
    """
    trainee.train()
    loader.batch_sampler.epoch = epoch
    steps = len(loader)
    meter = Meter()
    bar = progress(loader, f"epoch {epoch}", steps)
    for step, batch in enumerate(bar, start=1):
        meter.data_is_there()
        losses = train_step(trainee, batch, optimizer, run, loader)
        schedule.step()
        meter.step_is_done(losses)
        if not bar.disable:
            bar.set_postfix_str(str(meter), refresh=False)
        elif step % log_every == 0:
            logger.info("epoch %d step %d/%d  lr %.3g  %s", epoch, step, steps, schedule.get_last_lr()[0], meter)
    return {**meter.means(), "lr": schedule.get_last_lr()[0], "seconds": meter.seconds()}


def train_step(
    trainee: nn.Module, batch: Batch, optimizer: torch.optim.Optimizer, run: Run, loader: DataLoader
) -> dict[str, float]:
    """Forward, backward, update; the losses as numbers."""
    with run.autocast():
        losses: dict[str, Tensor] = trainee(batch.images.to(run.device, non_blocking=True), batch.targets)
    total = torch.stack(list(losses.values())).sum()
    optimizer.zero_grad(set_to_none=True)
    total.backward()
    numbers = torch.stack([total, *losses.values()]).tolist()  # the one place where a GPU is waited for
    values = dict(zip(("loss", *losses), numbers, strict=True))
    if not math.isfinite(values["loss"]):
        raise FloatingPointError(_diverged(values, batch, loader))
    optimizer.step()
    return values


def _diverged(values: dict[str, float], batch: Batch, loader: DataLoader) -> str:
    names = [loader.dataset.dataset.name(index) for index in batch.indices.tolist()]
    return (
        f"the loss is not finite ({values}); nothing was changed by this step. "
        f"Images of the batch: {', '.join(names)}. "
        "Lower optimizer.lr or raise schedule.warmup_steps if this comes early; look at these images otherwise"
    )


class Meter:
    """Means of the losses over an epoch, and where its time went."""

    def __init__(self) -> None:
        self.sums: dict[str, float] = {}
        self.done = 0
        self.waited = 0.0  # seconds for data
        self.start = self.last = time.perf_counter()

    def data_is_there(self) -> None:
        self.waited += time.perf_counter() - self.last

    def step_is_done(self, losses: dict[str, float]) -> None:
        self.done += 1
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.last = time.perf_counter()

    def seconds(self) -> float:
        """Since the epoch began."""
        return self.last - self.start

    def means(self) -> dict[str, float]:
        """Mean losses over steps and ranks."""
        means = distributed.mean([value / self.done for value in self.sums.values()])
        return dict(zip(self.sums, means, strict=True))

    def __str__(self) -> str:
        losses = "  ".join(f"{name} {value / self.done:.3f}" for name, value in self.sums.items())
        return f"{losses}  {self.seconds() / self.done:.3f} s a step, {self.waited / self.done:.3f} of it for data"
