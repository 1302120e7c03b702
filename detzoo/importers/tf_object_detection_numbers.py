"""The numbers beside the weights of TensorFlow's Object Detection API: where a frozen graph says them, where the
`pipeline.config` of a checkpoint does, and what its own configs for COCO have.

Sources, in github.com/tensorflow/models/tree/master/research/object_detection: default boxes
`anchor_generators/multiple_grid_anchor_generator.py`, what a config leaves out `protos/*.proto`, suppression
`core/post_processing.py`, as of the published graphs (2018).
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .origin import Foreign
from .readers.prototxt import read_prototxt

CONFIG = "pipeline.config"
LEVELS = 6
Specs = list[tuple[float, float]]  # scale and ratio of each box of a cell
LARGEST = 10_000  # pixels of a side
SCALES, RATIOS = (1e-3, 10.0), (1e-3, 1e3)  # of default boxes, the least and the largest
SIGMOID, SOFTMAX = "SIGMOID", "SOFTMAX"


@dataclass(frozen=True)
class Numbers:
    """What is not in the weights.

    Attributes:
        size: height and width of the network's input.
        specs: of the default boxes of each level.
        weights: of the box coder, (dx, dy, dw, dh).
        converter: from logits to scores.
        score_threshold: scores are above it.
        iou_threshold: of suppression.
        detections: of an image.
        assumed: what nothing said, a line each.
    """

    size: tuple[int, int]
    specs: list[Specs]
    weights: tuple[float, ...]
    converter: str
    score_threshold: float
    iou_threshold: float
    detections: int
    assumed: tuple[str, ...] = ()

    def shapes(self) -> list[list[list[float]]]:
        """Width and height of each box of a cell of each level, as fractions of the image."""
        across, down = min(self.size) / self.size[1], min(self.size) / self.size[0]
        return [
            [[scale * math.sqrt(ratio) * across, scale / math.sqrt(ratio) * down] for scale, ratio in specs]
            for specs in self.specs
        ]


def numbers_of(foreign: Foreign, extractor: str, num_classes: int) -> Numbers:
    """The numbers of a file: its own, those of the config beside it, or the usual ones.

    Args:
        foreign: the file.
        extractor: as a config names what is in the file.
        num_classes: background counted.

    Raises:
        ValueError: for a config or graph that asks for what detzoo does not have.
    """
    if foreign.container.kind == "tensorflow-graph":
        return _of_graph(foreign)
    path = foreign.container.path.with_name(CONFIG)
    if not path.is_file():
        return _of_config({}, (f"all but the weights, since there is no {CONFIG} beside the file: {_usual()}",))
    ssd = _within(read_prototxt(path), "model", "ssd")
    if _within(ssd, "feature_extractor").get("type") == extractor and ssd.get("num_classes") == num_classes - 1:
        return _of_config(ssd, ())
    return _of_config({}, (f"all but the weights, since the {CONFIG} beside the file is of another net: {_usual()}",))


def _usual() -> str:
    return "the default boxes, sigmoids and suppression of its SSDs for COCO, at 300 pixels"


def _within(message: Any, *names: str) -> dict[str, Any]:
    """A message in a message, empty where there is none.

    Raises:
        ValueError: if it comes more than once, or is no message.
    """
    for name in names:
        message = message.get(name, {})
        if not isinstance(message, dict):
            raise ValueError(f"{CONFIG}: {name} is {message!r:.60}, expected one message in braces")
    return message


def _number(
    message: dict[str, Any], field: str, default: float, low: float, high: float, *, whole: bool = False
) -> Any:
    """A field of a message of the config; see `_checked`."""
    return _checked(message.get(field, default), f"{CONFIG}: {field}", low, high, whole=whole)


def _checked(value: Any, what: str, low: float, high: float, *, whole: bool = False) -> Any:
    """The value, or a ValueError unless it is one number, a whole one if that is asked, in this range."""
    kinds = int if whole else int | float
    if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
        raise ValueError(f"{what} = {value!r:.60}; expected {'a whole' if whole else 'a'} number, {low:g} to {high:g}")
    return value if whole else float(value)


def _of_config(ssd: dict[str, Any], assumed: tuple[str, ...]) -> Numbers:
    """From the message `SsdFeatures` of a config; without any, what the project's configs for COCO say."""
    suppression = _within(ssd, "post_processing", "batch_non_max_suppression")
    coder = _within(ssd, "box_coder", "faster_rcnn_box_coder")
    named = {name: _number(coder, f"{name}_scale", default, 1e-6, 1e6) for name, default in _CODER.items()}
    limits = ("max_total_detections", "max_detections_per_class")
    total, most = (_number(suppression, name, 100, 1, 1e6, whole=True) for name in limits)
    if most < total:
        assumed += (f"the limit of {most} detections of a class is left out, that of {total} of an image is kept",)
    return Numbers(
        size=_input_size(ssd),
        specs=_specs(_within(ssd, "anchor_generator", "ssd_anchor_generator")),
        weights=tuple(named[name] for name in ("x", "y", "width", "height")),
        converter=_converter(_within(ssd, "post_processing").get("score_converter", "IDENTITY") if ssd else SIGMOID),
        score_threshold=_number(suppression, "score_threshold", 0.0 if ssd else 1e-8, 0, 1),
        iou_threshold=_number(suppression, "iou_threshold", 0.6, 0, 1),
        detections=total,
        assumed=assumed,
    )


_CODER = {"x": 10.0, "y": 10.0, "width": 5.0, "height": 5.0}


def _converter(name: Any) -> str:
    if name not in (SIGMOID, SOFTMAX):
        raise ValueError(f"{CONFIG}: score_converter is {name!s:.60}, expected {SIGMOID} or {SOFTMAX}")
    return name


def _input_size(ssd: dict[str, Any]) -> tuple[int, int]:
    resizer = _within(ssd, "image_resizer")
    if resizer and "fixed_shape_resizer" not in resizer:
        raise ValueError(f"{CONFIG}: images are resized by {next(iter(resizer))}, expected fixed_shape_resizer")
    fixed = _within(resizer, "fixed_shape_resizer")
    return _number(fixed, "height", 300, 1, LARGEST, whole=True), _number(fixed, "width", 300, 1, LARGEST, whole=True)


def _specs(generator: dict[str, Any]) -> list[Specs]:
    """Scales and ratios of `create_ssd_anchors`: the square between two levels comes last, and level 0 has three
    boxes of its own.
    """
    plain = {"num_layers", "min_scale", "max_scale", "aspect_ratios", "reduce_boxes_in_lowest_layer", "scales"}
    if others := sorted(generator.keys() - plain - {"interpolated_scale_aspect_ratio"}):
        raise ValueError(f"{CONFIG}: ssd_anchor_generator has {others[0]}, which is not read")
    levels = _number(generator, "num_layers", LEVELS, 1, 100, whole=True)
    low, high = _number(generator, "min_scale", 0.2, *SCALES), _number(generator, "max_scale", 0.95, *SCALES)
    linear = [low + (high - low) * level / max(levels - 1, 1) for level in range(levels)]
    scales = [*_list(generator, "scales", linear, SCALES), 1.0]
    ratios = _list(generator, "aspect_ratios", (1.0, 2.0, 0.5, 3.0, 0.3333), RATIOS)
    between = _number(generator, "interpolated_scale_aspect_ratio", 1.0, -RATIOS[1], RATIOS[1])  # of 0: no such box
    specs = [
        [(scale, ratio) for ratio in ratios] + ([(math.sqrt(scale * after), between)] if between > 0 else [])
        for scale, after in zip(scales, scales[1:], strict=False)
    ]
    reduced = generator.get("reduce_boxes_in_lowest_layer", True)
    if not isinstance(reduced, bool):
        raise ValueError(f"{CONFIG}: reduce_boxes_in_lowest_layer = {reduced!r:.60}; expected true or false")
    if reduced:
        specs[0] = [(0.1, 1.0), (scales[0], 2.0), (scales[0], 0.5)]
    return specs


def _list(message: dict[str, Any], field: str, default: Sequence[float], limits: tuple[float, float]) -> list[float]:
    """Numbers of a field that may come more than once, one at least."""
    value = message.get(field, default)
    values = value if isinstance(value, list | tuple) else [value]
    if not values:
        raise ValueError(f"{CONFIG}: {field} is empty; expected numbers, one at least")
    return [_checked(number, f"{CONFIG}: {field}", *limits) for number in values]


def _of_graph(foreign: Foreign) -> Numbers:
    """From constants of a frozen graph: by the names of the operations that use them."""
    usual = _of_config({}, ())
    generator = r"MultipleGridAnchorGenerator/"
    ratios = _vectors(foreign, rf"{generator}Sqrt(?:_(\d+))?/x")
    scales = _vectors(foreign, rf"{generator}mul(?:_(\d+))?/x")
    suppression = r"Postprocessor/BatchMultiClassNonMaxSuppression/.*"
    read = {
        "size": _first(foreign, r"Preprocessor/.*ResizeImage/size"),
        "score_threshold": _first(foreign, rf"{suppression}(FilterGreaterThan/Greater/y|/score_threshold)"),
        "iou_threshold": _first(foreign, rf"{suppression}/iou_threshold"),
    }
    assumed = [f"{name.replace('_', ' ')}: the graph does not say it" for name, value in read.items() if value is None]
    same = [len(scale) for scale in scales] == [len(ratio) for ratio in ratios]
    if not ratios or not same:
        assumed.append("default boxes are those of its SSDs for COCO: the graph does not say them")
    for name, vectors, limits in (("ratio", ratios, RATIOS), ("scale", scales, SCALES)):
        for value in (value for vector in vectors for value in vector):
            _checked(value, f"the graph: {name} of a default box", *limits)
    specs = [list(zip(scale, ratio, strict=True)) for scale, ratio in zip(scales, ratios, strict=False)]
    ops = foreign.container.metadata.get("ops", {})
    return Numbers(
        size=_graph_size(read["size"]) or usual.size,
        specs=specs if ratios and same else usual.specs,
        weights=usual.weights,
        converter=SOFTMAX if "Softmax" in ops and "Sigmoid" not in ops else SIGMOID,
        score_threshold=_graph_threshold(read, "score_threshold", usual.score_threshold),
        iou_threshold=_graph_threshold(read, "iou_threshold", usual.iou_threshold),
        detections=usual.detections,
        assumed=tuple(assumed),
    )


def _graph_size(said: list[float] | None) -> tuple[int, int] | None:
    if said is None:
        return None
    if len(said) != 2:
        raise ValueError(f"the graph resizes images to {len(said)} numbers; expected height and width")
    height, width = (int(_checked(side, "the graph: size of the input", 1, LARGEST)) for side in said)
    return height, width


def _graph_threshold(read: dict[str, list[float] | None], name: str, usual: float) -> float:
    said = read[name]
    if said is None:
        return usual
    return _checked(said[0] if len(said) == 1 else said, f"the graph: {name}", 0, 1)


def _vectors(foreign: Foreign, pattern: str) -> list[list[float]]:
    """Constants [n] whose names match, by the number in the name."""
    found = {name: re.fullmatch(pattern, name) for name in foreign.state}
    vectors = {int(match[1] or 0): foreign.state[name] for name, match in found.items() if match}
    return [vectors[key].tolist() for key in sorted(vectors) if _is_vector(vectors[key])]


def _is_vector(tensor: Tensor) -> bool:
    return tensor.ndim == 1 and tensor.is_floating_point()


def _first(foreign: Foreign, pattern: str) -> list[float] | None:
    """The numbers of the first constant whose name matches."""
    name = next((name for name in foreign.state if re.fullmatch(pattern, name)), None)
    return None if name is None else foreign.state[name].flatten().tolist()
