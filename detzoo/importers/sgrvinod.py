"""The tutorial of sgrvinod (github.com/sgrvinod/a-PyTorch-Tutorial-to-Object-Detection, commit 5d5b759): SSD300 with
VGG-16, saved as a pickled module, of which the readers take the tensors and run nothing.

Not followed: its norm of conv4_3 has no epsilon, so that a cell whose channels are all zero gives NaN, here zeros; and
where it finds nothing, it says so with a box of the whole image of class 0 and score 0, here with none.
"""

import math

from .layouts import reordered_boxes
from .names import rename
from .numbers import Part, imagenet
from .origin import Foreign, Imported, Reading, count_classes, usual_categories

NAME = "sgrvinod"
HOME = "https://github.com/sgrvinod/a-PyTorch-Tutorial-to-Object-Detection"
LEVELS = ("conv4_3", "conv7", "conv8_2", "conv9_2", "conv10_2", "conv11_2")
CLASS_HEADS = [f"pred_convs.cl_{level}" for level in LEVELS]
BOX_HEADS = [f"pred_convs.loc_{level}" for level in LEVELS]
STAGES = {1: (0, 2), 2: (5, 2), 3: (10, 3), 4: (17, 3), 5: (24, 3)}  # where they begin in the trunk, and convolutions
RULES = {
    **{
        rf"base\.conv{stage}_{k + 1}\.(.+)": f"backbone.trunk.{start + 2 * k}.{{0}}"
        for stage, (start, count) in STAGES.items()
        for k in range(count)
    },
    r"base\.conv6\.(.+)": "backbone.extras.0.1.{0}",
    r"base\.conv7\.(.+)": "backbone.extras.0.3.{0}",
    r"aux_convs\.conv(8|9|10|11)_1\.(.+)": "backbone.extras.{0:-7}.0.{1}",
    r"aux_convs\.conv(8|9|10|11)_2\.(.+)": "backbone.extras.{0:-7}.2.{1}",
    r"rescale_factors": "backbone.norms.22.weight",
    **{rf"pred_convs\.cl_{level}\.(.+)": f"head.classification.{k}.{{0}}" for k, level in enumerate(LEVELS)},
    **{rf"pred_convs\.loc_{level}\.(.+)": f"head.regression.{k}.{{0}}" for k, level in enumerate(LEVELS)},
}
NORM = "backbone.norms.22.weight"
# `create_prior_boxes` of its model.py: squares as fractions of the image's side, the larger one of the last level, and
# by the number of boxes of a cell, width over height of those that are no squares.
SCALES = (0.1, 0.2, 0.375, 0.55, 0.725, 0.9)
LAST_SQUARE = 1.0
RATIOS = {4: (2.0, 0.5), 6: (2.0, 0.5, 3.0, 0.333)}  # in detzoo's order; its own is 2, 3, 1/2, .333
ORDER_OF_SIX = (0, 1, 2, 4, 3, 5)
BOXES = (4, 6, 6, 6, 4, 4)


def readings(foreign: Foreign) -> list[Reading]:
    """One, known by its names: there are no others with these numbers."""
    if not foreign.has("rescale_factors", "base.conv1_1.weight", "aux_convs.conv8_1.weight"):
        return []
    return [Reading(NAME, "SSD300 with VGG-16 of sgrvinod's tutorial", _convert)]


def _convert(foreign: Foreign) -> Imported:
    num_classes = count_classes(foreign.state, CLASS_HEADS, BOX_HEADS, BOXES)
    state = rename(foreign.state, RULES)
    state[NORM] = state[NORM].flatten()
    for key in [key for key in state if key.startswith("head.")]:
        if BOXES[int(key.split(".")[2])] == len(ORDER_OF_SIX):
            state[key] = reordered_boxes(state[key], ORDER_OF_SIX)
    categories, assumed = usual_categories(num_classes)
    changes = (
        f"{NORM}: one dimension in place of four",
        "heads of levels with six boxes a cell: that of ratio 1/2 before that of ratio 3",
    )
    return Imported("ssd300_vgg16", _config(num_classes), state, categories, changes, assumed, RULES)


def _config(num_classes: int) -> dict[str, Part | int]:
    """Numbers of its eval.py, and of `transform` in its utils.py; the demo has other thresholds."""
    return {
        "num_classes": num_classes,
        "default_boxes": {"name": "shapes", "shapes": _shapes(), "steps": None, "clip": "centres_and_sizes"},
        "coder": {"name": "centre_size", "max_log_size": None},
        "preprocess": imagenet("pillow"),
        "postprocess": {
            "name": "nms",
            "score_threshold": 0.01,
            "iou_threshold": 0.45,
            "top_k": None,
            "detections_per_image": 200,
            "clip": False,
        },
    }


def _shapes() -> list[list[tuple[float, float]]]:
    """Width and height of each level's boxes; its 1/3 is .333, so that tall boxes are no mirror of the wide ones."""
    levels = []
    for count, low, high in zip(BOXES, SCALES, [*SCALES[1:], None], strict=True):
        square = LAST_SQUARE if high is None else math.sqrt(low * high)
        others = [(low * math.sqrt(ratio), low / math.sqrt(ratio)) for ratio in RATIOS[count]]
        levels.append([(low, low), (square, square), *others])
    return levels
