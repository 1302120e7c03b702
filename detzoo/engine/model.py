"""From a run's config to a model ready to be trained."""

import logging
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
from .config import TrainConfig

logger = logging.getLogger("detzoo")


def build_model(config: TrainConfig, categories: Categories, device: torch.device) -> SSD:
    """Build the network for these categories, fill it with the weights to start from, freeze what is not to be trained.

    Raises:
        ConfigError: listing what is wrong with the model's config.
        ValueError: for weights that do not fit, or weights and backbone weights at once.
    """
    if config.weights and config.weights_backbone:
        raise ValueError("weights and weights_backbone exclude each other: the former contain a trunk")
    model = build_ssd(config.model, categories=categories)
    with distributed.main_first():  # one process downloads, the others find the file
        if config.weights:
            _load(model, config, categories)
        if config.weights_backbone:
            name, _ = split_part(read_config(config.model).backbone, "model.backbone")
            load_backbone_weights(model.backbone, name, config.weights_backbone)
    if config.trainable_layers is not None:
        model.backbone.train_last(config.trainable_layers)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    logger.info("model with %s trained parameters, %d classes with background", f"{trained:,}", categories.num_classes)
    return model.to(device, memory_format=torch.channels_last if config.channels_last else torch.contiguous_format)


def _load(model: SSD, config: TrainConfig, categories: Categories) -> None:
    """Weights of a file, or published ones by their full name; other class names mean another class head."""
    if Path(config.weights).suffix in (".pt", ".pth") or Path(config.weights).exists():
        found = read_weights(checkpoint_in(config.weights), read_config(config.model))
    else:
        found = get_weight(config.weights).read()
    same = found.categories is None or found.categories.names == categories.names
    load_weights(model, found.state, class_head=same)
