"""The one place where a model's numbers are written down."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import MISSING, dataclass, fields
from typing import Any, get_type_hints

from ..lookup import ConfigError, fits, option_problems


@dataclass
class SSDConfig:
    """All that `build_ssd` needs to assemble a detector.

    Every part is a name in its table (`"ssd"`), a dotted path to your own class (`"my_package.MyLoss"`), or a mapping
    of `name` and options, which are the keyword arguments of that class. What follows from other parts (channels, boxes
    per cell, the number of levels) is derived and cannot be set.

    Attributes:
        backbone: a part of `detzoo.backbones.BACKBONES`.
        default_boxes: a part of `detzoo.components.DEFAULT_BOXES`.
        size: height and width of the network's input in pixels.
        num_classes: classes with background; None where the data set's categories decide.
        head: a part of `HEADS`.
        neck: a part of `NECKS`, between backbone and head; None for none.
        matcher: a part of `MATCHERS`.
        coder: a part of `CODERS`.
        loss: a part of `LOSSES`.
        preprocess: a part of `PREPROCESSES`.
        postprocess: a part of `POSTPROCESSES`.
    """

    # Parts are `str | Mapping[str, Any]`; OmegaConf knows no such union, so `lookup.split_part` checks instead.
    backbone: Any
    default_boxes: Any
    size: tuple[int, int] = (300, 300)
    num_classes: int | None = None
    head: Any = "ssd"
    matcher: Any = "ssd"
    coder: Any = "centre_size"
    loss: Any = "multibox"
    preprocess: Any = "warp"
    postprocess: Any = "nms"
    neck: Any = None

    def __post_init__(self) -> None:
        if isinstance(self.size, list):  # OmegaConf and JSON give tuples back as lists
            self.size = tuple(self.size)
        for field in fields(self):  # `replace(preset, ...)` must not share its parts with the preset
            setattr(self, field.name, deepcopy(getattr(self, field.name)))

    def as_dict(self) -> dict[str, Any]:
        """Plain lists, dicts and numbers, as a checkpoint may hold them; `read_config` takes it back."""
        return {field.name: plain(getattr(self, field.name)) for field in fields(self)}


def read_config(config: SSDConfig | Mapping[str, Any]) -> SSDConfig:
    """An `SSDConfig` from itself, a mapping, or OmegaConf's form of either.

    Raises:
        ConfigError: for unknown, missing or ill-typed fields, all of them at once.
    """
    values, problems = check_config(config)
    if problems:
        raise ConfigError(problems)
    return SSDConfig(**values)


def check_config(config: SSDConfig | Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The fields of a config that can be used, defaults filled in, and what is wrong with the others.

    An ill-typed field falls back to its default, so that the rest can still be checked; its problem is on the list.
    """
    values = config.as_dict() if isinstance(config, SSDConfig) else plain(config)
    if not isinstance(values, dict):
        raise ConfigError([f"a model config is an SSDConfig or a mapping of its fields, got {type(config).__name__}"])
    hints, usable = get_type_hints(SSDConfig), {}
    for field in fields(SSDConfig):
        value = values.get(field.name, field.default)
        if value is not MISSING:
            usable[field.name] = value if fits(value, hints[field.name]) else field.default
    return usable, option_problems(SSDConfig, values, "model") + _range_problems(usable)


def _range_problems(values: Mapping[str, Any]) -> list[str]:
    problems = []
    if values["num_classes"] is not None and values["num_classes"] < 2:
        problems.append(f"model.num_classes = {values['num_classes']}: expected at least 2, since background counts")
    if min(values["size"]) < 1:
        problems.append(f"model.size = {values['size']}: expected a positive height and width in pixels")
    return problems


def plain(value: Any) -> Any:
    """Tuples as lists and OmegaConf containers as what they contain, so that equal configs compare equal."""
    if type(value).__module__.startswith("omegaconf"):
        from omegaconf import OmegaConf  # whoever hands over such a config has it installed

        return plain(OmegaConf.to_container(value, resolve=True))
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value
