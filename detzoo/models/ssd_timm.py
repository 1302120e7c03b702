"""SSDlite with any trunk of timm that gives maps of several strides (github.com/huggingface/pytorch-image-models)."""

from dataclasses import replace
from typing import Any

from .entry import WeightsLike, make_model
from .presets import SSDLITE320_TIMM
from .ssd import SSD


def ssdlite320_timm(
    trunk: str = "mobilenetv4_conv_small",
    *,
    pretrained: bool = False,
    weights: WeightsLike = None,
    weights_backbone: Any = None,
    num_classes: int | None = None,
    trainable_layers: int | None = None,
    progress: bool = True,
) -> SSD:
    """SSDlite320 with a trunk of timm's: 3234 default boxes on maps of 20, 10, 5, 3, 2 and 1 cells a side with most.

    Args:
        trunk: a name of `timm.list_models()`, with or without the tag of one of its weights ("resnet18.a1_in1k").
        pretrained: an error, since no weights of the detector are published.
        weights: the path of a checkpoint.
        weights_backbone: "DEFAULT" for timm's weights of the trunk: those of the tag, or the first ones without one.
        num_classes: classes with background.
        trainable_layers: stages of the trunk that are trained, of as many as it has; all by default.
        progress: show a bar while downloading; timm shows its own.

    Raises:
        ValueError: if timm is not there, or does not know the trunk.
    """
    config = replace(SSDLITE320_TIMM, backbone={**SSDLITE320_TIMM.backbone, "name": f"timm/{trunk}"})
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
