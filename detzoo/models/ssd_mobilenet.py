"""SSD and SSDlite with MobileNetV1 and V2, as pytorch-ssd has them (github.com/qfgaohao/pytorch-ssd)."""

from typing import Any

from .catalogue import SSD300_MobileNet_V1_Weights, SSDLite300_MobileNet_V2_Weights
from .entry import WeightsLike, make_model
from .presets import SSD300_MOBILENET_V1, SSDLITE300_MOBILENET_V1, SSDLITE300_MOBILENET_V2
from .ssd import SSD


def ssd300_mobilenet_v1(
    *,
    pretrained: bool = False,
    weights: WeightsLike = None,
    weights_backbone: Any = None,
    num_classes: int | None = None,
    trainable_layers: int | None = None,
    progress: bool = True,
) -> SSD:
    """SSD300 with MobileNetV1, 9.5 M parameters: 3000 default boxes on maps of 19, 10, 5, 3, 2 and 1 cells a side.

    Args:
        pretrained: the same as `weights="DEFAULT"`: pytorch-ssd's for VOC, 67.55 mAP.
        weights: a member of `SSD300_MobileNet_V1_Weights`, its name, or the path of a checkpoint.
        weights_backbone: an error, since torchvision has none for this trunk.
        num_classes: classes with background.
        trainable_layers: stages of the trunk that are trained, of 5; all by default.
        progress: show a bar while downloading.
    """
    return make_model(
        SSD300_MOBILENET_V1,
        SSD300_MobileNet_V1_Weights,
        pretrained=pretrained,
        weights=weights,
        weights_backbone=weights_backbone,
        num_classes=num_classes,
        trainable_layers=trainable_layers,
        finetuned_layers=None,
        progress=progress,
    )


def ssdlite300_mobilenet_v1(
    *,
    pretrained: bool = False,
    weights: WeightsLike = None,
    weights_backbone: Any = None,
    num_classes: int | None = None,
    trainable_layers: int | None = None,
    progress: bool = True,
) -> SSD:
    """SSDlite300 with MobileNetV1, 4.3 M parameters; arguments are those of `ssd300_mobilenet_v1`, but that
    nobody has published weights.
    """
    return make_model(
        SSDLITE300_MOBILENET_V1,
        None,
        pretrained=pretrained,
        weights=weights,
        weights_backbone=weights_backbone,
        num_classes=num_classes,
        trainable_layers=trainable_layers,
        finetuned_layers=None,
        progress=progress,
    )


def ssdlite300_mobilenet_v2(
    *,
    pretrained: bool = False,
    weights: WeightsLike = None,
    weights_backbone: Any = None,
    num_classes: int | None = None,
    trainable_layers: int | None = None,
    progress: bool = True,
) -> SSD:
    """SSDlite300 with MobileNetV2, 3.4 M parameters: 3000 default boxes on maps of 19, 10, 5, 3, 2 and 1 cells a side.

    Args:
        pretrained: the same as `weights="DEFAULT"`: pytorch-ssd's for VOC, 68.61 mAP.
        weights: a member of `SSDLite300_MobileNet_V2_Weights`, its name, or the path of a checkpoint.
        weights_backbone: ImageNet weights for the trunk: torchvision's "IMAGENET1K_V1" or "..._V2", or the path of a
            file.
        num_classes: classes with background.
        trainable_layers: stages of the trunk that are trained, of 6; all by default.
        progress: show a bar while downloading.
    """
    return make_model(
        SSDLITE300_MOBILENET_V2,
        SSDLite300_MobileNet_V2_Weights,
        pretrained=pretrained,
        weights=weights,
        weights_backbone=weights_backbone,
        num_classes=num_classes,
        trainable_layers=trainable_layers,
        finetuned_layers=None,
        progress=progress,
    )
