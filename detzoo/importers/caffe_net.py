"""What a Caffe net says besides its weights: the size of its input, pixels, default boxes, suppression.

A .caffemodel repeats the layers with which it was saved, and a prototxt beside it may say more or something else; it is
the prototxt that Caffe runs, so it counts first. Facts are those of weiliu89/caffe, branch ssd, commit 4817bf8:
`src/caffe/proto/caffe.proto` has the defaults of what is left out.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .numbers import Part, warp
from .origin import Foreign, split_classes

Size = tuple[int, int]
PIXELS, PRIOR, OUTPUT = "transform_param", "prior_box_param", "detection_output_param"
LEAST, MOST = 1e-6, 1e6  # of numbers that are to be positive; and of any
SAID = {PIXELS: "mean pixel and scale", PRIOR: "default boxes", OUTPUT: "suppression"}


def stated(foreign: Foreign, parameter: str) -> dict[str, Part]:
    """What the layers say in this field, by their names: those of the prototxt, or where none has it of the weights."""
    return next((found for found in _said_twice(foreign, parameter) if found), {})


def _said_twice(foreign: Foreign, parameter: str) -> list[dict[str, Part]]:
    """What the prototxt says in this field, and what the weights repeat, by the names of the layers."""
    metadata = foreign.container.metadata
    return [
        {
            layer["name"]: layer[parameter]
            for layer in layers
            if isinstance(layer, dict) and "name" in layer and isinstance(layer.get(parameter), dict)
        }
        for layers in ((metadata.get("prototxt") or {}).get("layer", []), metadata.get("layers", []))
    ]


def _prototxt(foreign: Foreign) -> str:
    return Path(foreign.container.metadata.get("prototxt_path") or "the prototxt").name


def unsaid(foreign: Foreign, parameters: Sequence[str] = tuple(SAID)) -> tuple[str, ...]:
    """A line for the prototxt that was taken, and for each of the fields that neither it nor the weights have."""
    taken = foreign.container.metadata.get("prototxt_path")
    line = (f"{_prototxt(foreign)} beside the file is of this net: its layers have the same names",) if taken else ()
    return line + tuple(
        f"{SAID[parameter]}: as published, since neither the file nor a prototxt beside it has a {parameter}"
        for parameter in parameters
        if not stated(foreign, parameter)
    )


def input_size(foreign: Foreign, usual: Size) -> Size:
    """Height and width of the input, by the prototxt's input, an Input layer or the size that data are resized to.

    Raises:
        ValueError: if these say different things, or no size.
    """
    sizes = set(_input_sizes(foreign))
    if len(sizes) > 1:
        raise ValueError(f"the net has inputs of different sizes, {sorted(sizes)}: give a prototxt with one")
    return sizes.pop() if sizes else usual


def _input_sizes(foreign: Foreign) -> Iterator[Size]:
    prototxt = foreign.container.metadata.get("prototxt") or {}
    shapes = [("input_shape", shape.get("dim", [])) for shape in prototxt.get("input_shape", [])]
    shapes += [("the net", prototxt["input_dim"])] if "input_dim" in prototxt else []
    for name, param in stated(foreign, "input_param").items():
        shapes += [(name, shape.get("dim", [])) for shape in param.get("shape", [])]
    yield from (tuple(_positive(shape[2:], name, "dim")) for name, shape in shapes if len(shape) == 4)
    for name, transform in stated(foreign, PIXELS).items():
        resize = transform.get("resize_param", {})
        refuse_others(resize, name, resize_mode="WARP")
        if "height" in resize and "width" in resize:
            yield tuple(_positive([resize["height"], resize["width"]], name, "height, width"))


def preprocess(foreign: Foreign, mean: Sequence[float], scale: float) -> Part:
    """Images warped by OpenCV as bytes (`ApplyResize` in `src/caffe/util/im_transforms.cpp`), less a mean, times a
    scale.

    Args:
        foreign: the file.
        mean: of bytes, blue first, where no layer has a transform_param.
        scale: behind it.

    Raises:
        ValueError: for a mean in a file of its own, or of another number of colours, and a scale that is not positive.
    """
    for name, transform in stated(foreign, PIXELS).items():
        refuse_others(transform, name, mean_file=None)
        mean = _one_or_each(transform.get("mean_value", [0.0]), 3, name, "mean_value")
        (scale,) = _positive([transform.get("scale", 1.0)], name, "scale")
    return warp(mean[::-1], [1 / scale] * 3, "opencv")


def postprocess(foreign: Foreign, usual: Part) -> Part:
    """What `src/caffe/layers/detection_output_layer.cpp` does: nothing is clipped, and scores lie above the threshold.

    Args:
        foreign: the file.
        usual: a detection_output_param for where no layer has one.

    Raises:
        ValueError: for a field that detzoo has no place for.
    """
    ((name, param),) = [*stated(foreign, OUTPUT).items()][:1] or [("", usual)]
    suppression = param.get("nms_param", {})
    refuse_others({"code_type": "CORNER", **param}, name, code_type="CENTER_SIZE")
    refuse_others(param, name, share_location=True, background_label_id=0, variance_encoded_in_target=False)
    refuse_others(suppression, name, eta=1.0)
    return {
        "name": "nms",
        "score_threshold": param.get("confidence_threshold", 0.0),
        "iou_threshold": suppression.get("nms_threshold", 0.3),
        "top_k": _limit(suppression.get("top_k", -1)),
        "detections_per_image": _limit(param.get("keep_top_k", -1)),
        "clip": False,
    }


def _limit(number: int) -> int | None:
    return number if number >= 0 else None


def priors(foreign: Foreign, sources: Sequence[str], usual: Sequence[Part]) -> list[Part]:
    """The prior_box_param of each level.

    Args:
        foreign: the file.
        sources: the layers that the heads look at, by which `<source>_mbox_priorbox` is named.
        usual: where the file has none.

    Raises:
        ValueError: naming the one that is missing while others are there, or of which prototxt and weights say
            different things.
    """
    found = stated(foreign, PRIOR)
    if not found:
        return list(usual)
    names = [f"{source}_mbox_priorbox" for source in sources]
    if missing := [name for name in names if name not in found]:
        raise ValueError(f"no PriorBox layer {missing[0]!r}: the net has {', '.join(found)}")
    _refuse_two_minds(foreign, names)
    return [found[name] for name in names]


def _refuse_two_minds(foreign: Foreign, names: Sequence[str]) -> None:
    """Raise a ValueError if a prototxt and the weights beside it state different default boxes."""
    beside, repeated = _said_twice(foreign, PRIOR)
    for name in names:
        if name in beside and name in repeated and _meaning(beside[name], name) != _meaning(repeated[name], name):
            raise ValueError(
                f"{name}: {_prototxt(foreign)} says {beside[name]}, and the weights themselves say {repeated[name]}: "
                "weights belong to the default boxes that they were trained with; take a prototxt of another net away"
            )


def _meaning(param: Part, where: str) -> tuple[Any, ...]:
    """Of a prior_box_param: shapes, step and variances, however they are written."""
    variance = tuple(_one_or_each(param.get("variance", [0.1]), 4, where, "variance"))
    return _shapes(param, where), _step(param, where), variance


def default_boxes(levels: Sequence[Part], size: Size) -> Part:
    """The boxes of `src/caffe/layers/prior_box_layer.cpp`, whose sizes are whole numbers: 35.84 pixels become 35.

    Args:
        levels: a prior_box_param each.
        size: height and width of the input.

    Raises:
        ValueError: for a field that detzoo has no place for.
    """
    for where, param in _named(levels):
        # "clip" limits corners, and the image's size may be made up
        refuse_others(param, where, clip=False, offset=0.5, img_size=0, img_h=0, img_w=0)
        for field in ("min_size", "max_size", "aspect_ratio"):
            _positive(param.get(field, []), where, field)
    steps = [_step(param, where) for where, param in _named(levels)]
    if None in steps and any(steps):
        raise ValueError(f"some PriorBox layers have a step and some have not: {steps}")
    shapes = [[[w / size[1], h / size[0]] for w, h in _shapes(param, where)] for where, param in _named(levels)]
    return {"name": "shapes", "shapes": shapes, "steps": None if None in steps else steps, "clip": "none"}


def _named(levels: Sequence[Part]) -> list[tuple[str, Part]]:
    return [(f"PriorBox of level {level}", param) for level, param in enumerate(levels)]


def _step(param: Part, where: str) -> float | None:
    """Pixels between cells; without it, the image over the number of cells."""
    fields = [field for field in ("step", "step_h", "step_w") if field in param]
    steps = {step for field in fields for step in _positive([param[field]], where, field)}
    if len(steps) > 1:
        raise ValueError(f"{where} has steps of {sorted(steps)} pixels: detzoo has one for both directions")
    return steps.pop() if steps else None


def _shapes(param: Part, where: str) -> list[tuple[float, float]]:
    """(width, height) of the boxes of a cell, in pixels and in the order of the head's channels."""
    smallest, largest = (
        _positive([int(side) for side in param.get(field, [])], where, f"{field} in whole pixels")
        for field in ("min_size", "max_size")
    )
    if not smallest or largest and len(largest) != len(smallest):
        raise ValueError(f"{where} has {len(smallest)} min_size and {len(largest)} max_size")
    shapes = []
    for index, side in enumerate(smallest):
        shapes.append((side, side))
        if largest:
            shapes.append((math.sqrt(side * largest[index]),) * 2)
        shapes += [(side * math.sqrt(ratio), side / math.sqrt(ratio)) for ratio in _ratios(param)]
    return shapes


def _ratios(param: Part) -> list[float]:
    """All but 1, each once."""
    ratios = [1.0]
    for ratio in param.get("aspect_ratio", []):
        if all(abs(ratio - known) >= 1e-6 for known in ratios):
            ratios += [ratio, 1 / ratio] if param.get("flip", True) else [ratio]
    return ratios[1:]


def coder(levels: Sequence[Part]) -> Part:
    """Decoding by the variances of the default boxes, one for all or four.

    Raises:
        ValueError: if these are others for some levels, or not positive.
    """
    variances = set()
    for where, param in _named(levels):
        four = _one_or_each(param.get("variance", [0.1]), 4, where, "variance")
        variances.add(tuple(_positive(four, where, "variance")))
    if len(variances) > 1:
        raise ValueError(f"levels have different variances, {sorted(variances)}: detzoo has one set for all boxes")
    (variance,) = variances
    return {
        "name": "centre_size",
        "weights": [1 / one for one in variance],
        "max_log_size": None,
    }


def published_priors(sizes: Sequence[float], ratios: Sequence[Sequence[float]], steps: Sequence[float]) -> list[Part]:
    """The prior_box_param of levels whose sizes follow one another, as the scripts in `examples/ssd` write them."""
    rows = zip(sizes, sizes[1:], ratios, steps, strict=False)
    return [prior([low], [high], level, step=step) for low, high, level, step in rows]


def prior(low: Sequence[float], high: Sequence[float], ratios: Sequence[float], **step: float) -> Part:
    """A prior_box_param with the usual variances."""
    return {"min_size": low, "max_size": high, "aspect_ratio": ratios, "variance": [0.1, 0.1, 0.2, 0.2], **step}


def check_blobs(foreign: Foreign, layers: Iterable[str], numbers: Sequence[int] = (0, 1)) -> None:
    """Raise a ValueError that names the first of these layers' blobs that the file has not."""
    for layer in layers:
        for number in numbers:
            if not foreign.has(name := f"{layer}.{number}"):
                raise ValueError(f"no blob {name!r}: the file is not complete, or of another kind of net")


def check_heads(foreign: Foreign, sources: Sequence[str], boxes: Sequence[int]) -> int:
    """How many classes, background counted, the heads of a net tell apart.

    Args:
        foreign: the file.
        sources: the layers that the heads look at, by which `<source>_mbox_loc` and `<source>_mbox_conf` are named.
        boxes: default boxes of a cell, for each.

    Raises:
        ValueError: naming the first bias that is of another size.
    """
    counts = {}
    for source, count in zip(sources, boxes, strict=True):
        loc, conf = f"{source}_mbox_loc.1", f"{source}_mbox_conf.1"
        if foreign.shape(loc) != (4 * count,):
            raise ValueError(
                f"{loc} {foreign.shape(loc)}: expected 4 numbers for each of {count} default boxes of a cell"
            )
        counts[conf] = split_classes(foreign.state[conf], count, conf)
    if len(set(counts.values())) > 1:
        raise ValueError(f"the heads tell different numbers of classes apart: {counts}")
    return counts[conf]


def blobs(names: Mapping[str, str]) -> dict[str, str]:
    """Rules that rename weight and bias of convolutions: layers of Caffe to modules of detzoo."""
    return {
        rf"{theirs}\.{index}": f"{ours}.{what}"
        for theirs, ours in names.items()
        for index, what in enumerate(("weight", "bias"))
    }


def refuse_others(param: Part, where: str, **known: Any) -> None:
    """Raise a ValueError for the first field that is there and not what it is known to be."""
    for field, value in known.items():
        if param.get(field, value) != value:
            raise ValueError(f"{where}: {field} = {param[field]}; detzoo can only do {value}")


def _positive(values: Sequence[Any], where: str, field: str) -> Sequence[Any]:
    """The values, or a ValueError for the first that is no number above 0, or is none that a net would have."""
    for value in values:
        if not _is_number(value) or value < LEAST:
            raise ValueError(f"{where}: {field} = {value!r}; expected a number above 0 ({LEAST:g} to {MOST:g})")
    return values


def _one_or_each(values: Sequence[Any], count: int, where: str, field: str) -> list[float]:
    """As many values as there are places for, of as many or of one for all."""
    if len(values) not in (1, count) or not all(map(_is_number, values)):
        raise ValueError(f"{where}: {field} = {list(values)}; expected 1 number or {count}")
    return [*values] * (count // len(values))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and abs(value) <= MOST
