"""What all entry points do once they have chosen their numbers."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from ..categories import Categories
from ..lookup import split_part
from .build import build_ssd
from .config import SSDConfig
from .ssd import SSD
from .weights import WeightsEnum, load_backbone_weights, load_weights, num_classes_of, read_state_dict

WeightsLike = WeightsEnum | str | Path | None


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
        weights: a member of the catalogue, its name, or the path of a checkpoint.
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
    chosen = choose_weights(catalogue, pretrained, weights)
    if chosen is not None and weights_backbone is not None:
        raise ValueError("weights and weights_backbone exclude each other: the former contain a trunk")
    state, categories = None, None
    if chosen is not None:
        state, categories = _read(chosen, progress)
        num_classes = num_classes or num_classes_of(state, build_ssd(config).default_boxes.boxes_per_cell[0])
    fits = categories is not None and num_classes == categories.num_classes
    model = build_ssd(
        replace(config, num_classes=num_classes or config.num_classes), categories=categories if fits else None
    )
    if state is not None:
        load_weights(model, state)
    if weights_backbone is not None:
        load_backbone_weights(
            model.backbone, split_part(config.backbone, "backbone")[0], weights_backbone, progress=progress
        )
    if trainable_layers is None and (chosen is not None or weights_backbone is not None):
        trainable_layers = finetuned_layers
    if trainable_layers is not None:
        model.backbone.train_last(trainable_layers)
    return model


def choose_weights(
    catalogue: type[WeightsEnum] | None, pretrained: bool, weights: WeightsLike
) -> WeightsEnum | Path | None:
    """One member of the catalogue, one file, or None, from the two ways to ask for weights."""
    if pretrained and weights is not None:
        raise ValueError(f"pretrained=True and weights={weights!r} say two things: give one of them")
    if pretrained:
        weights = "DEFAULT"
    if isinstance(weights, WeightsEnum):
        if catalogue is None or not isinstance(weights, catalogue):
            expected = catalogue.__name__ if catalogue else "the path of a file: none are published"
            raise ValueError(f"{weights} are weights of another model: expected {expected}")
        return weights
    if isinstance(weights, str) and not _looks_like_path(weights):
        if catalogue is None:
            raise ValueError("no weights of this model are published: train it, or give weights=PATH")
        return catalogue.find(weights)
    return None if weights is None else Path(weights)


def _looks_like_path(text: str) -> bool:
    return "/" in text or "\\" in text or Path(text).suffix in (".pth", ".pt") or Path(text).is_file()


def _read(chosen: WeightsEnum | Path, progress: bool) -> tuple[dict, Categories | None]:
    if isinstance(chosen, WeightsEnum):
        return chosen.get_state_dict(progress=progress), chosen.categories
    return read_state_dict(chosen), None
