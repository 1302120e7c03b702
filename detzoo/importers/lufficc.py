"""lufficc/SSD (github.com/lufficc/SSD, commit 68dc0a2): SSD300 and SSD512 with VGG-16, SSDlite320 with MobileNetV2 and
MobileNetV3, SSD300 with EfficientNet-B3.

Default boxes are those of `configs` and `ssd/modeling/anchors/prior_box.py`, preprocessing is that of
`ssd/data/transforms/__init__.py`, the same for every trunk, suppression that of `ssd/modeling/box_head/inference.py`.
Not followed are two things in suppression:

- it tells classes apart by shifting the boxes of class c by c * (largest coordinate + 1), with no regard to negative
  coordinates (`ssd/utils/nms.py`): a box that lies for the most part beyond the upper left corner of the image can
  suppress one of the class before that lies as far beyond the lower right one, and the other way round;
- files of version 1 (commit 94a995d) were measured with overlaps of boxes that are a pixel larger each way, and at most
  200 boxes of each class.
"""

from functools import partial
from typing import Any, NamedTuple

from .lufficc_names import EFFICIENTNET_B3, MOBILENET_V2, MOBILENET_V3, VGG, VGG_V1
from .names import Rules, StateDict, rename
from .numbers import (
    CAFFE_MEAN,
    RATIOS_300,
    RATIOS_512,
    SIZES_300_COCO,
    SIZES_300_VOC,
    SIZES_512_COCO,
    SIZES_512_VOC,
    STEPS_300,
    STEPS_512,
    Part,
    sized_boxes,
    warp,
)
from .origin import Foreign, Imported, Reading, count_classes, usual_categories

NAME = "lufficc"
HOME = "https://github.com/lufficc/SSD"

CLIP = "centres_and_sizes"
SIZES_320 = [60, 105, 150, 195, 240, 285, 330]
RATIOS_320 = [[2, 3]] * 6
STEPS_320, STEPS_320_V1 = [16, 32, 64, 107, 160, 320], [16, 32, 64, 100, 150, 300]
BOXES_300_VOC = sized_boxes(SIZES_300_VOC, RATIOS_300, STEPS_300, CLIP)
BOXES_300_COCO = sized_boxes(SIZES_300_COCO, RATIOS_300, STEPS_300, CLIP)
BOXES_512_VOC = sized_boxes([*SIZES_512_VOC[:-1], 537.65], RATIOS_512, STEPS_512, CLIP)  # others have 537.6
BOXES_512_COCO = sized_boxes(SIZES_512_COCO, RATIOS_512, STEPS_512, CLIP)
BOXES_320 = sized_boxes(SIZES_320, RATIOS_320, STEPS_320, CLIP)
BOXES_320_V1 = sized_boxes(SIZES_320, RATIOS_320, STEPS_320_V1, CLIP)

SUPPRESSION = {
    "name": "nms",
    "score_threshold": 0.01,
    "iou_threshold": 0.45,
    "top_k": None,
    "detections_per_image": 100,
    "clip": False,
}
SHARED = {
    "coder": {"name": "centre_size", "max_log_size": None},
    "preprocess": warp(CAFFE_MEAN, (1.0, 1.0, 1.0), "opencv"),
    "postprocess": SUPPRESSION,
}
SHARED_V1 = {**SHARED, "postprocess": {**SUPPRESSION, "detections_per_image": None}}
LITE = {**SHARED, "size": (320, 320), "head": {"name": "ssdlite_biased", "norm": True}}


class Model(NamedTuple):
    """One of its configs; `classes` are those of the data set it is for."""

    about: str
    default_boxes: Part
    classes: int = 21


class Network(NamedTuple):
    """What the names in a file tell apart.

    Attributes:
        marks: tensors that no network further down in `NETWORKS` has.
        heads: how the names of class heads and box heads begin.
        rules: from its names to detzoo's.
        preset: the nearest model of the zoo.
        config: in what it differs from that, default boxes left aside.
        models: by the name of the config, with which the name of the published file begins.
    """

    marks: tuple[str, ...]
    heads: tuple[str, str]
    rules: Rules
    preset: str
    config: dict[str, Any]
    models: dict[str, Model]


HEADS = ("box_head.predictor.cls_headers", "box_head.predictor.reg_headers")
HEADS_V1 = ("classification_headers", "regression_headers")
NETWORKS = (
    Network(
        ("backbone.extras.0.conv.5.fc.0.weight",),
        HEADS,
        MOBILENET_V3,
        "ssdlite320_mobilenet_v3_large",
        {**LITE, "backbone": {"name": "mobilenet_v3_large_d_li14"}},
        {"mobilenet_v3_ssd320_voc0712": Model("SSDlite320 with MobileNetV3-Large", BOXES_320)},
    ),
    Network(
        ("backbone.extras.0.conv.0.0.weight",),
        HEADS,
        MOBILENET_V2,
        "ssdlite300_mobilenet_v2",
        {**LITE, "backbone": {"name": "mobilenet_v2", "width": 1.0, "first_map": "block"}},
        {
            "mobilenet_v2_ssd320_voc0712": Model(
                "SSDlite320 with MobileNetV2, its last default boxes 100, 150 and 300 pixels apart, as in the config "
                "until March 2020",
                BOXES_320_V1,
            ),
            "mobilenet_v2_ssd320_voc0712_v2": Model(
                "SSDlite320 with MobileNetV2, its last default boxes 107, 160 and 320 pixels apart, as in the config "
                "since March 2020",
                BOXES_320,
            ),
        },
    ),
    Network(
        ("backbone._conv_stem.weight",),
        HEADS,
        EFFICIENTNET_B3,
        "ssd300_vgg16",
        {**SHARED, "backbone": {"name": "efficientnet_b3"}},
        {"efficient_net_b3_ssd300_voc0712": Model("SSD300 with EfficientNet-B3", BOXES_300_VOC)},
    ),
    Network(
        ("backbone.l2_norm.weight", "backbone.extras.9.weight"),
        HEADS,
        VGG,
        "ssd512_vgg16",
        SHARED,
        {
            "vgg_ssd512_voc0712": Model("SSD512 with VOC's default boxes", BOXES_512_VOC),
            "vgg_ssd512_coco_trainval35k": Model("SSD512 with COCO's default boxes", BOXES_512_COCO, 81),
        },
    ),
    Network(
        ("backbone.l2_norm.weight",),
        HEADS,
        VGG,
        "ssd300_vgg16",
        SHARED,
        {
            "vgg_ssd300_voc0712": Model("SSD300 with VOC's default boxes", BOXES_300_VOC),
            "vgg_ssd300_coco_trainval35k": Model("SSD300 with COCO's default boxes", BOXES_300_COCO, 81),
        },
    ),
    Network(
        ("l2_norm.weight", "extras.9.weight"),
        HEADS_V1,
        VGG_V1,
        "ssd512_vgg16",
        SHARED_V1,
        {
            "ssd512_voc0712": Model("version 1's SSD512 with VOC's default boxes", BOXES_512_VOC),
            "ssd512_coco_trainval35k": Model("version 1's SSD512 with COCO's default boxes", BOXES_512_COCO, 81),
        },
    ),
    Network(
        ("l2_norm.weight",),
        HEADS_V1,
        VGG_V1,
        "ssd300_vgg16",
        SHARED_V1,
        {
            "ssd300_voc0712": Model("version 1's SSD300 with VOC's default boxes", BOXES_300_VOC),
            "ssd300_coco_trainval35k": Model("version 1's SSD300 with COCO's default boxes", BOXES_300_COCO, 81),
        },
    ),
)


def readings(foreign: Foreign) -> list[Reading]:
    """Names tell the networks apart; of one's default boxes, the classes or the file's name say which they are."""
    network = next((network for network in NETWORKS if _fits(network, foreign)), None)
    if network is None:
        return []
    logits, deltas = (sum(foreign.shape(f"{heads[0]}.bias")) for heads in _heads(network))  # what is missing: 0
    usual = {name: model for name, model in network.models.items() if 4 * logits == model.classes * deltas > 0}
    published = max((name for name in network.models if foreign.file_name.startswith(name)), key=len, default=None)
    return [
        Reading(f"{NAME}/{name}", model.about, partial(_convert, network=network, name=name), name == published)
        for name, model in (usual or network.models).items()
    ]


def _fits(network: Network, foreign: Foreign) -> bool:
    return foreign.has(*network.marks) and any(name.startswith(network.heads[0]) for name in foreign.state)


def _heads(network: Network) -> list[list[str]]:
    """The last convolution of each class head, and of each box head; that of the last level is always the only one."""
    levels = len(_boxes_per_cell(network))
    end = ".conv.3" if "head" in network.config else ""  # of a separable one
    return [[f"{heads}.{k}{end if k < levels - 1 else ''}" for k in range(levels)] for heads in network.heads]


def _boxes_per_cell(network: Network) -> list[int]:
    """On each level; all its models have as many."""
    ratios = next(iter(network.models.values())).default_boxes["aspect_ratios"]
    return [2 + 2 * len(level) for level in ratios]


def _convert(foreign: Foreign, network: Network, name: str) -> Imported:
    num_classes = count_classes(foreign.state, *_heads(network), _boxes_per_cell(network))
    categories, assumed = usual_categories(num_classes)
    state, changes = _with_convolutions(rename(foreign.state, network.rules))
    default_boxes = network.models[name].default_boxes
    config = {**network.config, "num_classes": num_classes, "default_boxes": default_boxes}
    said = f"the size of its images and its default boxes are those of the project's config {name.removesuffix('_v2')}"
    return Imported(network.preset, config, state, categories, changes, (*assumed, said), network.rules)


def _with_convolutions(state: StateDict) -> tuple[StateDict, tuple[str, ...]]:
    """With 1x1 convolutions for the linear layers of squeeze-and-excitation: the same numbers."""
    linear = [
        name for name, tensor in state.items() if name.endswith(("fc1.weight", "fc2.weight")) and tensor.ndim == 2
    ]
    if not linear:
        return state, ()
    changes = (f"{linear[0]} and {len(linear) - 1} more of squeeze-and-excitation: linear layers to 1x1 convolutions",)
    return state | {name: state[name][:, :, None, None] for name in linear}, changes
