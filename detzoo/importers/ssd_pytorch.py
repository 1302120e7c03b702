"""amdegroot/ssd.pytorch (github.com/amdegroot/ssd.pytorch, commit 5b0b77f): SSD300 with VGG-16.

Preprocessing and default boxes are those of `data/config.py` and `data/__init__.py`, suppression that of
`layers/functions/detection.py`, whose last step, 200 boxes an image, writes to a copy and has no effect.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from torch import Tensor

from .layouts import rgb_first
from .names import StateDict, rename, rename_back
from .numbers import CAFFE_MEAN, RATIOS_300, SIZES_300_COCO, SIZES_300_VOC, STEPS_300, sized_boxes, warp
from .origin import Foreign, Imported, Reading, count_classes, usual_categories

NAME = "ssd.pytorch"
HOME = "https://github.com/amdegroot/ssd.pytorch"
RULES = {
    r"vgg\.(\d|1\d|2\d)\.(.+)": "backbone.trunk.{0}.{1}",
    r"vgg\.(3[13])\.(.+)": "backbone.extras.0.{0:-30}.{1}",  # fc6 and fc7
    r"L2Norm\.weight": "backbone.norms.22.weight",
    **{rf"extras\.{i}\.(.+)": f"backbone.extras.{1 + i // 2}.{2 * (i % 2)}.{{0}}" for i in range(8)},
    r"conf\.([0-5]\..+)": "head.classification.{0}",
    r"loc\.([0-5]\..+)": "head.regression.{0}",
}
FIRST = "backbone.trunk.0.weight"
V2_SHA256 = "3d147eb48c8f3771101e12ff14d8105b935d2e4e08fa471e2ee5a2426c20d61e"
COCO_CLASSES = (81, 201)  # 201 is what its config says of COCO
BOXES = (4, 6, 6, 6, 4, 4)  # of a cell
CLASS_HEADS, BOX_HEADS = ([f"{head}.{level}" for level in range(len(BOXES))] for head in ("conf", "loc"))


def readings(foreign: Foreign) -> list[Reading]:
    """The layouts are all the same; default boxes and the order of colours go by the data set, or the file's name."""
    if not foreign.has("vgg.0.weight", "L2Norm.weight", "loc.0.weight", "conf.0.bias"):
        return []
    classes = foreign.state["conf.0.bias"].numel() // BOXES[0]  # whether that goes up is for conversion to say
    voc = Reading(f"{NAME}/voc", "SSD300 with VOC's default boxes", partial(_convert, sizes=SIZES_300_VOC))
    coco = Reading(f"{NAME}/coco", "SSD300 with COCO's default boxes", partial(_convert, sizes=SIZES_300_COCO))
    if classes in COCO_CLASSES:
        return [coco]
    if classes != 21:
        return [voc, coco]
    about = "SSD300 converted from the Caffe original (ssd_300_VOC0712.pth): blue first, default boxes not clipped"
    caffe = Reading(f"{NAME}/caffe", about, _convert_caffe, hinted=foreign.file_name.startswith("ssd_300_voc0712"))
    trained = foreign.file_name.startswith("ssd300_map_77.43_v2")
    return [replace(voc, hinted=trained, sha256=V2_SHA256), caffe]


def export(state: Mapping[str, Tensor]) -> StateDict:
    """Weights of detzoo's SSD300 with VGG-16 under this project's names."""
    return rename_back(state, RULES)


def _convert(foreign: Foreign, sizes: list[float], clip: str = "centres_and_sizes") -> Imported:
    num_classes = count_classes(foreign.state, CLASS_HEADS, BOX_HEADS, BOXES)
    state = rename(foreign.state, RULES)
    categories, assumed = usual_categories(num_classes)
    config = {
        "num_classes": num_classes,
        "default_boxes": sized_boxes(sizes, RATIOS_300, STEPS_300, clip),
        "coder": {"name": "centre_size", "max_log_size": None},
        "preprocess": warp(CAFFE_MEAN, (1.0, 1.0, 1.0), "opencv"),
        "postprocess": {
            "name": "nms",
            "score_threshold": 0.01,
            "iou_threshold": 0.45,
            "top_k": 200,
            "detections_per_image": None,
            "clip": False,
        },
    }
    return Imported("ssd300_vgg16", config, state, categories, assumed=assumed, rules=RULES)


def _convert_caffe(foreign: Foreign) -> Imported:
    found = _convert(foreign, SIZES_300_VOC, clip="none")
    state = {**found.state, FIRST: rgb_first(found.state[FIRST])}
    changes = (f"{FIRST}: blue first to red first",)
    assumed = (*found.assumed, "blue comes first in its images, as in Caffe's; its authors disagree (issue 44)")
    return replace(found, state=state, changes=changes, assumed=assumed)
