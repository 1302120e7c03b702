"""Where parts become a model."""

import inspect
from collections.abc import Callable, Mapping, Sequence
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
    NECKS,
    POSTPROCESSES,
    PREPROCESSES,
    BoxCoder,
    DefaultBoxGenerator,
    Postprocess,
    Preprocess,
)
from ..lookup import ConfigError, fits, resolve_part, split_part, taken_by
from .config import SSDConfig, check_config, plain
from .ssd import SSD, level_problem

# In the order in which they are built: a part may ask for what those before it say.
TABLES: dict[str, Mapping[str, Any]] = {
    "backbone": BACKBONES,
    "neck": NECKS,
    "default_boxes": DEFAULT_BOXES,
    "coder": CODERS,
    "loss": LOSSES,
    "matcher": MATCHERS,
    "preprocess": PREPROCESSES,
    "postprocess": POSTPROCESSES,
    "head": HEADS,
}
Known = dict[str, Any]  # the size, the number of classes, and the parts that are there
Facts = dict[str, tuple[str, Callable[[Any], Any]]]  # who is asked, and what; "maps" is the neck or, without, the trunk
CODER: Facts = {"coder": ("coder", lambda coder: coder)}
SIZE = ("size", lambda size: size)
BOXES_PER_CELL = ("default_boxes", lambda default_boxes: default_boxes.boxes_per_cell)
# What a part is told of the others, if its builder has a parameter of that name.
DERIVED: dict[str, Facts] = {
    "neck": {"channels": ("backbone", lambda backbone: backbone.channels)},
    "default_boxes": {
        "image_size": SIZE,
        "num_levels": ("backbone", lambda backbone: len(backbone.channels)),
        "first_stride": ("backbone", lambda backbone: getattr(backbone, "first_stride", None)),
    },
    "loss": CODER,
    "matcher": {
        **CODER,
        "scores": ("loss", lambda loss: getattr(loss, "scores", None)),
        "boxes_per_cell": BOXES_PER_CELL,
    },
    "preprocess": {"size": SIZE},
    "head": {
        "channels": ("maps", lambda maps: maps.channels),
        "boxes_per_cell": BOXES_PER_CELL,
        "num_classes": ("num_classes", lambda num_classes: num_classes),
    },
}
# What others ask of a part: the attribute, its type, and what that is.
MAPS = ("channels", Sequence[int], "a list of numbers, one for each map")
STATED: dict[str, tuple[tuple[str, Any, str], ...]] = {
    "backbone": (MAPS,),
    "neck": (MAPS,),
    "default_boxes": (
        ("boxes_per_cell", Sequence[int], "a list of numbers, one for each level"),
        ("num_levels", int, "the number of levels"),
    ),
    "preprocess": (("size", tuple[int, int], "height and width of the network's input"),),
    "head": (("num_classes", int, "the number of classes with background"),),
}
T = TypeVar("T")


def part_problems(config: SSDConfig | Mapping[str, Any]) -> list[str]:
    """What can be said against a config before anything is built: unknown names, misspelt or ill-typed options.

    In words of the command line, where each part is a field of `model`.
    """
    values, problems = check_config(config)
    for name, table in TABLES.items():
        if name in values and (name, values[name]) != ("neck", None):  # a missing part is a problem already
            _attempt(problems, resolve_part, table, values[name], name, DERIVED.get(name, {}), f"model.{name}")
    return problems


def spelt_out(config: SSDConfig) -> dict[str, Any]:
    """The fields of a config, each part as its name with all of its options, so that equal ones compare equal.

    Parts by dotted path keep what is said of them: looking them up would run their code.
    """
    return {name: _spelt_out(name, value) if name in TABLES else value for name, value in config.as_dict().items()}


def _spelt_out(what: str, part: Any) -> Any:
    if part is None:  # no neck
        return None
    name, options = split_part(part, what)
    parameters = inspect.signature(TABLES[what][name]).parameters.values() if name in TABLES[what] else ()
    own = [one for one in parameters if one.default is not one.empty and one.name not in DERIVED.get(what, {})]
    return plain({"name": name, **{one.name: one.default for one in own}, **options})


def build_ssd(
    config: SSDConfig | Mapping[str, Any],
    *,
    categories: Categories | None = None,
    backbone: Backbone | None = None,
    default_boxes: DefaultBoxGenerator | None = None,
    neck: nn.Module | None = None,
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
        neck: see there; states `channels`.
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
    finished = (backbone, neck, default_boxes, coder, loss, matcher, preprocess, postprocess, head)
    given = {name: part for name, part in zip(TABLES, finished, strict=True) if part is not None}
    _check_finished(given)
    size = tuple(values["size"])
    known: Known = {"size": size} if min(size) >= 1 else {}  # numbers out of range are problems already
    configured = values["num_classes"] if head is None else head.num_classes
    num_classes = _attempt(problems, _num_classes, configured, categories)
    known |= {"num_classes": num_classes} if num_classes is not None and num_classes >= 2 else {}
    for name, table in TABLES.items():
        if name in given:
            known[name] = given[name]
        elif name in values and (name, values[name]) != ("neck", None):  # a missing part is a problem already
            part = _attempt(problems, _build, table, values[name], name, known)
            known |= {} if part is None else {name: part}
        if name == "default_boxes" and (misfits := _level_problems(known)):
            problems += misfits
            del known[name]  # the head would stumble over them again
    if preprocess is not None and tuple(preprocess.size) != size:
        problems.append(f"the finished preprocess makes images of {preprocess.size}, but model.size is {size}")
    if problems:
        raise ConfigError(problems)
    if head is None and (prior := getattr(known["loss"], "prior", None)) is not None:
        if not hasattr(known["head"], "start_at"):
            raise ConfigError(
                [f"the head {type(known['head']).__name__} has no start_at(prior), which this loss asks for"]
            )
        known["head"].start_at(prior)
    return SSD(**{name: known[name] for name in TABLES if name in known}, categories=categories)


def _check_finished(given: Mapping[str, Any]) -> None:
    unfinished = [name for name, part in given.items() if not isinstance(part, nn.Module)]
    if unfinished:
        advice = "is no finished part (an nn.Module); a part by name belongs in the config"
        raise ConfigError([f"{name}={given[name]!r} {advice}" for name in unfinished])
    if problems := [problem for name, part in given.items() for problem in _unstated(name, part)]:
        raise ConfigError(problems)


def _unstated(name: str, part: Any) -> list[str]:
    """What a part does not say of itself though others ask for it."""
    problems = []
    for attribute, hint, meaning in STATED.get(name, ()):
        stated = getattr(part, attribute, None)
        if stated is None:
            problems.append(f"the {name} {type(part).__name__} does not state `{attribute}`, {meaning}")
        elif not stated or not fits(stated, hint):
            problems.append(f"the {name} {type(part).__name__} states `{attribute}` = {stated!r}: expected {meaning}")
    return problems


def _build(table: Mapping[str, Any], part: Any, name: str, known: Known) -> Any:
    """A part by name, or None where the part that it asks about is missing, once its options were looked at.

    Raises:
        ConfigError: for wrong options, and for a part that is no module or does not state what others ask of it.
    """
    derived = DERIVED.get(name, {})
    builder, options = resolve_part(table, part, name, derived)
    asked = {fact: derived[fact] for fact in taken_by(builder, derived)}
    there = known | ({"maps": known.get("neck", known["backbone"])} if "backbone" in known else {})
    if any(whom not in there for whom, _ in asked.values()):
        return None
    built = builder(**{fact: tell(there[whom]) for fact, (whom, tell) in asked.items()}, **options)
    if not isinstance(built, nn.Module):
        raise ConfigError([f"{name} {part!r} makes {type(built).__name__}: expected an nn.Module"])
    if problems := _unstated(name, built):
        raise ConfigError(problems)
    return built


def _level_problems(known: Known) -> list[str]:
    if "backbone" not in known or "default_boxes" not in known:
        return []
    problem = level_problem(known["backbone"], known["default_boxes"])
    return [problem] if problem else []


def _attempt(problems: list[str], build: Callable[..., T], *args: Any) -> T | None:
    """The result of a build step, or None with the reason written down: a config is told all its problems at once."""
    try:
        return build(*args)
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
