"""What all entry points do once they have chosen their numbers."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..hub import fetch
from ..importers.readers import read_container
from ..lookup import split_part
from .build import build_ssd, spelt_out
from .checkpoint import categories_of, check_fits, checkpoint_in, foreign_parts, record_in
from .config import SSDConfig, read_config
from .misfits import naming
from .ssd import SSD
from .weights import (
    BY_OPTION,
    Found,
    WeightsEnum,
    found_in,
    is_address,
    is_file,
    load_backbone_weights,
    load_weights,
    logits_mean_the_same,
    num_classes_of,
)

WeightsLike = WeightsEnum | str | Path | None
NETWORK = ("backbone", "neck", "default_boxes", "head", "coder", "size")  # fields that give weights their meaning


def make_model(
    config: SSDConfig,
    catalogue: type[WeightsEnum] | None,
    *,
    pretrained: bool,
    weights: WeightsLike,
    weights_backbone: Any,
    num_classes: int | None,
    trainable_layers: int | None,
    finetuned_layers: int | None,
    progress: bool,
) -> SSD:
    """Build a preset and fill it with weights.

    Args:
        config: the preset.
        catalogue: the enum of its published weights, None where there are none.
        pretrained: the same as `weights="DEFAULT"`.
        weights: a member of the catalogue, its name, or the path of a checkpoint or run folder; another project's file
            brings the numbers that belong to it.
        weights_backbone: ImageNet weights for the trunk: a member of torchvision's enum, its name, or the path of a
            file.
        num_classes: classes with background; by default those of the weights, else the preset's.
        trainable_layers: stages of the trunk that are trained, counted from its end; by default all of them from
            scratch, and `finetuned_layers` with weights of either kind.
        finetuned_layers: see there; None for all.
        progress: show a bar while downloading.

    Raises:
        ValueError: for contradictory or unknown weights.
        DownloadError: if a file cannot be had.
    """
    chosen = choose_weights(catalogue, pretrained, weights, progress)
    if chosen is not None and weights_backbone is not None:
        raise ValueError("weights and weights_backbone exclude each other: the former contain a trunk")
    found = _read(chosen, config, progress) if chosen is not None else None
    foreign = found is not None and found.config is not None and not found.own
    if foreign:
        config = _numbers_of(found.config, config, chosen)
        with naming(str(chosen)):
            check_fits(config, found.state)
    if found is not None and not logits_mean_the_same(found.loss, config.loss):
        raise ValueError(
            f"{chosen} was trained with another kind of loss, {found.loss}: its logits mean something else than this "
            f"model takes them for; detzoo.load({str(chosen)!r}) builds the model that it was trained as"
        )
    if num_classes is None and found is not None and not foreign:
        num_classes = num_classes_of(found.state, _boxes_per_cell(config))
    if num_classes is not None:
        config = replace(config, num_classes=num_classes)
    named = found is not None and found.categories is not None and found.categories.num_classes == config.num_classes
    model = build_ssd(config, categories=found.categories if named else None)
    if found is not None:
        with naming(str(chosen)):
            load_weights(model, found.state)
    if weights_backbone is not None:
        name, _ = split_part(config.backbone, "backbone")
        load_backbone_weights(model.backbone, name, weights_backbone, progress=progress)
    if trainable_layers is None and (found is not None or weights_backbone is not None):
        trainable_layers = finetuned_layers
    if trainable_layers is not None:
        model.backbone.train_last(trainable_layers)
    return model


def choose_weights(
    catalogue: type[WeightsEnum] | None, pretrained: bool, weights: WeightsLike, progress: bool = True
) -> WeightsEnum | Path | None:
    """One member of the catalogue, one file, or None, from the two ways to ask for weights; an address is fetched."""
    if pretrained and weights is not None:
        raise ValueError(f"pretrained=True and weights={weights!r} say two things: give one of them")
    if pretrained:
        weights = "DEFAULT"
    if isinstance(weights, WeightsEnum):
        if catalogue is None or not isinstance(weights, catalogue):
            expected = catalogue.__name__ if catalogue else "the path of a file: none are published"
            raise ValueError(f"{weights} are weights of another model: expected {expected}")
        return weights
    if is_address(weights):
        return fetch(weights, progress=progress, otherwise=BY_OPTION)
    if isinstance(weights, str) and not is_file(weights):
        if catalogue is None:
            raise ValueError("no weights of this model are published: train it, or give weights=PATH")
        return catalogue.find(weights)
    return None if weights is None else Path(weights)


def _numbers_of(found: SSDConfig, preset: SSDConfig, chosen: WeightsEnum | Path) -> SSDConfig:
    """The config that belongs to another project's weights; a file of them must be of the preset's trunk and size."""
    theirs, ours = (_kind(config) for config in (found, preset))
    if isinstance(chosen, Path) and theirs != ours:
        raise ValueError(
            f"{chosen} is a detector with {theirs}, this model has {ours}: detzoo.load({str(chosen)!r}) builds what it "
            "is"
        )
    return found


def _kind(config: SSDConfig) -> str:
    """What the names of the zoo say of a model."""
    height, width = config.size
    return f"the trunk {split_part(config.backbone, 'backbone')[0]} and an input of {height} x {width} pixels"


def _read(chosen: WeightsEnum | Path, config: SSDConfig, progress: bool) -> Found:
    if isinstance(chosen, WeightsEnum):
        return chosen.read(progress=progress)
    return read_weights(chosen, config)


def read_weights(path: Path, config: SSDConfig) -> Found:
    """Weights of a file for the network of a config; labels mean what the file says, or by custom its origin's.

    Raises:
        FileNotFoundError: if it is not there.
        ValueError: for a file that cannot be read, or a checkpoint of a network with other default boxes or the like.
    """
    found = found_at(path)
    if found.own:
        check_same_network(found.config.as_dict(), config, checkpoint_in(path))
    return found


def found_at(path: str | Path) -> Found:
    """Weights of a file, with the config of the network that they are of where somebody says it.

    Raises:
        FileNotFoundError: if it is not there.
        ValueError: for a file that cannot be read, or whose weights are not those that it says they are.
    """
    container = read_container(checkpoint_in(path))
    record = record_in(container)
    if record is None:
        return found_in(container)
    config, categories = read_config(record["config"]), categories_of(record)
    if not foreign_parts(record["config"]):
        with naming(container.path):
            check_fits(config, record["model"], categories)
    return Found(record["model"], categories, config.loss, config, own=True)


def check_same_network(trained: Mapping[str, Any], config: SSDConfig, path: str | Path) -> None:
    """Equal shapes hide different default boxes: what gives the numbers their meaning must be the same.

    Raises:
        ValueError: naming the fields of the config that differ.
    """
    if other := differing(read_config(trained), config):
        raise ValueError(
            f"{path} was trained with another {', '.join(other)} than this model has: detzoo.load({str(path)!r}) "
            "builds the model that it was trained as, and `detzoo inspect` prints its numbers"
        )


def differing(config: SSDConfig, other: SSDConfig) -> list[str]:
    """The fields that give weights their meaning and are not the same, however they are written."""
    mine, theirs = spelt_out(config), spelt_out(other)
    return [name for name in NETWORK if mine[name] != theirs[name]]


def _boxes_per_cell(config: SSDConfig) -> int:
    """Default boxes in a cell of the first level."""
    with torch.device("meta"):  # no weights are drawn
        return build_ssd(replace(config, num_classes=2)).default_boxes.boxes_per_cell[0]
