"""SSD with EfficientNet-B3, as lufficc/SSD has it (github.com/lufficc/SSD)."""

from typing import Any

from .catalogue import SSD300_EfficientNet_B3_Weights
from .entry import WeightsLike, make_model
from .presets import SSD300_EFFICIENTNET_B3
from .ssd import SSD


def ssd300_efficientnet_b3(
    *,
    pretrained: bool = False,
    weights: WeightsLike = None,
    weights_backbone: Any = None,
    num_classes: int | None = None,
    trainable_layers: int | None = None,
    progress: bool = True,
) -> SSD:
    """SSD300 with EfficientNet-B3, 12.7 M parameters: 8732 default boxes on maps of 38, 19, 10, 5, 3 and 1 cells.

    Args:
        pretrained: the same as `weights="DEFAULT"`: lufficc's for VOC, 73.9 mAP.
        weights: a member of `SSD300_EfficientNet_B3_Weights`, its name, or the path of a checkpoint.
        weights_backbone: an error, since this trunk pads as TensorFlow does, and torchvision's does not.
        num_classes: classes with background.
        trainable_layers: stages of the trunk that are trained; all by default.
        progress: show a bar while downloading.
    """
    return make_model(
        SSD300_EFFICIENTNET_B3,
        SSD300_EfficientNet_B3_Weights,
        pretrained=pretrained,
        weights=weights,
        weights_backbone=weights_backbone,
        num_classes=num_classes,
        trainable_layers=trainable_layers,
        finetuned_layers=None,
        progress=progress,
    )
