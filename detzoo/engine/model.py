"""From a run's config to a model ready to be trained, and what trains it."""

import logging
from collections.abc import Sequence
from pathlib import Path

import torch

from .. import distributed
from ..categories import Categories
from ..lookup import split_part
from ..models import SSD, build_ssd, get_weight
from ..models.checkpoint import checkpoint_in
from ..models.config import read_config
from ..models.entry import read_weights
from ..models.weights import load_backbone_weights, load_weights
from .checkpoint import Progress
from .config import TrainConfig
from .ema import running_mean
from .optim import build_optimizer, build_schedule
from .run import Run
from .sync_norm import synchronise_batch_norm
from .train import Updater

logger = logging.getLogger("detzoo")


def build_model(config: TrainConfig, categories: Categories, device: torch.device) -> SSD:
    """Build the network for these categories, fill it with the weights to start from, freeze what is not to be trained.

    Raises:
        ConfigError: listing what is wrong with the model's config.
        ValueError: for weights that do not fit.
    """
    model = build_ssd(config.model, categories=categories)
    with distributed.main_first():  # one process downloads, the others find the file
        if config.weights:
            _load(model, config, categories)
        if config.weights_backbone:
            name, _ = split_part(read_config(config.model).backbone, "model.backbone")
            load_backbone_weights(model.backbone, name, config.weights_backbone)
    if config.trainable_layers is not None:
        model.backbone.train_last(config.trainable_layers)
    if config.sync_batch_norm:
        model = synchronise_batch_norm(model, device)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    logger.info("model with %s trained parameters, %d classes with background", f"{trained:,}", categories.num_classes)
    return model.to(device, memory_format=torch.channels_last if config.channels_last else torch.contiguous_format)


@torch.no_grad()
def check_sizes(model: SSD, sizes: Sequence[tuple[int, int]]) -> None:
    """Send one empty image of each size through the network, so that none is found too small in the middle of an epoch.

    Raises:
        ValueError: naming the first size (height, width) that the network cannot take.
    """
    training = model.training
    model.eval()
    for size in dict.fromkeys(sizes):
        try:
            model.predict(torch.zeros(1, 3, *size, device=model.preprocess.mean.device))
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise ValueError(
                f"the network cannot take images of {size[0]}x{size[1]} pixels (height x width), which model.size and "
                f"transforms.scales ask for: {reason}"
            ) from None
    model.train(training)


def build_progress(config: TrainConfig, model: SSD, run: Run, *, steps_per_epoch: int, score: str) -> Progress:
    """The model with all that changes while it is trained, before the first step or where the run's folder left it.

    Args:
        config: of the run.
        model: on its device.
        run: says whether its folder holds a run to go on with.
        steps_per_epoch: training steps.
        score: name of the metric by which the best epoch is chosen.
    """
    factor = lr_factor(config)
    optimizer = build_optimizer(model, config.optimizer, config.parameters, lr_factor=factor)
    schedule = build_schedule(optimizer, config.schedule, epochs=config.epochs, steps_per_epoch=steps_per_epoch)
    progress = Progress(
        model,
        config.model,
        optimizer,
        schedule,
        score,
        scaler=torch.amp.GradScaler(run.device.type, enabled=run.precision == "float16"),
        mean=None if config.ema.decay is None else running_mean(model, config.ema.decay, warmup=config.ema.warmup),
    )
    if run.goes_on:
        progress.resume(run.folder)
        logger.info("going on in %s after step %d", run.folder, progress.steps_done(steps_per_epoch))
    return progress


def build_updater(config: TrainConfig, progress: Progress, run: Run) -> Updater:
    """What is done with a batch. Called after `build_progress`: copies of the model are made before it is wrapped."""
    if config.compile:
        progress.model.predict = torch.compile(progress.model.predict)
    return Updater(
        run.distribute(progress.model),
        progress.optimizer,
        progress.schedule,
        run,
        progress.scaler,
        accumulate=config.accumulate,
        clip_norm=config.clip_norm,
        mean=progress.mean,
    )


def lr_factor(config: TrainConfig) -> float:
    """By how much the learning rate differs from the config's because the batch is another than its reference."""
    reference, batch = config.reference_batch_size, config.loader.batch_size
    if reference is None or reference == batch:
        return 1.0
    logger.info(
        "learning rate times %d / %d: the batch is %d images, the recipe's %d", batch, reference, batch, reference
    )
    return batch / reference


def _load(model: SSD, config: TrainConfig, categories: Categories) -> None:
    """Weights of a file, or published ones by their full name; other class names mean another class head."""
    if Path(config.weights).suffix in (".pt", ".pth") or Path(config.weights).exists():
        found = read_weights(checkpoint_in(config.weights), read_config(config.model))
    else:
        found = get_weight(config.weights).read()
    same = found.categories is None or found.categories.names == categories.names
    load_weights(model, found.state, class_head=same)
