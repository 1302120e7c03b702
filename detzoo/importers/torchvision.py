"""torchvision's state dicts under detzoo's names. Only keys change: layout and order of the tensors are the same.

Checked against torchvision 0.29.1 by the parity tests.
"""

import re
from collections.abc import Mapping

from torch import Tensor

StateDict = dict[str, Tensor]

HEAD = {
    r"head\.classification_head\.module_list\.(.+)": "head.classification.{0}",
    r"head\.regression_head\.module_list\.(.+)": "head.regression.{0}",
}
SSD_VGG16 = {
    r"backbone\.scale_weight": "backbone.norms.22.weight",
    r"backbone\.features\.(\d+)\.(.+)": "backbone.trunk.{0}.{1}",
    r"backbone\.extra\.0\.7\.(.+)": "backbone.extras.0.{0}",  # fc6 and fc7
    r"backbone\.extra\.0\.(\d+)\.(.+)": "backbone.trunk.{0:+23}.{1}",  # pool4 to conv5_3
    r"backbone\.extra\.(.+)": "backbone.extras.{0}",
    **HEAD,
}
SSDLITE_MOBILENET_V3_LARGE = {
    r"backbone\.features\.0\.(\d+)\.(.+)": "backbone.trunk.{0}.{1}",
    r"backbone\.features\.1\.(\d+)\.(.+)": "backbone.trunk.{0:+14}.{1}",
    r"backbone\.extra\.(.+)": "backbone.extras.{0}",
    **HEAD,
}
CHAIN = {  # VGG, SqueezeNet
    r"features\.(\d+)\.(.+)": "trunk.{0}.{1}",
    r"classifier\..+": None,
}
MOBILENET_V3_LARGE = {
    r"features\.13\.block\.0\.(.+)": "trunk.13.{0}",  # the expansion, which detzoo keeps apart
    r"features\.13\.block\.(.+)": "trunk.14.{0}",
    r"features\.(1[4-9])\.(.+)": "trunk.{0:+1}.{1}",
    r"features\.(\d+)\.(.+)": "trunk.{0}.{1}",
    r"classifier\..+": None,
}
MOBILENET_V3_SMALL = {
    r"features\.9\.block\.0\.(.+)": "trunk.9.{0}",  # the expansion, as above
    r"features\.9\.block\.(.+)": "trunk.10.{0}",
    r"features\.(1[0-2])\.(.+)": "trunk.{0:+1}.{1}",
    r"features\.(\d+)\.(.+)": "trunk.{0}.{1}",
    r"classifier\..+": None,
}
MOBILENET_V2 = {
    r"features\.14\.conv\.0\.(.+)": "trunk.14.{0}",  # the expansion, as above
    r"features\.14\.conv\.(.+)": "trunk.15.{0}",
    r"features\.(1[5-8])\.(.+)": "trunk.{0:+1}.{1}",
    r"features\.(\d+)\.(.+)": "trunk.{0}.{1}",
    r"classifier\..+": None,
}
RESNET = {
    r"conv1\.(.+)": "trunk.0.{0}",
    r"bn1\.(.+)": "trunk.1.{0}",
    r"layer([1-3])\.(.+)": "trunk.{0:+3}.{1}",
    r"(layer4|fc)\..+": None,
}
VGGS = ("vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn")
TRUNKS = {
    "mobilenet_v2": MOBILENET_V2,
    "mobilenet_v3_large": MOBILENET_V3_LARGE,
    "mobilenet_v3_small": MOBILENET_V3_SMALL,
    "squeezenet1_1": CHAIN,
    **dict.fromkeys(VGGS, CHAIN),
    **dict.fromkeys(("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"), RESNET),
}


def is_detector(state: Mapping[str, Tensor]) -> bool:
    """Whether these are the names of a torchvision SSD or SSDlite."""
    return any(str(key).startswith("head.classification_head.module_list.") for key in state)


def is_vgg(state: Mapping[str, Tensor]) -> bool:
    """Whether a torchvision detector is the one with VGG-16."""
    return "backbone.scale_weight" in state


def convert_detector(state: Mapping[str, Tensor]) -> StateDict:
    """Weights of torchvision's `ssd300_vgg16` or `ssdlite320_mobilenet_v3_large` under detzoo's names.

    Raises:
        ValueError: naming the first key that neither of the two models has.
    """
    return rename(state, SSD_VGG16 if is_vgg(state) else SSDLITE_MOBILENET_V3_LARGE)


def check_trunk(name: str) -> None:
    """Raise a ValueError if torchvision has no classifier whose weights the backbone called `name` could take."""
    if name not in TRUNKS:
        raise ValueError(
            f"weights_backbone: torchvision has none for the backbone {name!r}, only for {', '.join(sorted(TRUNKS))}; "
            "leave it out (null) to start from random weights"
        )


def convert_trunk(state: Mapping[str, Tensor], name: str) -> StateDict:
    """Weights of a torchvision classifier under the names of detzoo's backbone `name`; its classifier is left out."""
    check_trunk(name)
    return rename(state, TRUNKS[name])


def rename(state: Mapping[str, Tensor], rules: Mapping[str, str | None]) -> StateDict:
    """Rename every key by the first rule that matches it whole; a rule without a name drops the tensor.

    In a name, `{0}` is what the first group matched and `{0:+14}` that number plus 14.
    """
    renamed = {}
    for key, tensor in state.items():
        for pattern, name in rules.items():
            if match := re.fullmatch(pattern, key):
                if name is not None:
                    renamed[name.format(*map(_Piece, match.groups()))] = tensor
                break
        else:
            raise ValueError(f"unexpected tensor {key!r} {tuple(tensor.shape)}: not in the layout this importer reads")
    return renamed


class _Piece(str):
    """A piece of a key that adds a number to itself when formatted as `:+number`."""

    def __format__(self, spec: str) -> str:
        return str(int(self) + int(spec)) if spec else str(self)
