"""Trunks: from a batch of images to feature maps, and the table from which a config picks one."""

from collections.abc import Callable

from .base import Backbone
from .mobilenet import mobilenet_v3_large
from .tiny import tiny
from .vgg import vgg16

BACKBONES: dict[str, Callable[..., Backbone]] = {
    "mobilenet_v3_large": mobilenet_v3_large,
    "tiny": tiny,
    "vgg16": vgg16,
}

__all__ = ["BACKBONES", "Backbone", "mobilenet_v3_large", "tiny", "vgg16"]
