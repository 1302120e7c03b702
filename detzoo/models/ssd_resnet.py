"""SSD with ResNets as NVIDIA trains it ("SSD300 v1.1", DeepLearningExamples, PyTorch/Detection/SSD)."""

from typing import Any

from .catalogue import SSD300_ResNet50_Weights
from .entry import WeightsLike, make_model
from .presets import SSD300_RESNET18, SSD300_RESNET34, SSD300_RESNET50, SSD300_RESNET101, SSD512_RESNET50
from .ssd import SSD


def ssd300_resnet50(
    *,
    pretrained: bool = False,
    weights: WeightsLike = None,
    weights_backbone: Any = None,
    num_classes: int | None = None,
    trainable_layers: int | None = None,
    progress: bool = True,
) -> SSD:
    """SSD300 with ResNet-50, 22.9 M parameters: 8732 default boxes on maps of 38, 19, 10, 5, 3 and 1 cells a side.

    Args:
        pretrained: the same as `weights="DEFAULT"`: NVIDIA's for COCO.
        weights: a member of `SSD300_ResNet50_Weights`, its name, or the path of a checkpoint.
        weights_backbone: ImageNet weights for the trunk: torchvision's "IMAGENET1K_V1" or "..._V2", or the path of a
            file.
        num_classes: classes with background.
        trainable_layers: stages of the trunk that are trained, of 4; all by default.
        progress: show a bar while downloading.
    """
    return make_model(
        SSD300_RESNET50,
        SSD300_ResNet50_Weights,
        pretrained=pretrained,
        weights=weights,
        weights_backbone=weights_backbone,
        num_classes=num_classes,
        trainable_layers=trainable_layers,
        finetuned_layers=None,
        progress=progress,
    )


def ssd300_resnet18(
    *,
    pretrained: bool = False,
    weights: WeightsLike = None,
    weights_backbone: Any = None,
    num_classes: int | None = None,
    trainable_layers: int | None = None,
    progress: bool = True,
) -> SSD:
    """SSD300 with ResNet-18, 14.0 M parameters; arguments are those of `ssd300_resnet50`."""
    return make_model(
        SSD300_RESNET18,
        None,
        pretrained=pretrained,
        weights=weights,
        weights_backbone=weights_backbone,
        num_classes=num_classes,
        trainable_layers=trainable_layers,
        finetuned_layers=None,
        progress=progress,
    )


def ssd300_resnet34(
    *,
    pretrained: bool = False,
    weights: WeightsLike = None,
    weights_backbone: Any = None,
    num_classes: int | None = None,
    trainable_layers: int | None = None,
    progress: bool = True,
) -> SSD:
    """SSD300 with ResNet-34, 20.0 M parameters; arguments are those of `ssd300_resnet50`."""
    return make_model(
        SSD300_RESNET34,
        None,
        pretrained=pretrained,
        weights=weights,
        weights_backbone=weights_backbone,
        num_classes=num_classes,
        trainable_layers=trainable_layers,
        finetuned_layers=None,
        progress=progress,
    )


def ssd300_resnet101(
    *,
    pretrained: bool = False,
    weights: WeightsLike = None,
    weights_backbone: Any = None,
    num_classes: int | None = None,
    trainable_layers: int | None = None,
    progress: bool = True,
) -> SSD:
    """SSD300 with ResNet-101, 41.9 M parameters; arguments are those of `ssd300_resnet50`."""
    return make_model(
        SSD300_RESNET101,
        None,
        pretrained=pretrained,
        weights=weights,
        weights_backbone=weights_backbone,
        num_classes=num_classes,
        trainable_layers=trainable_layers,
        finetuned_layers=None,
        progress=progress,
    )


def ssd512_resnet50(
    *,
    pretrained: bool = False,
    weights: WeightsLike = None,
    weights_backbone: Any = None,
    num_classes: int | None = None,
    trainable_layers: int | None = None,
    progress: bool = True,
) -> SSD:
    """SSD512 with ResNet-50: 24564 default boxes on maps of 64, 32, 16, 8, 4, 2 and 1 cells a side.

    The trunk of `ssd300_resnet50`, conv4_x at stride 8 included, and the default boxes of `ssd512_vgg16`. Arguments are
    those of the former.
    """
    return make_model(
        SSD512_RESNET50,
        None,
        pretrained=pretrained,
        weights=weights,
        weights_backbone=weights_backbone,
        num_classes=num_classes,
        trainable_layers=trainable_layers,
        finetuned_layers=None,
        progress=progress,
    )
