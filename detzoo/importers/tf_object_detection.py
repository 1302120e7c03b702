"""TensorFlow's Object Detection API (github.com/tensorflow/models, research/object_detection, 2018): SSD and SSDlite
with MobileNetV1 and V2, as a checkpoint or a frozen graph.

Sources: `models/ssd_mobilenet_v1_feature_extractor.py` and `..._v2_...` (taps, pixels), `models/
feature_map_generators.py` (extra blocks), `predictors/` (heads), `box_coders/faster_rcnn_box_coder.py`, slim's
`nets/mobilenet_v1.py` and `nets/mobilenet/mobilenet_v2.py`; and the graph that was published with
ssd_mobilenet_v1_coco_2018_01_28. In that one boxes are clipped to the image, and those without area dropped, before
suppression; the code of 2019 does so behind it.

A box is (y, x, height, width) there, background the first class. Convolutions are padded as TensorFlow's "SAME": at 300
pixels that is not what `padding=1` does. Scores are sigmoids, so the detector trains on with the focal loss.
"""

import math
from functools import partial

from .layouts import reordered_coordinates
from .numbers import Part, warp
from .origin import Foreign, Imported, Reading, usual_categories
from .tensorflow_net import biased, check_heads, converted, is_tensorflow, normed
from .tf_object_detection_numbers import SIGMOID, Numbers, numbers_of

NAME = "tf-object-detection"
HOME = "https://github.com/tensorflow/models/tree/master/research/object_detection"
SCOPES = "FeatureExtractor/|BoxPredictor_"
V1, V2 = "FeatureExtractor/MobilenetV1", "FeatureExtractor/MobilenetV2"
FIRST = {V1: f"{V1}/Conv2d_0/weights", V2: f"{V2}/Conv/weights"}
CHANNELS = 32  # of the first convolution
LAST = {V1: "Conv2d_13_pointwise", V2: "layer_19"}  # behind which the extra blocks are
EXTRACTORS = {V1: "ssd_mobilenet_v1", V2: "ssd_mobilenet_v2"}
MODELS = {V1: "ssd300_mobilenet_v1", V2: "ssdlite300_mobilenet_v2"}
MEAN = (127.5, 127.5, 127.5)  # and standard deviation: to [-1, 1]
HEADS = ("BoxEncodingPredictor", "ClassPredictor")
ORDER = (1, 0, 3, 2)  # of the coordinates
Places = tuple[str, str]  # of a convolution and its batch norm


def readings(foreign: Foreign) -> list[Reading]:
    """One: which network it is, its names tell."""
    if not is_tensorflow(foreign):
        return []
    for trunk in (V1, V2):
        if foreign.has(FIRST[trunk], "BoxPredictor_0/BoxEncodingPredictor/biases"):
            lite = "SSDlite" if _has_separable_heads(foreign) else "SSD"
            name = f"{NAME}/{EXTRACTORS[trunk].removeprefix('ssd_')}"
            return [Reading(name, f"{lite} with {trunk.rpartition('/')[2]}", partial(_convert, trunk))]
    return []


def _has_separable_heads(foreign: Foreign) -> bool:
    return foreign.has("BoxPredictor_0/BoxEncodingPredictor_depthwise/depthwise_weights")


def _has_separable_extras(foreign: Foreign, trunk: str) -> bool:
    return foreign.has(f"{trunk}/{LAST[trunk]}_2_Conv2d_2_3x3_s2_512_depthwise/depthwise_weights")


def _convert(trunk: str, foreign: Foreign) -> Imported:
    _check(foreign, trunk)
    num_classes = _num_classes(foreign)
    numbers = numbers_of(foreign, EXTRACTORS[trunk], num_classes)
    check_heads(
        foreign,
        [(*(f"BoxPredictor_{k}/{head}" for head in HEADS), len(specs)) for k, specs in enumerate(numbers.specs)],
    )
    rules = _rules(foreign, trunk)
    state, changes = converted(foreign, SCOPES, rules)
    last = "1." if _has_separable_heads(foreign) else ""
    for k in range(len(numbers.specs)):
        for name in (f"head.regression.{k}.{last}weight", f"head.regression.{k}.{last}bias"):
            state[name] = reordered_coordinates(state[name], ORDER)
    categories, assumed = usual_categories(num_classes)
    config = {
        "num_classes": num_classes,
        "size": list(numbers.size),
        "backbone": _backbone(foreign, trunk),
        "head": _head(foreign),
        **_config(numbers),
    }
    changes += ("boxes: y, x, height, width to x, y, width, height",)
    return Imported(MODELS[trunk], config, state, categories, changes, (*assumed, *numbers.assumed), rules)


def _check(foreign: Foreign, trunk: str) -> None:
    """Raise a ValueError for a network that has the right names, but is not read."""
    if foreign.shape(FIRST[trunk])[-1:] != (CHANNELS,):
        raise ValueError(
            f"{FIRST[trunk]} has the shape {foreign.shape(FIRST[trunk])}, expected {CHANNELS} channels: "
            "depth multipliers other than 1 are not read"
        )
    norm = f"{FIRST[trunk].removesuffix('weights')}BatchNorm/moving_mean"
    if not foreign.has(norm):
        raise ValueError(f"no variable {norm!r}: if batch norms were merged into convolutions, give the checkpoint")


def _num_classes(foreign: Foreign) -> int:
    """By the first level, whose heads have the boxes of a cell in common."""
    box, label = (math.prod(foreign.shape(f"BoxPredictor_0/{head}/biases")) for head in HEADS)
    return label // max(box // 4, 1)


def _backbone(foreign: Foreign, trunk: str) -> Part:
    separable = _has_separable_extras(foreign, trunk)
    if trunk == V1:
        return {"name": "mobilenet_v1", "extras": "tensorflow_lite" if separable else "tensorflow", "width": 1.0}
    return {"name": "mobilenet_v2", "extras": "ssdlite" if separable else "ssd", "width": 1.0, "padding": "same"}


def _head(foreign: Foreign) -> Part:
    if _has_separable_heads(foreign):
        return {"name": "ssdlite"}
    return {"name": "ssd", "kernel_size": foreign.shape("BoxPredictor_0/BoxEncodingPredictor/weights")[0]}


def _config(numbers: Numbers) -> Part:
    return {
        "default_boxes": {"name": "shapes", "shapes": numbers.shapes(), "steps": None, "clip": "none"},
        "coder": {"name": "centre_size", "weights": list(numbers.weights), "max_log_size": None},
        "loss": {"name": "focal" if numbers.converter == SIGMOID else "multibox"},
        "preprocess": warp(MEAN, MEAN, "tensorflow"),
        "postprocess": {
            "name": "nms",
            "score_threshold": numbers.score_threshold,
            "iou_threshold": numbers.iou_threshold,
            "top_k": None,
            "detections_per_image": numbers.detections,
            "drop_empty": True,
        },
    }


def _rules(foreign: Foreign, trunk: str) -> dict[str, str]:
    """Names of detzoo's network for those of this one."""
    blocks = _v1_blocks() if trunk == V1 else _v2_blocks()
    blocks |= _extras(LAST[trunk], _has_separable_extras(foreign, trunk))
    rules: dict[str, str] = {}
    for theirs, ours in blocks.items():
        rules |= normed(f"{trunk}/{theirs}", *(f"backbone.{place}" for place in ours))
    for theirs, ours in zip(HEADS, ("regression", "classification"), strict=True):
        place = f"head.{ours}.{{0}}"
        rules |= biased(rf"BoxPredictor_(\d)/{theirs}", f"{place}.1" if _has_separable_heads(foreign) else place)
        rules |= normed(rf"BoxPredictor_(\d)/{theirs}_depthwise", *_two(f"{place}.0"))
    return rules


def _two(block: str) -> Places:
    """The convolution and the norm of a block of these."""
    return f"{block}.0", f"{block}.1"


def _v1_blocks() -> dict[str, Places]:
    return {
        "Conv2d_0": _two("trunk.0"),
        r"Conv2d_(\d+)_depthwise": _two("trunk.{0}.0"),
        r"Conv2d_(\d+)_pointwise": _two("trunk.{0}.1"),
    }


def _v2_blocks() -> dict[str, Places]:
    """Of torchvision's blocks, which detzoo has; the 14th is split after its expansion, and those behind count on."""
    names = {"Conv": _two("trunk.0"), "Conv_1": _two("trunk.19")}
    names |= {"expanded_conv/depthwise": _two("trunk.1.conv.0"), "expanded_conv/project": _linear("trunk.1.conv", 1)}
    for k in range(1, 17):
        block = {13: "trunk.15"}.get(k, f"trunk.{k + 1 if k < 13 else k + 2}.conv")
        names[f"expanded_conv_{k}/expand"] = _two("trunk.14" if k == 13 else f"{block}.0")
        names[f"expanded_conv_{k}/depthwise"] = _two(f"{block}.1")
        names[f"expanded_conv_{k}/project"] = _linear(block, 2)
    return names


def _linear(block: str, place: int) -> Places:
    """The convolution and the norm at the end of an inverted residual: no activation follows, so they lie open."""
    return f"{block}.{place}", f"{block}.{place + 1}"


def _extras(last: str, separable: bool) -> dict[str, Places]:
    """Behind maps 0 and 1: a 1x1 convolution, and one with a stride, which may be two."""
    strided = rf"{last}_2_Conv2d_(\d)_3x3_s2_\d+"
    return {
        rf"{last}_1_Conv2d_(\d)_1x1_\d+": _two("extras.{0:-2}.0"),
        rf"{strided}_depthwise": _two("extras.{0:-2}.1"),
        strided: _two("extras.{0:-2}.2" if separable else "extras.{0:-2}.1"),
    }
