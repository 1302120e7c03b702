"""NVIDIA's SSD300 v1.1 (github.com/NVIDIA/DeepLearningExamples, PyTorch/Detection/SSD, commit 729963d): ResNet-18 to
ResNet-152 up to conv4_x.

The numbers are those of its COCO evaluation: preprocessing and default boxes of `ssd/utils.py` (`SSDTransformer`,
`dboxes300_coco`), suppression of `Encoder.decode_single` there, as `ssd/evaluate.py` calls it. The helpers of its
PyTorch Hub entry, `ssd/entrypoints.py`, crop the middle of an image and normalise it otherwise than training did.
"""

from ..categories import COCO, UNUSED, Categories
from ..ops import below
from .layouts import boxes_last
from .names import StateDict, rename
from .numbers import RATIOS_300, SIZES_300_COCO, STEPS_300, Part, imagenet, sized_boxes
from .origin import Foreign, Imported, Reading, count_classes, usual_categories
from .readers import shown_name

NAME = "nvidia"
HOME = "https://github.com/NVIDIA/DeepLearningExamples"
BOXES = (4, 6, 6, 6, 4, 4)
CLASS_HEADS = [f"conf.{level}" for level in range(6)]
BOX_HEADS = [f"loc.{level}" for level in range(6)]
TRUNK = "feature_extractor.feature_extractor"  # the first seven children of torchvision's ResNet
RULES = {
    r"feature_extractor\.feature_extractor\.([01456]\..+)": "backbone.trunk.{0}",
    r"additional_blocks\.([0-4])\.([01])\.(.+)": "backbone.extras.{0}.0.{1}.{2}",
    r"additional_blocks\.([0-4])\.([34])\.(.+)": "backbone.extras.{0}.1.{1:-3}.{2}",
    r"conf\.([0-5]\..+)": "head.classification.{0}",
    r"loc\.([0-5]\..+)": "head.regression.{0}",
}
# By whether blocks are bottlenecks, and how many there are in conv2_x, conv3_x and conv4_x: the trunk, and the model of
# the zoo that has it or its like.
TRUNKS = {
    (False, (2, 2, 2)): ("resnet18", "ssd300_resnet18"),
    (False, (3, 4, 6)): ("resnet34", "ssd300_resnet34"),
    (True, (3, 4, 6)): ("resnet50", "ssd300_resnet50"),
    (True, (3, 4, 23)): ("resnet101", "ssd300_resnet101"),
    (True, (3, 8, 36)): ("resnet152", "ssd300_resnet50"),
}


def readings(foreign: Foreign) -> list[Reading]:
    """One, known by its names; how deep the trunk is, the blocks tell."""
    if not foreign.has(f"{TRUNK}.0.weight", "additional_blocks.0.0.weight", "conf.0.weight", "loc.0.weight"):
        return []
    return [Reading(NAME, "NVIDIA's SSD300 with a ResNet", _convert)]


def _convert(foreign: Foreign) -> Imported:
    trunk, model = _trunk(foreign.state)
    num_classes = count_classes(foreign.state, CLASS_HEADS, BOX_HEADS, BOXES)
    state = rename(foreign.state, RULES)
    for key in [key for key in state if key.startswith("head.")]:
        level = int(key.split(".")[2])
        state[key] = boxes_last(state[key], BOXES[level])
    categories, assumed = _categories(foreign, num_classes)
    changes = ("heads: channels of (class or coordinate, box) to those of (box, class or coordinate)",)
    return Imported(model, _config(trunk, num_classes), state, categories, changes, assumed, RULES)


def _trunk(state: StateDict) -> tuple[str, str]:
    stages = [[key.split(".")[3] for key in state if key.startswith(f"{TRUNK}.{stage}.")] for stage in (4, 5, 6)]
    blocks = tuple(len(set(stage)) for stage in stages)
    bottleneck = f"{TRUNK}.4.0.conv3.weight" in state
    if (bottleneck, blocks) not in TRUNKS:
        known = ", ".join(name for name, _ in TRUNKS.values())
        raise ValueError(
            f"{TRUNK}.4, .5 and .6 have {blocks} {'bottleneck' if bottleneck else 'basic'} blocks: expected those of "
            f"one of {known}"
        )
    return TRUNKS[bottleneck, blocks]


def _config(trunk: str, num_classes: int) -> dict[str, Part | int]:
    return {
        "backbone": {"name": trunk},
        "num_classes": num_classes,
        "default_boxes": sized_boxes(SIZES_300_COCO, RATIOS_300, STEPS_300, "centres_and_sizes"),
        "coder": {"name": "centre_size", "max_log_size": None},
        "preprocess": imagenet("pillow"),
        "postprocess": {
            "name": "nms",
            "score_threshold": 0.05,
            "iou_threshold": below(0.5),  # what overlaps by exactly .5 goes, too
            "top_k": 200,
            "detections_per_image": 200,
            "clip": False,
        },
    }


def _categories(foreign: Foreign, num_classes: int) -> tuple[Categories | None, tuple[str, ...]]:
    """What its training wrote down as `label_map`: label and name, background at 0."""
    label_map = foreign.container.metadata.get("content", {}).get("label_map")
    if not isinstance(label_map, dict) or not label_map or not all(isinstance(label, int) for label in label_map):
        return usual_categories(num_classes)
    if max(label_map) >= num_classes:
        raise ValueError(f"its label_map has a label {max(label_map)}, but conf.0.bias is for {num_classes} classes")
    categories = Categories(tuple(shown_name(str(label_map.get(label, UNUSED))) for label in range(1, num_classes)))
    return (COCO if categories.names == COCO.names else categories), ()
