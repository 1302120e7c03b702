"""Trunks: from a batch of images to feature maps, and the table from which a config picks one."""

from collections.abc import Callable
from typing import Any

from .base import Backbone
from .efficientnet import efficientnet_b3
from .from_timm import PREFIX, timm_trunk, timm_weights
from .mobilenet_v1 import mobilenet_v1
from .mobilenet_v2 import mobilenet_v2
from .mobilenet_v3 import mobilenet_v3_large, mobilenet_v3_small
from .mobilenet_v3_d_li14 import mobilenet_v3_large_d_li14
from .resnet import resnet18, resnet34, resnet50, resnet101, resnet152
from .squeezenet import squeezenet1_1
from .tiny import tiny, tiny_ssd
from .vgg import vgg11, vgg11_bn, vgg13, vgg13_bn, vgg16, vgg16_bn, vgg19, vgg19_bn


class Trunks(dict[str, Callable[..., Backbone]]):
    """Trunks by name; every name that begins with "timm/" is in it as well, though it lists its own only.

    Attributes:
        families: what stands for the names that are not listed, so that their options are known.
    """

    families = {f"{PREFIX}...": timm_trunk("...")}

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or (isinstance(name, str) and name.startswith(PREFIX))

    def get(self, name: str, default: Any = None) -> Any:
        try:
            return self[name]
        except KeyError:
            return default

    def __missing__(self, name: str) -> Callable[..., Backbone]:
        if name not in self:
            raise KeyError(name)
        return timm_trunk(name.removeprefix(PREFIX))


BACKBONES = Trunks(
    {
        "efficientnet_b3": efficientnet_b3,
        "mobilenet_v1": mobilenet_v1,
        "mobilenet_v2": mobilenet_v2,
        "mobilenet_v3_large": mobilenet_v3_large,
        "mobilenet_v3_large_d_li14": mobilenet_v3_large_d_li14,
        "mobilenet_v3_small": mobilenet_v3_small,
        "resnet18": resnet18,
        "resnet34": resnet34,
        "resnet50": resnet50,
        "resnet101": resnet101,
        "resnet152": resnet152,
        "squeezenet1_1": squeezenet1_1,
        "tiny": tiny,
        "tiny_ssd": tiny_ssd,
        "vgg11": vgg11,
        "vgg11_bn": vgg11_bn,
        "vgg13": vgg13,
        "vgg13_bn": vgg13_bn,
        "vgg16": vgg16,
        "vgg16_bn": vgg16_bn,
        "vgg19": vgg19,
        "vgg19_bn": vgg19_bn,
    }
)

__all__ = [
    "BACKBONES",
    "Backbone",
    "efficientnet_b3",
    "mobilenet_v1",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "mobilenet_v3_large_d_li14",
    "mobilenet_v3_small",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "squeezenet1_1",
    "tiny",
    "tiny_ssd",
    "timm_trunk",
    "timm_weights",
    "vgg11",
    "vgg11_bn",
    "vgg13",
    "vgg13_bn",
    "vgg16",
    "vgg16_bn",
    "vgg19",
    "vgg19_bn",
]
