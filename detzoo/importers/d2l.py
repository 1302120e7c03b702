"""TinySSD of Dive into Deep Learning (github.com/d2l-ai/d2l-en, commit 23d7a5a): the PyTorch code of the chapters
"Single Shot Multibox Detection" and "Anchor Boxes".

No weights are published; a file is what readers save of its `TinySSD`. The book's images have 256 x 256 pixels and go
in as bytes. Its PyTorch code resizes nothing; here, other images are resized as its MXNet code does, which is OpenCV.
Suppression is that of `multibox_detection`: of each default box the best class, across classes, without a limit; what
its demo shows has a score of at least 0.9.
"""

from collections.abc import Mapping

from torch import Tensor

from ..categories import Categories
from ..ops import below
from .names import StateDict, rename, rename_back
from .numbers import warp
from .origin import Foreign, Imported, Reading, count_classes

NAME = "d2l"
HOME = "https://github.com/d2l-ai/d2l-en"
BANANA = Categories(("banana",))
RULES = {
    r"blk_0\.([0-2])\.([01])\.(.+)": "backbone.trunk.{0}.0.{1}.{2}",  # its first block is three
    r"blk_0\.([0-2])\.([34])\.(.+)": "backbone.trunk.{0}.1.{1:-3}.{2}",
    r"blk_([1-3])\.([01])\.(.+)": "backbone.trunk.{0:+2}.0.{1}.{2}",
    r"blk_([1-3])\.([34])\.(.+)": "backbone.trunk.{0:+2}.1.{1:-3}.{2}",
    r"cls_(\d)\.(.+)": "head.classification.{0}.{1}",
    r"bbox_(\d)\.(.+)": "head.regression.{0}.{1}",
}
LEVELS, BOXES = 5, 4
LOWEST_SCORE = 0.009999999  # is still shown


def readings(foreign: Foreign) -> list[Reading]:
    """One, known by its names."""
    if not foreign.has("blk_0.0.0.weight", "blk_3.4.weight", "cls_0.weight", "bbox_0.weight"):
        return []
    return [Reading(NAME, "TinySSD of Dive into Deep Learning", _convert)]


def export(state: Mapping[str, Tensor]) -> StateDict:
    """Weights of detzoo's `tiny_ssd` under the book's names."""
    return rename_back(state, RULES)


def _convert(foreign: Foreign) -> Imported:
    heads = ([f"{kind}_{level}" for level in range(LEVELS)] for kind in ("cls", "bbox"))
    num_classes = count_classes(foreign.state, *heads, [BOXES] * LEVELS)
    config = {
        "num_classes": num_classes,
        "preprocess": warp((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "opencv"),
        "postprocess": {
            "name": "nms",
            "score_threshold": below(LOWEST_SCORE),
            "iou_threshold": 0.5,
            "top_k": None,
            "detections_per_image": None,
            "class_agnostic": True,
            "best_class_only": True,
            "clip": False,
        },
    }
    only = num_classes == BANANA.num_classes
    names = "the class is the book's, banana" if only else f"the names of the {num_classes - 1} classes"
    assumed = (names, "images of other sizes than 256 x 256 are resized, which the book's PyTorch code does not do")
    state = rename(foreign.state, RULES)
    return Imported("tiny_ssd", config, state, BANANA if only else None, assumed=assumed, rules=RULES)
