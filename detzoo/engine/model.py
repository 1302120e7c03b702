"""From a run's config to a model ready to be trained, and what trains it."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from .. import distributed
from ..categories import Categories
from ..hub import fetch
from ..lookup import split_part
from ..models import MODELS, SSD, SSDConfig, build_ssd, get_weight, load
from ..models.classes import for_classes
from ..models.config import read_config
from ..models.entry import check_same_network, differing, found_at
from ..models.misfits import NotOfThisModel, misfits, naming
from ..models.sizes import size_problem
from ..models.weights import (
    BY_OPTION,
    Found,
    is_address,
    is_file,
    load_backbone_weights,
    load_weights,
    logits_mean_the_same,
)
from .checkpoint import Progress
from .config import TrainConfig
from .ema import running_mean
from .optim import build_optimizer, build_schedule
from .run import Run
from .sync_norm import synchronise_batch_norm
from .train import Updater

logger = logging.getLogger("detzoo")


def build_model(config: TrainConfig, categories: Categories, run: Run) -> SSD:
    """Build the network for these categories, fill it with the weights to start from, freeze what is not to be trained.

    A run that goes on needs no such weights: its own come later.

    Raises:
        ConfigError: listing what is wrong with the model's config.
        ValueError: for weights that do not fit.
    """
    model = build_ssd(config.model, categories=categories)
    with distributed.main_first():  # one process downloads, the others find the file
        if config.weights and not run.goes_on:
            _load(model, config, categories)
        if config.weights_backbone and not run.goes_on:
            name, _ = split_part(read_config(config.model).backbone, "model.backbone")
            load_backbone_weights(model.backbone, name, config.weights_backbone)
    if config.trainable_layers is not None:
        model.backbone.train_last(config.trainable_layers)
    if config.sync_batch_norm:
        model = synchronise_batch_norm(model, run.device)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    logger.info("model with %s trained parameters, %d classes with background", f"{trained:,}", categories.num_classes)
    names = categories.names if len(categories) <= 20 else (*categories.names[:20], "...")
    logger.info("classes: %s", ", ".join(names))
    return model.to(run.device, memory_format=torch.channels_last if config.channels_last else torch.contiguous_format)


def load_weights_alone(config: TrainConfig, device: torch.device) -> SSD:
    """What `weights` says, as the model that it is of, with the classes and the preprocessing it was trained with."""
    with distributed.main_first():
        model = load(config.weights, trust_parts=config.trust_parts)
    return model.to(device).eval()


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
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            if (problem := size_problem(model.backbone, model.neck, size)) is None:
                raise
            raise ValueError(f"{problem} (model.size, with transforms.scales, asks for the former)") from error
    model.train(training)


def build_progress(
    config: TrainConfig, model: SSD, run: Run, *, steps_per_epoch: int, score: str, data: str
) -> Progress:
    """The model with all that changes while it is trained, before the first step or where the run's folder left it.

    Args:
        config: of the run.
        model: on its device.
        run: says whether its folder holds a run to go on with.
        steps_per_epoch: training steps.
        score: name of the metric by which the best epoch is chosen.
        data: `fingerprint` of the training set.
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
        data,
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


def _check_numbers(theirs: dict[str, Any], ours: SSDConfig, weights: str) -> None:
    """Raise a ValueError unless the model is the one whose weights these are, with the options that make it so."""
    try:
        check_same_network(theirs, ours, weights)
    except ValueError as error:
        raise ValueError(f"{error}. To train it, say {_advice(theirs, ours)}") from error


def _advice(theirs: Mapping[str, Any], ours: SSDConfig) -> str:
    """The shortest way on the command line to a network from ours: its preset, the nearest one with changes, or ours
    with changes.
    """
    ways = [[], *([f"model={name}"] for name in MODELS)]
    starts = [ours, *(entry.config for entry in MODELS.values())]
    for way, start in zip(ways, starts, strict=True):
        way += [said for name in differing(read_config(theirs), start) for said in _said(name, theirs[name])]
    return " ".join(min(ways, key=len))


def _said(name: str, part: Any) -> list[str]:
    """A field of the model on the command line; a mapping is put into an emptied place, since Hydra merges it else."""
    whole = f"model.{name}={_flow(part)}"
    return [f"model.{name}=null", f"'{whole}'"] if isinstance(part, dict) else [f"'{whole}'"]


def _flow(value: Any) -> str:
    """Plain data as Hydra reads it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _load(model: SSD, config: TrainConfig, categories: Categories) -> None:
    """Weights of a file, or published ones by their full name. Of other classes the rows of those that both know are
    kept; another kind of loss means another class head.
    """
    found, ours = _found(config.weights), read_config(config.model)
    if found.config is not None:
        _check_numbers(found.config.as_dict(), ours, config.weights)
    same_logits = logits_mean_the_same(found.loss, ours.loss)
    named_otherwise = found.categories is not None and found.categories.names != categories.names
    with naming(config.weights):
        if named_otherwise and same_logits:
            _load_shared(model, found, ours, categories)
        else:
            load_weights(model, found.state, class_head=same_logits and not named_otherwise)


def _found(weights: str) -> Found:
    """What `weights` names, with the config of its network where somebody says it."""
    if is_address(weights):
        return found_at(fetch(weights, otherwise=BY_OPTION))
    return found_at(weights) if is_file(weights) else get_weight(weights).read()


def _load_shared(model: SSD, found: Found, config: SSDConfig, categories: Categories) -> None:
    """Weights of a detector of other classes, and of its class head what belongs to the background and to classes that
    both know by name.
    """
    theirs = build_ssd(replace(config, num_classes=None), categories=found.categories)
    if problems := misfits(theirs.state_dict(), found.state):
        raise NotOfThisModel(problems)
    load_weights(theirs, found.state)
    model.load_state_dict(for_classes(theirs, config, categories).state_dict())
    labels = categories.labels_in(found.categories)[1:]
    kept = [name for name, label in zip(categories.names, labels, strict=True) if label]
    logger.info("class head: the rows of %s and the background are kept", ", ".join(kept) or "no class")
