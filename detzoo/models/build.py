"""Where parts become a model."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from torch import nn

from ..backbones import BACKBONES, Backbone
from ..categories import Categories
from ..components import (
    CODERS,
    DEFAULT_BOXES,
    HEADS,
    LOSSES,
    MATCHERS,
    POSTPROCESSES,
    PREPROCESSES,
    BoxCoder,
    DefaultBoxGenerator,
    Postprocess,
    Preprocess,
)
from ..lookup import ConfigError, build_part, resolve_part
from .config import SSDConfig, read_config
from .ssd import SSD, level_problem

HEAD_DERIVED = ("channels", "boxes_per_cell", "num_classes")
T = TypeVar("T")


def build_ssd(
    config: SSDConfig | Mapping[str, Any],
    *,
    categories: Categories | None = None,
    backbone: Backbone | None = None,
    default_boxes: DefaultBoxGenerator | None = None,
    head: nn.Module | None = None,
    matcher: nn.Module | None = None,
    coder: BoxCoder | None = None,
    loss: nn.Module | None = None,
    preprocess: Preprocess | None = None,
    postprocess: Postprocess | None = None,
) -> SSD:
    """Assemble a detector from its config; a finished part given here wins over the one that the config names.

    Args:
        config: an `SSDConfig`, a mapping of its fields, or OmegaConf's form of either.
        categories: names of the classes; where given, `num_classes` follows from them.
        backbone: a finished part, as are the rest.
        default_boxes: see there.
        head: see there.
        matcher: see there.
        coder: see there.
        loss: see there.
        preprocess: see there.
        postprocess: see there.

    Raises:
        ConfigError: a ValueError that lists everything wrong with the config: misspelt or ill-typed options with the
            nearest right word, unknown names, numbers of levels that do not fit.
    """
    config = read_config(config)
    problems: list[str] = []

    def part(ready: T | None, table: Mapping[str, Any], what: str, **derived: Any) -> T | None:
        return (
            ready
            if ready is not None
            else _attempt(problems, build_part, table, getattr(config, what), what, **derived)
        )

    backbone = part(backbone, BACKBONES, "backbone")
    default_boxes = part(default_boxes, DEFAULT_BOXES, "default_boxes", image_size=config.size)
    matcher = part(matcher, MATCHERS, "matcher")
    coder = part(coder, CODERS, "coder")
    loss = part(loss, LOSSES, "loss")
    preprocess = part(preprocess, PREPROCESSES, "preprocess", size=config.size)
    postprocess = part(postprocess, POSTPROCESSES, "postprocess")
    num_classes = _attempt(problems, _num_classes, config, categories)
    if head is None:  # the head needs the others: check its options even where one of them is missing
        _attempt(problems, resolve_part, HEADS, config.head, "head", HEAD_DERIVED)
    if backbone is not None and default_boxes is not None and (mismatch := level_problem(backbone, default_boxes)):
        problems.append(mismatch)
    if problems:
        raise ConfigError(problems)

    derived = dict(zip(HEAD_DERIVED, (backbone.channels, default_boxes.boxes_per_cell, num_classes), strict=True))
    head = head if head is not None else build_part(HEADS, config.head, "head", **derived)
    return SSD(
        backbone=backbone,
        default_boxes=default_boxes,
        head=head,
        matcher=matcher,
        coder=coder,
        loss=loss,
        preprocess=preprocess,
        postprocess=postprocess,
        categories=categories,
    )


def _attempt(problems: list[str], build: Callable[..., T], *args: Any, **derived: Any) -> T | None:
    """The result of a build step, or None with the reason written down: a config is told all its problems at once."""
    try:
        return build(*args, **derived)
    except ConfigError as error:
        problems += error.problems
    except ValueError as error:
        problems.append(str(error))
    return None


def _num_classes(config: SSDConfig, categories: Categories | None) -> int:
    if categories is None and config.num_classes is None:
        raise ValueError("model.num_classes is not set: set it (background counts), or pass the data set's categories")
    if categories is None:
        return config.num_classes
    if config.num_classes not in (None, categories.num_classes):
        raise ValueError(
            f"model.num_classes = {config.num_classes}, but there are {len(categories)} categories and background, "
            f"{categories.num_classes} classes: leave num_classes out (null), it follows from the categories"
        )
    return categories.num_classes
