"""TinySSD of Dive into Deep Learning (d2l.ai, chapter "Single Shot Multibox Detection")."""

from typing import Any

from .entry import WeightsLike, make_model
from .presets import TINY_SSD
from .ssd import SSD


def tiny_ssd(
    *,
    pretrained: bool = False,
    weights: WeightsLike = None,
    weights_backbone: Any = None,
    num_classes: int | None = None,
    trainable_layers: int | None = None,
    progress: bool = True,
) -> SSD:
    """TinySSD, 1.0 M parameters: 5444 default boxes on maps of 32, 16, 8, 4 and 1 cells a side at 256 pixels.

    Args:
        pretrained: an error, since no weights are published.
        weights: the path of a checkpoint.
        weights_backbone: an error, since torchvision has none for this trunk.
        num_classes: classes with background.
        trainable_layers: stages of the trunk that are trained, of 6; all by default.
        progress: show a bar while downloading.
    """
    return make_model(
        TINY_SSD,
        None,
        pretrained=pretrained,
        weights=weights,
        weights_backbone=weights_backbone,
        num_classes=num_classes,
        trainable_layers=trainable_layers,
        finetuned_layers=None,
        progress=progress,
    )
