"""SSDlite with SqueezeNet 1.1, as pytorch-ssd has it (github.com/qfgaohao/pytorch-ssd)."""

from typing import Any

from .entry import WeightsLike, make_model
from .presets import SSDLITE300_SQUEEZENET1_1
from .ssd import SSD


def ssdlite300_squeezenet1_1(
    *,
    pretrained: bool = False,
    weights: WeightsLike = None,
    weights_backbone: Any = None,
    num_classes: int | None = None,
    trainable_layers: int | None = None,
    progress: bool = True,
) -> SSD:
    """SSDlite300 with SqueezeNet 1.1, 1.9 M parameters: 2568 default boxes on maps of 17, 10, 5, 3, 2 and 1 cells a
    side.

    Args:
        pretrained: an error, since none are published.
        weights: the path of a checkpoint.
        weights_backbone: ImageNet weights for the trunk: torchvision's "IMAGENET1K_V1", or the path of a file.
        num_classes: classes with background.
        trainable_layers: stages of the trunk that are trained, of 4; all by default.
        progress: show a bar while downloading.
    """
    return make_model(
        SSDLITE300_SQUEEZENET1_1,
        None,
        pretrained=pretrained,
        weights=weights,
        weights_backbone=weights_backbone,
        num_classes=num_classes,
        trainable_layers=trainable_layers,
        finetuned_layers=None,
        progress=progress,
    )
