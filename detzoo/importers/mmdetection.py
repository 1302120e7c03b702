"""open-mmlab/mmdetection (github.com/open-mmlab/mmdetection, version 3.3.0): SSD300 and SSD512 with VGG-16, SSDlite320
with MobileNetV2.

Preprocessing and suppression are those of its configs `ssd/*.py` and `pascal_voc/ssd*.py`, and so are default boxes
where the file does not hold a config of its own. Facts:

- `dense_heads/ssd_head.py`: background is the last class;
- `prior_generators/anchor_generator.py`, `SSDAnchorGenerator`: sizes of SSD512 are cut to whole pixels, as in Caffe,
  and nothing is clipped;
- `coders/delta_xywh_bbox_coder.py`: log sizes are limited from both sides, and boxes are clipped to the image;
- `dense_heads/base_dense_head.py`: of each map the 1000 best pairs of box and class, without boxes that have no area;
  200 of an image. Before pull request 6268 these were the 1000 best boxes, and the first configs of version 2 had no
  such limit, which shows in crowds only.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from ..categories import COCO, VOC, Categories
from .layouts import background_first
from .mmdetection_meta import Meta, Range, default_boxes_in, is_of_version_1, meta_of, size_in
from .mmdetection_names import MOBILENET_V2, OLD_VGG, VGG
from .names import Rules, StateDict, rename
from .numbers import (
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
from .origin import Foreign, Imported, Reading, split_classes, usual_categories

NAME = "mmdetection"
HOME = "https://github.com/open-mmlab/mmdetection"
MEAN, LITE_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # RGB, of bytes
LIMIT = math.log(1000 / 16)  # of a log size
POSTPROCESS: Part = {
    "name": "nms",
    "score_threshold": 0.02,
    "iou_threshold": 0.45,
    "top_k": 1000,
    "top_k_per": "level",
    "detections_per_image": 200,
    "clip": True,
    "drop_empty": True,
}


class Published(NamedTuple):
    """One of its configs.

    Attributes:
        about: whose default boxes these are.
        sizes: the smaller squares, and behind them the partner of the last one.
        size_range: from which its anchor generator makes these; empty where they are listed.
    """

    about: str
    sizes: Sequence[float]
    size_range: Range = ()


class Kind(NamedTuple):
    """One of its networks.

    Attributes:
        model: what it is a kind of in the zoo.
        about: what it is.
        side: of its images, in pixels.
        configs: the published ones, by name.
        ratios: of default boxes beyond the squares.
        steps: between them, in pixels.
        std: of bytes.
        backbone: where it is not that of the model.
    """

    model: str
    about: str
    side: int
    configs: dict[str, Published]
    ratios: list[list[int]]
    steps: list[int]
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    backbone: Part | None = None


SSD300 = Kind(
    "ssd300_vgg16",
    "SSD300 with VGG-16",
    300,
    {
        "ssd300_voc": Published("VOC's default boxes", SIZES_300_VOC, (0.2, 0.9)),
        "ssd300_coco": Published("COCO's default boxes", SIZES_300_COCO, (0.15, 0.9)),
    },
    RATIOS_300,
    STEPS_300,
)
SSD512 = Kind(
    "ssd512_vgg16",
    "SSD512 with VGG-16",
    512,
    {
        "ssd512_voc": Published("VOC's default boxes", list(map(int, SIZES_512_VOC)), (0.15, 0.9)),
        "ssd512_coco": Published("COCO's default boxes", list(map(int, SIZES_512_COCO)), (0.1, 0.9)),
    },
    RATIOS_512,
    STEPS_512,
)
SSDLITE = Kind(
    "ssdlite320_mobilenet_v2",
    "SSDlite320 with MobileNetV2",
    320,
    {"ssdlite320": Published("the published default boxes", [48, 100, 150, 202, 253, 304, 320])},
    [[2, 3]] * 6,
    [16, 32, 64, 107, 160, 320],
    LITE_STD,
    {"name": "mobilenet_v2", "width": 1.0, "extras": "ssdlite", "first_map": "block"},
)


class Layout(NamedTuple):
    """A network and the names of its tensors: the rules, and what stands between the number of a map and `.weight`."""

    kind: Kind
    rules: Rules
    last: str


def readings(foreign: Foreign) -> list[Reading]:
    """The names say which network; default boxes are those of the config in the file, else of a published one."""
    layout = _layout(foreign)
    if layout is None:
        return []
    kind, meta = layout.kind, meta_of(foreign)
    said = _said(meta, kind)
    hint = _hint(foreign, layout, meta, said)
    found = []
    for name, published in kind.configs.items():
        numbers = _numbers(kind, published)
        assumed = () if said == numbers else (f"{published.about}, those of its config {name}",)
        convert = partial(_convert, layout=layout, numbers=numbers, assumed=assumed)
        found.append(Reading(f"{NAME}/{name}", f"{kind.about}, {published.about}", convert, hinted=name == hint))
    if said is not None and hint is None:
        about = f"{kind.about} with what the config in the file says"
        convert = partial(_convert, layout=layout, numbers=said, assumed=())
        found.append(Reading(f"{NAME}/own_config", about, convert, hinted=True))
    return found


def _layout(foreign: Foreign) -> Layout | None:
    if not any(key.startswith("bbox_head.") for key in foreign.state):
        return None
    if foreign.has("backbone.layer1.0.depthwise_conv.conv.weight", "neck.extra_layers.0.1.depthwise_conv.conv.weight"):
        return Layout(SSDLITE, MOBILENET_V2, ".1")
    if foreign.has("backbone.features.0.weight", "neck.l2_norm.weight"):
        return Layout(SSD512 if foreign.has("neck.extra_layers.4.0.conv.weight") else SSD300, VGG, ".0")
    if foreign.has("backbone.features.0.weight", "backbone.l2_norm.weight"):
        return Layout(SSD512 if foreign.has("backbone.extra.8.weight") else SSD300, OLD_VGG, "")
    return None


def _numbers(kind: Kind, published: Published) -> Part:
    """Fields of the config that go with a published one."""
    boxes = sized_boxes(published.sizes, kind.ratios, kind.steps, "none")
    return {"size": (kind.side, kind.side), "default_boxes": boxes}


def _said(meta: Meta, kind: Kind) -> Part | None:
    """These fields as the config in the file has them."""
    made = [published for published in kind.configs.values() if published.size_range]
    sizes = {published.size_range: list(published.sizes) for published in made}
    boxes = default_boxes_in(meta.config, sizes)
    return boxes and {"size": size_in(meta.config) or (kind.side, kind.side), "default_boxes": boxes}


def _hint(foreign: Foreign, layout: Layout, meta: Meta, said: Part | None) -> str | None:
    """The published config that the file is of, by the first that tells: its own config, the names of its classes, the
    name of the file, how many classes there are.
    """
    kind, names = layout.kind, list(layout.kind.configs)
    if said is not None:
        return next((name for name, published in kind.configs.items() if _numbers(kind, published) == said), None)
    if len(names) == 1:
        return names[0]
    by_classes = {VOC.names: names[0], COCO.names: names[1]}
    by_file = next((name for name in names if foreign.file_name.startswith(name)), None)
    if meta.classes is not None:
        return by_classes.get(meta.classes, by_file)
    rows = math.prod(foreign.shape(f"bbox_head.cls_convs.0{layout.last}.bias"))
    by_count = {4 * VOC.num_classes: names[0], 4 * COCO.num_classes: names[1]}
    return by_file or by_count.get(rows)


def _convert(foreign: Foreign, layout: Layout, numbers: Part, assumed: tuple[str, ...]) -> Imported:
    kind, meta = layout.kind, meta_of(foreign)
    boxes = [2 + 2 * len(ratios) for ratios in numbers["default_boxes"]["aspect_ratios"]]
    num_classes = _checked_classes(foreign, layout, boxes)
    if layout.rules is OLD_VGG and is_of_version_1(meta, num_classes):
        raise ValueError(
            "a checkpoint of mmdetection 1, whose background is the first class and whose boxes are a pixel larger: "
            "only those of versions 2 and 3 can be imported; train it again there"
        )
    state = rename(foreign.state | _turned(foreign, layout, boxes), layout.rules)
    categories, guessed = _categories(meta, num_classes)
    config = {
        "num_classes": num_classes,
        **numbers,
        "coder": {"name": "centre_size", "max_log_size": LIMIT, "min_log_size": -LIMIT},
        "preprocess": warp(MEAN, kind.std, "opencv"),
        "postprocess": dict(POSTPROCESS),
        **({} if kind.backbone is None else {"backbone": kind.backbone}),
    }
    changes = ("class heads: background last to background first",)
    return Imported(kind.model, config, state, categories, changes, (*assumed, *guessed), layout.rules)


def _checked_classes(foreign: Foreign, layout: Layout, boxes: Sequence[int]) -> int:
    """How many classes the heads tell apart.

    Raises:
        ValueError: naming the first tensor of a head that is missing, or not for so many boxes of a cell.
    """
    counts = []
    for level, count in enumerate(boxes):
        names = [f"bbox_head.{head}_convs.{level}{layout.last}" for head in ("cls", "reg")]
        keys = [f"{name}.{tensor}" for name in names for tensor in ("weight", "bias")]
        if absent := [key for key in keys if key not in foreign.state]:
            raise ValueError(f"no tensor {absent[0]!r}: expected heads on {len(boxes)} feature maps")
        if (rows := foreign.shape(keys[3])) != (4 * count,):
            raise ValueError(f"{keys[3]} {rows}: expected {4 * count} numbers, those of {count} boxes of a cell")
        counts.append(split_classes(foreign.state[keys[1]], count, keys[1]))
        if counts[-1] != counts[0]:
            raise ValueError(f"{keys[1]} is for {counts[-1]} classes, that of the first map for {counts[0]}")
        for weight, bias in (keys[:2], keys[2:]):
            if foreign.shape(weight)[:1] != foreign.shape(bias):
                raise ValueError(f"{weight} {foreign.shape(weight)}: expected as many rows as {bias} has numbers")
    return counts[0]


def _turned(foreign: Foreign, layout: Layout, boxes: Sequence[int]) -> StateDict:
    """Its class heads, background first."""
    names = {f"bbox_head.cls_convs.{level}{layout.last}": count for level, count in enumerate(boxes)}
    return {
        f"{name}.{tensor}": background_first(foreign.state[f"{name}.{tensor}"], count)
        for name, count in names.items()
        for tensor in ("weight", "bias")
    }


def _categories(meta: Meta, num_classes: int) -> tuple[Categories | None, tuple[str, ...]]:
    """The classes that the file names, and what is assumed of them."""
    if meta.classes is None:
        return usual_categories(num_classes)
    if len(meta.classes) != num_classes - 1:
        guess = f"labels are numbers: the file names {len(meta.classes)} classes, and tells {num_classes - 1} apart"
        return None, (guess,)
    known = next((known for known in (VOC, COCO) if known.names == meta.classes), None)
    return known or Categories(meta.classes), ()
