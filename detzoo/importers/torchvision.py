"""torchvision, detectors and classifiers (github.com/pytorch/vision). Only keys change: layout and order of the tensors
are the same.

Checked against torchvision 0.29.1 by the parity tests.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from .names import Rules, StateDict, rename, rename_back
from .origin import Foreign, Imported, Reading, count_classes, usual_categories

NAME = "torchvision"
HOME = "https://github.com/pytorch/vision"

BUILT = (
    "that torchvision's {}() built it: default boxes, pixels, suppression and the epsilon of batch norms are in no "
    "file; detzoo.models.from_torchvision(detector) takes those of a detector that was built otherwise"
)

# The last convolution of the trunk of SSDlite, whose channels a detector trained from scratch halves.
TAIL, REDUCED_TAIL = "backbone.features.1.3.0.weight", 480

HEAD = {
    r"head\.classification_head\.module_list\.(.+)": "head.classification.{0}",
    r"head\.regression_head\.module_list\.(.+)": "head.regression.{0}",
}
SSD_VGG16 = {
    r"backbone\.scale_weight": "backbone.norms.22.weight",
    r"backbone\.features\.(\d|1\d|2[012])\.(.+)": "backbone.trunk.{0}.{1}",
    r"backbone\.extra\.0\.7\.(.+)": "backbone.extras.0.{0}",  # fc6 and fc7
    r"backbone\.extra\.0\.(\d+)\.(.+)": "backbone.trunk.{0:+23}.{1}",  # pool4 to conv5_3
    r"backbone\.extra\.([1-9].*)": "backbone.extras.{0}",
    **HEAD,
}
SSDLITE_MOBILENET_V3_LARGE = {
    r"backbone\.features\.0\.(\d|1[0-3])\.(.+)": "backbone.trunk.{0}.{1}",
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


def readings(foreign: Foreign) -> list[Reading]:
    """By what only one of its two models has."""
    if not is_detector(foreign.state):
        return []
    if is_vgg(foreign.state):
        return [Reading(f"{NAME}/ssd300_vgg16", "SSD300 with VGG-16", _convert_vgg)]
    if foreign.has(TAIL):
        about = "SSDlite320 with MobileNetV3-Large"
        return [Reading(f"{NAME}/ssdlite320_mobilenet_v3_large", about, _convert_ssdlite)]
    return []


def _convert_vgg(foreign: Foreign) -> Imported:
    return _imported("ssd300_vgg16", foreign, boxes=(4, 6, 6, 6, 4, 4), convolution="")


def _convert_ssdlite(foreign: Foreign) -> Imported:
    found = _imported("ssdlite320_mobilenet_v3_large", foreign, boxes=(6,) * 6, convolution=".1")
    reduced = foreign.shape(TAIL)[:1] == (REDUCED_TAIL,)
    backbone = {"name": "mobilenet_v3_large", "reduced_tail": reduced}
    return replace(found, config={**found.config, "backbone": backbone})


def _imported(model: str, foreign: Foreign, boxes: Sequence[int], convolution: str) -> Imported:
    """A detector with so many boxes of a cell on each level; `convolution` is the last one of a predictor, from it."""
    class_heads, box_heads = (
        [f"head.{what}_head.module_list.{level}{convolution}" for level in range(len(boxes))]
        for what in ("classification", "regression")
    )
    num_classes = count_classes(foreign.state, class_heads, box_heads, boxes)
    categories, assumed = usual_categories(num_classes)
    rules = _rules(foreign.state)
    state = rename(foreign.state, rules)
    assumed = (*assumed, BUILT.format(model))
    return Imported(model, {"num_classes": num_classes}, state, categories, assumed=assumed, rules=rules)


def convert_detector(state: Mapping[str, Tensor]) -> StateDict:
    """Weights of torchvision's `ssd300_vgg16` or `ssdlite320_mobilenet_v3_large` under detzoo's names.

    Raises:
        ValueError: naming the first key that neither of the two models has.
    """
    return rename(state, _rules(state))


def _rules(state: Mapping[str, Tensor]) -> Rules:
    return SSD_VGG16 if is_vgg(state) else SSDLITE_MOBILENET_V3_LARGE


def export(state: Mapping[str, Tensor]) -> StateDict:
    """Weights of detzoo's `ssd300_vgg16` or `ssdlite320_mobilenet_v3_large` under torchvision's names.

    Raises:
        ValueError: naming a tensor for which torchvision has no place.
    """
    return rename_back(state, SSD_VGG16 if "backbone.norms.22.weight" in state else SSDLITE_MOBILENET_V3_LARGE)


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
