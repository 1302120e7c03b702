"""From a run's config to a model ready to be trained."""

import logging
from pathlib import Path

import torch

from ..categories import Categories
from ..lookup import split_part
from ..models import SSD, build_ssd, get_weight
from ..models.config import read_config
from ..models.weights import StateDict, load_backbone_weights, load_weights, read_state_dict
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
    if config.weights:
        load_weights(model, _state_dict(config.weights))
    if config.weights_backbone:
        name, _ = split_part(read_config(config.model).backbone, "model.backbone")
        load_backbone_weights(model.backbone, name, config.weights_backbone)
    if config.trainable_layers is not None:
        model.backbone.train_last(config.trainable_layers)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    logger.info("model with %s trained parameters, %d classes with background", f"{trained:,}", categories.num_classes)
    return model.to(device, memory_format=torch.channels_last if config.channels_last else torch.contiguous_format)


def _state_dict(weights: str) -> StateDict:
    """Of a file, or of published weights by their full name."""
    if Path(weights).suffix in (".pt", ".pth") or Path(weights).exists():
        return read_state_dict(weights)
    return get_weight(weights).get_state_dict()
