"""What mmdetection writes beside the weights: the names of the classes, and its config as a text, which is searched and
never run.

Sources: mmengine 0.10.7, `Runner.save_checkpoint`, for version 3; `apis/train.py` for version 2; `apis/inference.py`,
`init_detector`, for both ways to name classes.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from .numbers import Part
from .origin import Foreign
from .readers import shown_name

Range = tuple[float, ...]
_BRACKETS = str.maketrans("()", "[]")
_GENERATOR = "anchor_generator=dict["


class Meta(NamedTuple):
    """What a file says of itself.

    Attributes:
        classes: their names; None where it says none.
        config: the text without spaces, all brackets square; empty where there is none.
        version: of mmdetection; empty where it does not say.
    """

    classes: tuple[str, ...] | None
    config: str
    version: str


def meta_of(foreign: Foreign) -> Meta:
    """What lies beside the weights, as versions 2 and 3 write it."""
    meta = _dict(_dict(foreign.container.metadata.get("content")).get("meta"))
    dataset = {str(key).lower(): value for key, value in _dict(meta.get("dataset_meta")).items()}
    classes = dataset.get("classes", meta.get("CLASSES"))
    named = isinstance(classes, list | tuple) and all(isinstance(name, str) for name in classes)
    config = _text(meta.get("cfg")) or _text(meta.get("config"))
    plain = re.sub(r"\s+", "", config).translate(_BRACKETS).replace(",]", "]")
    return Meta(tuple(map(shown_name, classes)) if named else None, plain, _text(meta.get("mmdet_version")))


def default_boxes_in(config: str, sizes: Mapping[Range, list[float]]) -> Part | None:
    """The default boxes of a config; None where it has none that can be read, or has several pieces of which one
    changes the other.

    Args:
        config: see `Meta`.
        sizes: smaller squares, and behind them the partner of the last one, by the `basesize_ratio_range` for which the
            anchor generator makes them.
    """
    if config.count(_GENERATOR) != 1:
        return None
    arguments = _closed(config.partition(_GENERATOR)[2])
    small, large = _numbers(arguments, "min_sizes"), _numbers(arguments, "max_sizes")
    if not small:
        row = sizes.get(tuple(_numbers(arguments, "basesize_ratio_range")), [])
        small, large = list(row[:-1]), list(row[1:])
    steps, ratios = _numbers(arguments, "strides"), _ratios(arguments)
    if not small or not len(small) == len(large) == len(steps) == len(ratios):
        return None
    return {
        "name": "sizes",
        "min_sizes": small,
        "max_sizes": large,
        "aspect_ratios": ratios,
        "steps": steps,
        "clip": "none",
    }


def size_in(config: str) -> tuple[int, int] | None:
    """Height and width of the images, if all the config's resizing goes to one size."""
    found = set(re.findall(r"\b(?:img_)?scale=\[(\d{2,4}),(\d{2,4})\]", config))
    return tuple(map(int, *(reversed(scale) for scale in found))) if len(found) == 1 else None


def is_of_version_1(meta: Meta, num_classes: int) -> bool:
    """Whether version 1 wrote a file whose head tells so many classes apart, background counted.

    It counted background in its configs, and later versions do not. The number of the version is looked at only where
    there is no config: the first files of version 2 say 1.0rc1 (issue 4268).
    """
    said = set(map(int, re.findall(r"\bnum_classes=(\d{1,6})\b", meta.config)))
    if said:
        return num_classes in said and num_classes - 1 not in said
    return meta.version.startswith(("0.", "1."))


def _dict(value: Any) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _closed(text: str) -> str:
    """What comes before the bracket that nothing in the text opens."""
    depth = 1
    for place, letter in enumerate(text):
        depth += (letter == "[") - (letter == "]")
        if depth == 0:
            return text[:place]
    return text


def _value(arguments: str, name: str) -> Any:
    """A list of numbers, or of such lists; None where there is none."""
    found = re.search(rf"\b{name}=(?=\[)", arguments)
    try:
        return found and json.JSONDecoder().raw_decode(arguments, found.end())[0]
    except (ValueError, RecursionError):
        return None


def _numbers(arguments: str, name: str) -> list[float]:
    """A list of positive numbers; empty where there is none."""
    value = _value(arguments, name) or []
    return value if _positive(value) else []


def _ratios(arguments: str) -> list[list[float]]:
    value = _value(arguments, "ratios") or []
    return value if all(isinstance(row, list) and _positive(row) for row in value) else []


def _positive(values: Iterable[Any]) -> bool:
    return all(type(value) in (int, float) and 0 < value < math.inf for value in values)
