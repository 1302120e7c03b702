"""balancap/SSD-Tensorflow (github.com/balancap/SSD-Tensorflow, commit e0e3104): SSD300 and SSD512 with VGG-16.

Networks and default boxes are those of `nets/ssd_vgg_300.py` and `nets/ssd_vgg_512.py`, pixels those of
`preprocessing/ssd_vgg_preprocessing.py` (`preprocess_for_eval`), suppression that of `eval_ssd_network.py`. That keeps
at most 200 boxes of a class after suppression, of the 400 before; here there is no such limit.

The published files were converted from Caffe's. `ssd_vgg_300.py` has the sizes of default boxes that go with those
pre-trained on COCO, and since commit 6b58519, which brought the file trained on VOC alone, the sizes of that one as a
comment: the file says nothing of them, and with the wrong ones it loses a fifth of its mAP (issue 77).
"""

from functools import partial

from ..ops import below
from .numbers import (
    CAFFE_MEAN,
    RATIOS_300,
    RATIOS_512,
    SIZES_300_COCO,
    SIZES_300_VOC,
    SIZES_512_COCO,
    STEPS_300,
    STEPS_512,
    Part,
    sized_boxes,
    warp,
)
from .origin import Foreign, Imported, Reading, usual_categories
from .tensorflow_net import biased, check_heads, converted, is_tensorflow

NAME = "ssd-tensorflow"
HOME = "https://github.com/balancap/SSD-Tensorflow"
SCOPES = ("ssd_300_vgg", "ssd_512_vgg")
LEVELS = {SCOPES[0]: (4, 7, 8, 9, 10, 11), SCOPES[1]: (4, 7, 8, 9, 10, 11, 12)}  # blocks whose maps are used
BOXES = {SCOPES[0]: (4, 6, 6, 6, 4, 4), SCOPES[1]: (4, 6, 6, 6, 6, 4, 4)}  # of a cell
VGG = {1: (0, 2), 2: (5, 7), 3: (10, 12, 14), 4: (17, 19, 21), 5: (24, 26, 28)}  # places of each stage's convolutions


def readings(foreign: Foreign) -> list[Reading]:
    """SSD300 comes with two sets of default boxes, of which the file's name may tell."""
    if not is_tensorflow(foreign):
        return []
    if foreign.has("ssd_512_vgg/conv1/conv1_1/weights", "ssd_512_vgg/block4_box/conv_cls/biases"):
        about = "SSD512 with the default boxes of COCO, which its code has for every data set"
        return [Reading(f"{NAME}/coco", about, partial(_convert, "ssd_512_vgg", SIZES_512_COCO))]
    if not foreign.has("ssd_300_vgg/conv1/conv1_1/weights", "ssd_300_vgg/block4_box/conv_cls/biases"):
        return []
    name = foreign.file_name
    coco = Reading(
        f"{NAME}/coco",
        "SSD300 with the default boxes of COCO, 21 pixels and up: what its code has unless edited, for files that were "
        "pre-trained on COCO (VGG_VOC0712_SSD_300x300_ft_iter_120000, ssd_300_vgg) and what was trained from them",
        partial(_convert, "ssd_300_vgg", SIZES_300_COCO),
        hinted=name.startswith(("ssd_300_vgg", "vgg_voc0712_ssd_300x300_ft_iter")),
    )
    voc = Reading(
        f"{NAME}/voc",
        "SSD300 with the default boxes of VOC, 30 pixels and up (VGG_VOC0712_SSD_300x300_iter_120000)",
        partial(_convert, "ssd_300_vgg", SIZES_300_VOC),
        hinted=name.startswith("vgg_voc0712_ssd_300x300_iter"),
    )
    return [coco, voc]


def _convert(scope: str, sizes: list[float], foreign: Foreign) -> Imported:
    levels = list(zip(LEVELS[scope], BOXES[scope], strict=True))
    heads = [(f"{scope}/block{k}_box/conv_loc", f"{scope}/block{k}_box/conv_cls", boxes) for k, boxes in levels]
    num_classes = check_heads(foreign, heads)
    rules = _rules(scope)
    state, changes = converted(foreign, f"{scope}/", rules)
    categories, assumed = usual_categories(num_classes)
    small = scope == "ssd_300_vgg"
    ratios, steps = (RATIOS_300, STEPS_300) if small else (RATIOS_512, STEPS_512)
    config = {**_config(), "num_classes": num_classes, "default_boxes": sized_boxes(sizes, ratios, steps, "none")}
    model = "ssd300_vgg16" if small else "ssd512_vgg16"
    return Imported(model, config, state, categories, changes, assumed, rules)


def _config() -> Part:
    return {
        "coder": {"name": "centre_size", "max_log_size": None},
        "preprocess": warp(CAFFE_MEAN, (1.0, 1.0, 1.0), "tensorflow"),
        "postprocess": {
            "name": "nms",
            "score_threshold": below(0.01),
            "iou_threshold": 0.45,
            "top_k": 400,
            "detections_per_image": None,
            "clip": False,
        },
    }


def _rules(scope: str) -> dict[str, str]:
    """Names of detzoo's VGG for those of this one."""
    last = LEVELS[scope][-1]
    layers = {
        **{f"conv{s}/conv{s}_{k}": f"backbone.trunk.{p}" for s, places in VGG.items() for k, p in enumerate(places, 1)},
        "conv6": "backbone.extras.0.1",
        "conv7": "backbone.extras.0.3",
        **{f"block{k}/conv1x1": f"backbone.extras.{k - 7}.0" for k in range(8, last + 1)},
        **{f"block{k}/conv(?:3x3|4x4)": f"backbone.extras.{k - 7}.2" for k in range(8, last + 1)},
        **{f"block{k}_box/conv_cls": f"head.classification.{level}" for level, k in enumerate(LEVELS[scope])},
        **{f"block{k}_box/conv_loc": f"head.regression.{level}" for level, k in enumerate(LEVELS[scope])},
    }
    rules = {f"{scope}/block4_box/L2Normalization/gamma": "backbone.norms.22.weight"}
    for theirs, ours in layers.items():
        rules |= biased(f"{scope}/{theirs}", ours)
    return rules
