"""SSD and SSDlite with MobileNetV1 and V2, as pytorch-ssd has them (github.com/qfgaohao/pytorch-ssd)."""

from dataclasses import replace
from typing import Any

from .catalogue import SSD300_MobileNet_V1_Weights, SSDLite300_MobileNet_V2_Weights
from .config import SSDConfig
from .entry import WeightsLike, make_model
from .ssd import SSD

SSD300_MOBILENET_V1 = SSDConfig(
    backbone={"name": "mobilenet_v1", "extras": "ssd", "width": 1.0},
    default_boxes={
        "name": "sizes",
        "min_sizes": (60, 105, 150, 195, 240, 285),
        "max_sizes": (105, 150, 195, 240, 285, 330),
        "aspect_ratios": ((2, 3),) * 6,
        "steps": (16, 32, 64, 100, 150, 300),
        "clip": "centres_and_sizes",
    },
    size=(300, 300),
    num_classes=21,
    head={"name": "ssd"},
    matcher={"name": "ssd", "iou_threshold": 0.5},
    coder={"name": "centre_size", "max_log_size": None},
    loss={
        "name": "multibox",
        "negatives_per_positive": 3.0,
        "minimum_negatives": 0,
        "box": "smooth_l1",
        "box_weight": 1.0,
    },
    preprocess={
        "name": "warp",  # (x - 127) / 128 of bytes
        "mean": (127 / 255, 127 / 255, 127 / 255),
        "std": (128 / 255, 128 / 255, 128 / 255),
        "resize": "bilinear",
    },
    postprocess={
        "name": "nms",
        "score_threshold": 0.01,
        "iou_threshold": 0.45,
        "top_k": 200,
        "detections_per_image": 4000,  # no limit there: 200 of each of VOC's 20 classes
    },
)

SSDLITE300_MOBILENET_V1 = replace(
    SSD300_MOBILENET_V1,
    backbone={"name": "mobilenet_v1", "extras": "ssdlite", "width": 1.0},
    head={"name": "ssdlite_biased", "norm": False},
)

SSDLITE300_MOBILENET_V2 = replace(
    SSD300_MOBILENET_V1,
    backbone={"name": "mobilenet_v2", "width": 1.0},
    head={"name": "ssdlite_biased", "norm": True},
)


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
