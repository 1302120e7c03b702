"""Trunks: from a batch of images to feature maps, and the table from which a config picks one."""

from collections.abc import Callable

from .base import Backbone
from .mobilenet import mobilenet_v1, mobilenet_v2, mobilenet_v3_large
from .resnet import resnet18, resnet34, resnet50, resnet101, resnet152
from .tiny import tiny, tiny_ssd
from .vgg import vgg16

BACKBONES: dict[str, Callable[..., Backbone]] = {
    "mobilenet_v1": mobilenet_v1,
    "mobilenet_v2": mobilenet_v2,
    "mobilenet_v3_large": mobilenet_v3_large,
    "resnet18": resnet18,
    "resnet34": resnet34,
    "resnet50": resnet50,
    "resnet101": resnet101,
    "resnet152": resnet152,
    "tiny": tiny,
    "tiny_ssd": tiny_ssd,
    "vgg16": vgg16,
}

__all__ = [
    "BACKBONES",
    "Backbone",
    "mobilenet_v1",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "tiny",
    "tiny_ssd",
    "vgg16",
]
