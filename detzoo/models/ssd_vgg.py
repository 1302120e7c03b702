"""SSD with VGG-16 (arXiv:1512.02325): numbers, weights, entry points."""

from typing import Any

from .catalogue import SSD300_VGG16_Weights, SSD512_VGG16_Weights
from .entry import WeightsLike, make_model
from .presets import SSD300_VGG16, SSD512_VGG16
from .ssd import SSD

FINETUNED_LAYERS = 4  # of 5: the first VGG stage keeps its ImageNet weights, as in torchvision; Caffe trains all


def ssd300_vgg16(
    *,
    pretrained: bool = False,
    weights: WeightsLike = None,
    weights_backbone: Any = None,
    num_classes: int | None = None,
    trainable_layers: int | None = None,
    progress: bool = True,
) -> SSD:
    """SSD300 with VGG-16: 8732 default boxes on maps of 38, 19, 10, 5, 3 and 1 cells a side (SSD, figure 2).

    Args:
        pretrained: the same as `weights="DEFAULT"`: torchvision's COCO weights, 25.1 AP.
        weights: a member of `SSD300_VGG16_Weights`, its name, or the path of a checkpoint.
        weights_backbone: ImageNet weights for the trunk: torchvision's "IMAGENET1K_FEATURES", or the path of a file.
        num_classes: classes with background. Another number than that of the weights keeps all but the class head.
        trainable_layers: stages of the trunk that are trained, of 5; 4 with any weights, else 5.
        progress: show a bar while downloading.
    """
    return make_model(
        SSD300_VGG16,
        SSD300_VGG16_Weights,
        pretrained=pretrained,
        weights=weights,
        weights_backbone=weights_backbone,
        num_classes=num_classes,
        trainable_layers=trainable_layers,
        finetuned_layers=FINETUNED_LAYERS,
        progress=progress,
    )


def ssd512_vgg16(
    *,
    pretrained: bool = False,
    weights: WeightsLike = None,
    weights_backbone: Any = None,
    num_classes: int | None = None,
    trainable_layers: int | None = None,
    progress: bool = True,
) -> SSD:
    """SSD512 with VGG-16 as published: 24564 default boxes on maps of 64, 32, 16, 8, 4, 2 and 1 cells a side.

    Arguments are those of `ssd300_vgg16`; `pretrained` weights are MMDetection's for COCO, 29.5 AP, with the numbers
    that belong to them.
    """
    return make_model(
        SSD512_VGG16,
        SSD512_VGG16_Weights,
        pretrained=pretrained,
        weights=weights,
        weights_backbone=weights_backbone,
        num_classes=num_classes,
        trainable_layers=trainable_layers,
        finetuned_layers=FINETUNED_LAYERS,
        progress=progress,
    )
