"""SSDlite: depthwise heads on mobile trunks. Numbers, weights, entry points."""

from dataclasses import replace
from typing import Any

from .catalogue import SSDLite320_MobileNet_V2_Weights, SSDLite320_MobileNet_V3_Large_Weights
from .entry import WeightsLike, make_model
from .presets import SSDLITE320_MOBILENET_V2, SSDLITE320_MOBILENET_V3_LARGE, SSDLITE320_MOBILENET_V3_SMALL
from .ssd import SSD


def ssdlite320_mobilenet_v3_large(
    *,
    pretrained: bool = False,
    weights: WeightsLike = None,
    weights_backbone: Any = None,
    num_classes: int | None = None,
    trainable_layers: int | None = None,
    progress: bool = True,
) -> SSD:
    """SSDlite320 with MobileNetV3-Large (arXiv:1905.02244, section 6.3): 3234 default boxes, 3.4 M parameters.

    Args:
        pretrained: the same as `weights="DEFAULT"`: torchvision's COCO weights, 21.3 AP.
        weights: a member of `SSDLite320_MobileNet_V3_Large_Weights`, its name, or the path of a checkpoint.
        weights_backbone: ImageNet weights for the trunk: torchvision's "IMAGENET1K_V1" or "..._V2", or the path of a
            file. They belong to the full tail, which replaces the reduced one then.
        num_classes: classes with background. Another number than that of the weights keeps all but the class head.
        trainable_layers: stages of the trunk that are trained, of 6; all by default.
        progress: show a bar while downloading.
    """
    config = SSDLITE320_MOBILENET_V3_LARGE
    if weights_backbone is not None:
        config = replace(config, backbone={**config.backbone, "reduced_tail": False})
    return make_model(
        config,
        SSDLite320_MobileNet_V3_Large_Weights,
        pretrained=pretrained,
        weights=weights,
        weights_backbone=weights_backbone,
        num_classes=num_classes,
        trainable_layers=trainable_layers,
        finetuned_layers=None,
        progress=progress,
    )


def ssdlite320_mobilenet_v3_small(
    *,
    pretrained: bool = False,
    weights: WeightsLike = None,
    weights_backbone: Any = None,
    num_classes: int | None = None,
    trainable_layers: int | None = None,
    progress: bool = True,
) -> SSD:
    """SSDlite320 with MobileNetV3-Small (arXiv:1905.02244, section 6.3): 3234 default boxes, 1.9 M parameters.

    Args:
        pretrained: an error, since none are published.
        weights: the path of a checkpoint.
        weights_backbone: ImageNet weights for the trunk: torchvision's "IMAGENET1K_V1", or the path of a file. They
            belong to the full tail, which replaces the reduced one then.
        num_classes: classes with background.
        trainable_layers: stages of the trunk that are trained, of 6; all by default.
        progress: show a bar while downloading.
    """
    config = SSDLITE320_MOBILENET_V3_SMALL
    if weights_backbone is not None:
        config = replace(config, backbone={**config.backbone, "reduced_tail": False})
    return make_model(
        config,
        None,
        pretrained=pretrained,
        weights=weights,
        weights_backbone=weights_backbone,
        num_classes=num_classes,
        trainable_layers=trainable_layers,
        finetuned_layers=None,
        progress=progress,
    )


def ssdlite320_mobilenet_v2(
    *,
    pretrained: bool = False,
    weights: WeightsLike = None,
    weights_backbone: Any = None,
    num_classes: int | None = None,
    trainable_layers: int | None = None,
    progress: bool = True,
) -> SSD:
    """SSDlite320 with MobileNetV2 (arXiv:1801.04381, section 6.2): 3234 default boxes, 4.7 M parameters.

    Args:
        pretrained: the same as `weights="DEFAULT"`: MMDetection's for COCO, 21.3 AP, with its first map and
            default boxes.
        weights: a member of `SSDLite320_MobileNet_V2_Weights`, its name, or the path of a checkpoint.
        weights_backbone: ImageNet weights for the trunk: torchvision's "IMAGENET1K_V1" or "..._V2", or the path of a
            file.
        num_classes: classes with background.
        trainable_layers: stages of the trunk that are trained, of 6; all by default.
        progress: show a bar while downloading.
    """
    return make_model(
        SSDLITE320_MOBILENET_V2,
        SSDLite320_MobileNet_V2_Weights,
        pretrained=pretrained,
        weights=weights,
        weights_backbone=weights_backbone,
        num_classes=num_classes,
        trainable_layers=trainable_layers,
        finetuned_layers=None,
        progress=progress,
    )
