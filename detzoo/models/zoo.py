"""The zoo's table: every model by name, with its numbers and its published weights."""

from collections.abc import Callable
from typing import Any, NamedTuple

from ..lookup import suggest
from .catalogue import (
    SSD300_EfficientNet_B3_Weights,
    SSD300_MobileNet_V1_Weights,
    SSD300_ResNet50_Weights,
    SSD300_VGG16_Weights,
    SSD512_VGG16_Weights,
    SSDLite300_MobileNet_V2_Weights,
    SSDLite320_MobileNet_V2_Weights,
    SSDLite320_MobileNet_V3_Large_Weights,
)
from .config import SSDConfig
from .entry import WeightsLike
from .presets import PRESETS
from .ssd import SSD
from .ssd_efficientnet import ssd300_efficientnet_b3
from .ssd_mobilenet import (
    ssd300_mobilenet_v1,
    ssdlite300_mobilenet_v1,
    ssdlite300_mobilenet_v2,
)
from .ssd_resnet import (
    ssd300_resnet18,
    ssd300_resnet34,
    ssd300_resnet50,
    ssd300_resnet101,
    ssd512_resnet50,
)
from .ssd_squeezenet import ssdlite300_squeezenet1_1
from .ssd_timm import ssdlite320_timm
from .ssd_tiny import tiny_ssd
from .ssd_vgg import ssd300_vgg16, ssd512_vgg16
from .ssdlite import (
    ssdlite320_mobilenet_v2,
    ssdlite320_mobilenet_v3_large,
    ssdlite320_mobilenet_v3_small,
)
from .weights import WeightsEnum


class Entry(NamedTuple):
    """One row of the zoo: the entry point, the preset it builds, the enum of published weights (None where there are
    none).
    """

    build: Callable[..., SSD]
    config: SSDConfig
    weights: type[WeightsEnum] | None


MODELS: dict[str, Entry] = {
    "ssd300_efficientnet_b3": Entry(
        ssd300_efficientnet_b3, PRESETS["ssd300_efficientnet_b3"], SSD300_EfficientNet_B3_Weights
    ),
    "ssd300_mobilenet_v1": Entry(ssd300_mobilenet_v1, PRESETS["ssd300_mobilenet_v1"], SSD300_MobileNet_V1_Weights),
    "ssd300_resnet18": Entry(ssd300_resnet18, PRESETS["ssd300_resnet18"], None),
    "ssd300_resnet34": Entry(ssd300_resnet34, PRESETS["ssd300_resnet34"], None),
    "ssd300_resnet50": Entry(ssd300_resnet50, PRESETS["ssd300_resnet50"], SSD300_ResNet50_Weights),
    "ssd300_resnet101": Entry(ssd300_resnet101, PRESETS["ssd300_resnet101"], None),
    "ssd300_vgg16": Entry(ssd300_vgg16, PRESETS["ssd300_vgg16"], SSD300_VGG16_Weights),
    "ssd512_resnet50": Entry(ssd512_resnet50, PRESETS["ssd512_resnet50"], None),
    "ssd512_vgg16": Entry(ssd512_vgg16, PRESETS["ssd512_vgg16"], SSD512_VGG16_Weights),
    "ssdlite300_mobilenet_v1": Entry(ssdlite300_mobilenet_v1, PRESETS["ssdlite300_mobilenet_v1"], None),
    "ssdlite300_mobilenet_v2": Entry(
        ssdlite300_mobilenet_v2, PRESETS["ssdlite300_mobilenet_v2"], SSDLite300_MobileNet_V2_Weights
    ),
    "ssdlite300_squeezenet1_1": Entry(ssdlite300_squeezenet1_1, PRESETS["ssdlite300_squeezenet1_1"], None),
    "ssdlite320_mobilenet_v2": Entry(
        ssdlite320_mobilenet_v2, PRESETS["ssdlite320_mobilenet_v2"], SSDLite320_MobileNet_V2_Weights
    ),
    "ssdlite320_mobilenet_v3_large": Entry(
        ssdlite320_mobilenet_v3_large, PRESETS["ssdlite320_mobilenet_v3_large"], SSDLite320_MobileNet_V3_Large_Weights
    ),
    "ssdlite320_mobilenet_v3_small": Entry(
        ssdlite320_mobilenet_v3_small, PRESETS["ssdlite320_mobilenet_v3_small"], None
    ),
    "ssdlite320_timm": Entry(ssdlite320_timm, PRESETS["ssdlite320_timm"], None),
    "tiny_ssd": Entry(tiny_ssd, PRESETS["tiny_ssd"], None),
}


def list_models() -> list[str]:
    """Names that `get_model` knows."""
    return sorted(MODELS)


def get_model(
    name: str,
    *,
    pretrained: bool = False,
    weights: WeightsLike = None,
    weights_backbone: Any = None,
    num_classes: int | None = None,
    trainable_layers: int | None = None,
    progress: bool = True,
) -> SSD:
    """The model called `name`; the other arguments are those of its entry point, such as `ssd300_vgg16`.

    Raises:
        ValueError: for an unknown name, with the nearest known one.
    """
    if name not in MODELS:
        raise ValueError(f"unknown model {name!r}: {suggest(name, MODELS)}")
    return MODELS[name].build(
        pretrained=pretrained,
        weights=weights,
        weights_backbone=weights_backbone,
        num_classes=num_classes,
        trainable_layers=trainable_layers,
        progress=progress,
    )


def get_weight(name: str) -> WeightsEnum:
    """Published weights by their full name, such as "SSD300_VGG16_Weights.COCO_V1".

    Raises:
        ValueError: for an unknown name, with the nearest known one.
    """
    members = all_weights()
    if name not in members:
        raise ValueError(f"unknown weights {name!r}: {suggest(name, members)}, or the path of a file")
    return members[name]


def all_weights() -> dict[str, WeightsEnum]:
    """Published weights by all the names that `get_weight` knows."""
    catalogues = [entry.weights for entry in MODELS.values() if entry.weights is not None]
    return {f"{enum.__name__}.{member}": enum[member] for enum in catalogues for member in enum.__members__}
