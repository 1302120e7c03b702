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
from .config import SSDConfig, check_config
from .ssd import SSD, level_problem

TABLES: dict[str, Mapping[str, Any]] = {
    "backbone": BACKBONES,
    "default_boxes": DEFAULT_BOXES,
    "matcher": MATCHERS,
    "coder": CODERS,
    "loss": LOSSES,
    "preprocess": PREPROCESSES,
    "postprocess": POSTPROCESSES,
}  # and HEADS: a head is built last, from what the others say
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
    values, problems = check_config(config)
    ready = (backbone, default_boxes, matcher, coder, loss, preprocess, postprocess)
    given = {"head": head, **dict(zip(TABLES, ready, strict=True))}
    unfinished = [name for name, part in given.items() if part is not None and not isinstance(part, nn.Module)]
    if unfinished:
        advice = "is no finished part (an nn.Module); a part by name belongs in the config"
        raise ConfigError([f"{name}={given[name]!r} {advice}" for name in unfinished])
    size = tuple(values["size"])
    derived = {"default_boxes": {"image_size": size}, "preprocess": {"size": size}}
    parts = {
        name: given[name] if given[name] is not None else _build(problems, values, name, derived.get(name, {}))
        for name in TABLES
    }
    configured = values["num_classes"] if head is None else head.num_classes
    num_classes = _attempt(problems, _num_classes, configured, categories)
    if head is None:  # it needs the others: look at its options even where one of them is missing
        _attempt(problems, resolve_part, HEADS, values["head"], "head", HEAD_DERIVED)
    problems += _level_problems(parts["backbone"], parts["default_boxes"])
    if preprocess is not None and preprocess.size != size:
        problems.append(f"the finished preprocess makes images of {preprocess.size}, but model.size is {size}")
    if problems:
        raise ConfigError(problems)
    if head is None:
        facts = (parts["backbone"].channels, parts["default_boxes"].boxes_per_cell, num_classes)
        head = build_part(HEADS, values["head"], "head", **dict(zip(HEAD_DERIVED, facts, strict=True)))
    return SSD(**parts, head=head, categories=categories)


def _build(problems: list[str], values: Mapping[str, Any], name: str, derived: Mapping[str, Any]) -> Any:
    if name not in values:  # a missing part is among the problems already
        return None
    return _attempt(problems, build_part, TABLES[name], values[name], name, **derived)


def _level_problems(backbone: Backbone | None, default_boxes: DefaultBoxGenerator | None) -> list[str]:
    if backbone is None or default_boxes is None:
        return []
    problem = level_problem(backbone, default_boxes)
    return [problem] if problem else []


def _attempt(problems: list[str], build: Callable[..., T], *args: Any, **derived: Any) -> T | None:
    """The result of a build step, or None with the reason written down: a config is told all its problems at once."""
    try:
        return build(*args, **derived)
    except ConfigError as error:
        problems += error.problems
    except ValueError as error:
        problems.append(str(error))
    return None


def _num_classes(configured: int | None, categories: Categories | None) -> int:
    if categories is None and configured is None:
        raise ValueError("model.num_classes is not set: set it (background counts), or pass the data set's categories")
    if categories is None:
        return configured
    if configured not in (None, categories.num_classes):
        raise ValueError(
            f"num_classes = {configured} in the model, but there are {len(categories)} categories and background, "
            f"{categories.num_classes} classes: leave model.num_classes out (null), it follows from the categories"
        )
    return categories.num_classes
