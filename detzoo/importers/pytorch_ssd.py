"""qfgaohao/pytorch-ssd (github.com/qfgaohao/pytorch-ssd, commit 7a839cb), and its fork in jetson-inference, which has
the same networks (github.com/dusty-nv/pytorch-ssd, commit e7b5af5): SSD300 with VGG-16 and MobileNetV1, SSDlite300 with
MobileNetV1, MobileNetV2 and SqueezeNet 1.1.

Default boxes and input scales are those of `vision/ssd/config`, suppression that of `vision/ssd/predictor.py` and
`hard_nms` in `vision/utils/box_utils.py`: 200 candidates of each class, 1e-5 of the image's area added to every union,
no limit for an image. A file is a plain state dict; the names of its classes are in a text file that training writes
beside it.

Not followed: `eval_ssd.py` adds a pixel to all boxes, for a metric that counts from 1, and `nms_method="soft"` is for
those who ask for it. Its MobileNetV3s, of which no file is published, have a trunk that detzoo has not.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from ..categories import Categories
from .names import Rules, StateDict, rename, rename_back
from .numbers import CAFFE_MEAN, RATIOS_300, SIZES_300_VOC, STEPS_300, Part, sized_boxes, warp
from .origin import Foreign, Imported, Reading, count_classes, usual_categories
from .readers import shown_name

NAME = "pytorch-ssd"
HOME = "https://github.com/qfgaohao/pytorch-ssd"

LEVELS = 6
BATCH_NORM, L2_NORM = "source_layer_add_ons.0.running_mean", "source_layer_add_ons.0.scale"
PLAIN_HEAD, SEPARABLE_HEAD = "classification_headers.0.weight", "classification_headers.0.0.weight"
HEADS = {
    r"classification_headers\.(.+)": "head.classification.{0}",
    r"regression_headers\.(.+)": "head.regression.{0}",
}
VGG16_BELOW = {
    r"base_net\.(\d|1\d|2\d)\.(.+)": "backbone.trunk.{0}.{1}",
    r"base_net\.(3[13])\.(.+)": "backbone.extras.0.{0:-30}.{1}",  # fc6 and fc7
    r"extras\.(\d)\.(.+)": "backbone.extras.{0:+1}.{1}",
    **HEADS,
}
VGG16 = {**VGG16_BELOW, r"source_layer_add_ons\.0\.(.+)": "backbone.norms.22.{0}"}
VGG16_L2 = {**VGG16_BELOW, r"source_layer_add_ons\.0\.scale": "backbone.norms.22.weight"}
MOBILENET_V1 = {
    r"base_net\.0\.(.+)": "backbone.trunk.0.{0}",
    r"base_net\.(\d+)\.([01])\.(.+)": "backbone.trunk.{0}.0.{1}.{2}",
    r"base_net\.(\d+)\.([34])\.(.+)": "backbone.trunk.{0}.1.{1:-3}.{2}",
    r"extras\.(.+)": "backbone.extras.{0}",
    **HEADS,
}
SQUEEZENET = {r"base_net\.(.+)": "backbone.trunk.{0}", r"extras\.(.+)": "backbone.extras.{0}", **HEADS}


def _inverted(old: str, new: str) -> dict[str, str]:
    """Rules for inverted residuals whose layers are one list there, and in torchvision's way nested here."""
    return {
        rf"{old}\.conv\.([01])\.(.+)": f"{new}.conv.0.{{1}}.{{2}}",
        rf"{old}\.conv\.([34])\.(.+)": f"{new}.conv.1.{{1:-3}}.{{2}}",
        rf"{old}\.conv\.([67])\.(.+)": f"{new}.conv.{{1:-4}}.{{2}}",
    }


MOBILENET_V2 = {
    r"base_net\.0\.(.+)": "backbone.trunk.0.{0}",
    r"base_net\.1\.conv\.([01])\.(.+)": "backbone.trunk.1.conv.0.{0}.{1}",  # the block without expansion
    r"base_net\.1\.conv\.([34])\.(.+)": "backbone.trunk.1.conv.{0:-2}.{1}",
    **_inverted(r"base_net\.([2-9]|1[0-3])", "backbone.trunk.{0}"),
    r"base_net\.14\.conv\.([01])\.(.+)": "backbone.trunk.14.{0}.{1}",  # the expansion, which detzoo keeps apart
    r"base_net\.14\.conv\.([34])\.(.+)": "backbone.trunk.15.1.{0:-3}.{1}",
    r"base_net\.14\.conv\.([67])\.(.+)": "backbone.trunk.15.{0:-4}.{1}",
    **_inverted(r"base_net\.(1[5-7])", "backbone.trunk.{0:+1}"),
    r"base_net\.18\.(.+)": "backbone.trunk.19.{0}",
    **_inverted(r"extras\.(\d)", "backbone.extras.{0}"),
    **HEADS,
}


@dataclass(frozen=True)
class Kind:
    """One of its networks.

    Attributes:
        name: what its scripts call it.
        about: what it is, in a line.
        model: what it is in the zoo.
        marks: names of tensors that all its files have and no other network's.
        rules: for all names.
        last: which layer of a head is the convolution that predicts; 0 for the head itself. On the last level of the
            separable heads there is no other.
        boxes: of a cell, per level.
        numbers: fields of the config in which it differs from the preset, besides the number of classes and those that
            it shares with the other networks.
        assumed: what no file says, a line each.
    """

    name: str
    about: str
    model: str
    marks: tuple[str, ...]
    rules: Rules
    last: int
    boxes: tuple[int, ...]
    numbers: Mapping[str, Any]
    assumed: tuple[str, ...] = ()

    def heads(self, of: str) -> list[str]:
        """Names of the convolutions that predict, one a level."""
        plain = [f"{of}.{level}" for level in range(LEVELS)]
        return [f"{head}.{self.last}" for head in plain[:-1]] + plain[-1:] if self.last else plain


SHARED: dict[str, Part] = {
    "coder": {"name": "centre_size", "max_log_size": None},
    "preprocess": warp((127.0, 127.0, 127.0), (128.0, 128.0, 128.0), "opencv"),
    "postprocess": {
        "name": "nms",
        "score_threshold": 0.01,
        "iou_threshold": 0.45,
        "top_k": 200,
        "detections_per_image": None,
        "clip": False,
        "union_margin": 1e-5,
    },
}


def _vgg(norm: str) -> dict[str, Part]:
    return {
        "backbone": {"name": "vgg16", "extras": "ssd300", "conv4_3_norm": norm},
        "default_boxes": sized_boxes(SIZES_300_VOC, RATIOS_300, STEPS_300, "centres_and_sizes"),
        "preprocess": warp(CAFFE_MEAN, (1.0, 1.0, 1.0), "opencv"),
    }


FEW, MANY = (4, 6, 6, 6, 4, 4), (6,) * LEVELS
VGG = Kind(
    "vgg16-ssd",
    "SSD300 with VGG-16, a batch norm behind conv4_3",
    "ssd300_vgg16",
    ("base_net.31.weight", BATCH_NORM),
    VGG16,
    0,
    FEW,
    _vgg("batch"),
)
KINDS = (
    VGG,
    Kind(
        "mb1-ssd",
        "SSD300 with MobileNetV1",
        "ssd300_mobilenet_v1",
        ("base_net.1.3.weight", PLAIN_HEAD),
        MOBILENET_V1,
        0,
        MANY,
        {},
    ),
    Kind(
        "mb1-ssd-lite",
        "SSDlite300 with MobileNetV1",
        "ssdlite300_mobilenet_v1",
        ("base_net.1.3.weight", SEPARABLE_HEAD),
        MOBILENET_V1,
        2,
        MANY,
        {},
    ),
    Kind(
        "mb2-ssd-lite",
        "SSDlite300 with MobileNetV2",
        "ssdlite300_mobilenet_v2",
        ("base_net.14.conv.6.weight", SEPARABLE_HEAD),
        MOBILENET_V2,
        3,
        MANY,
        {},
        ("ReLU6 throughout, as its scripts make it; onnx_compatible=True has ReLUs, and the same tensors",),
    ),
    Kind(
        "sq-ssd-lite",
        "SSDlite300 with SqueezeNet 1.1",
        "ssdlite300_squeezenet1_1",
        ("base_net.3.squeeze.weight", SEPARABLE_HEAD),
        SQUEEZENET,
        2,
        MANY,
        {},
    ),
)
# Before commit 780b58a (September 2018) conv4_3 passed an L2 norm: VGG-SSD-Epoch-115-Loss-2.82-map-0.768.pth, and
# vgg_ssd300_mAP_77.43_v2.pth, which are the weights of ssd.pytorch under its own names.
OLD_VGG = replace(
    VGG,
    about="SSD300 with VGG-16, an L2 norm behind conv4_3, as it was until September 2018",
    marks=("base_net.31.weight", L2_NORM),
    rules=VGG16_L2,
    numbers=_vgg("l2"),
)
# Published, of 300 pixels; jetson-inference begins its trainings with the first.
MB1_FILES = ("mobilenet-v1-ssd-mp-0_675", "gun_model_2.21")
RESOLUTION = 512  # the fork's other default boxes are "better for power-of-two"
LABELS = ("labels.txt", "voc-model-labels.txt", "open-images-model-labels.txt")
LONGEST_LABELS = 1 << 20  # bytes


def readings(foreign: Foreign) -> list[Reading]:
    """By what only one of its networks has. Only a MobileNetV1 can have been trained at another resolution, for which
    the fork has other default boxes, and nothing in the file says so.
    """
    kind = next((kind for kind in (*KINDS, OLD_VGG) if foreign.has(*kind.marks)), None)
    if kind is None:
        return []
    usual = Reading(f"{NAME}/{kind.name}", kind.about, partial(_convert, kind=kind))
    if kind.name != "mb1-ssd":
        return [usual]
    about = f"jetson-inference's, trained with --resolution={RESOLUTION}, of which nothing is in the file"
    large = replace(kind, numbers=resized(RESOLUTION))
    return [
        replace(usual, hinted=foreign.file_name.startswith(MB1_FILES)),
        Reading(f"{NAME}/{kind.name}-{RESOLUTION}", about, partial(_convert, kind=large)),
    ]


def export(state: Mapping[str, Tensor]) -> StateDict:
    """Weights of one of its five networks under this project's names.

    Raises:
        ValueError: if they are none of these; VGG-16 needs the batch norm behind conv4_3 that its code has now.
    """
    for kind in KINDS:
        try:
            theirs = rename_back(state, kind.rules)
        except ValueError:
            continue
        if all(mark in theirs for mark in kind.marks):
            return theirs
    known = ", ".join(kind.model for kind in KINDS)
    raise ValueError(f'its detectors are {known}, and of VGG-16 the one with conv4_3_norm="batch"')


def resized(size: int) -> dict[str, Any]:
    """The fields of the config that `set_image_size` of the fork's `mobilenetv1_ssd_config.py` changes, for other sizes
    than 300: steps go by the maps, sizes from 10 % of the image to 20 %, and on in steps of 17 %.
    """
    cells = [math.ceil(size / 16)]
    while len(cells) < LEVELS:
        cells.append(math.ceil(cells[-1] / 2))
    sizes = [size * percent / 100 for percent in (10, *range(20, 106, 17))]
    steps = [math.ceil(size / count) for count in cells]
    return {"size": (size, size), "default_boxes": sized_boxes(sizes, [[2, 3]] * LEVELS, steps, "centres_and_sizes")}


def _convert(foreign: Foreign, kind: Kind) -> Imported:
    classes, boxes = kind.heads("classification_headers"), kind.heads("regression_headers")
    num_classes = count_classes(foreign.state, classes, boxes, kind.boxes)
    categories, assumed = _categories(foreign.container.path, num_classes)
    config = {**SHARED, **kind.numbers, "num_classes": num_classes}
    state = rename(foreign.state, kind.rules)
    return Imported(kind.model, config, state, categories, assumed=(*assumed, *kind.assumed), rules=kind.rules)


def _categories(path: Path, num_classes: int) -> tuple[Categories | None, tuple[str, ...]]:
    """Names from the file that training writes beside the weights, background first, if it has as many. Weights that
    are in no file have nothing beside them.
    """
    for name in LABELS if path.is_file() else ():
        file = path.with_name(name)
        if file.is_file() and file.stat().st_size <= LONGEST_LABELS:
            first, *names = file.read_text(encoding="utf-8", errors="replace").split("\n")
            names = tuple(shown_name(line.strip()) for line in names if line.strip())
            if first.strip().upper() == "BACKGROUND" and len(names) == num_classes - 1:
                return _named(names, file), (f"the classes are those that {name} beside the file lists",)
    return usual_categories(num_classes)


def _named(names: tuple[str, ...], file: Path) -> Categories:
    try:
        return Categories(names)
    except ValueError as error:
        raise ValueError(f"the names of classes in {file}: {error}") from error
