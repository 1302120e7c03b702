"""The one place where a model's numbers are written down."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ..lookup import ConfigError, option_problems


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

    def __post_init__(self) -> None:
        if isinstance(self.size, list):  # OmegaConf and JSON give tuples back as lists
            self.size = tuple(self.size)

    def as_dict(self) -> dict[str, Any]:
        """Plain lists, dicts and numbers, as a checkpoint may hold them; `read_config` takes it back."""
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self)}


def read_config(config: SSDConfig | Mapping[str, Any]) -> SSDConfig:
    """An `SSDConfig` from itself, a mapping, or OmegaConf's form of either.

    Raises:
        ConfigError: for unknown, missing or ill-typed fields, all of them at once.
    """
    values = config.as_dict() if isinstance(config, SSDConfig) else _plain(config)
    if not isinstance(values, dict):
        raise ConfigError([f"a model config is an SSDConfig or a mapping of its fields, got {type(config).__name__}"])
    problems = option_problems(SSDConfig, values, "model")
    if not problems and values.get("num_classes") is not None and values["num_classes"] < 2:
        problems = [f"model.num_classes = {values['num_classes']}: expected at least 2, since background counts"]
    if not problems and min(values.get("size", (1,))) < 1:
        problems = [f"model.size = {values['size']}: expected a positive height and width in pixels"]
    if problems:
        raise ConfigError(problems)
    return SSDConfig(**values)


def _plain(value: Any) -> Any:
    """Tuples as lists and OmegaConf containers as what they contain, so that equal configs compare equal."""
    if type(value).__module__.startswith("omegaconf"):
        from omegaconf import OmegaConf  # whoever hands over such a config has it installed

        return _plain(OmegaConf.to_container(value, resolve=True))
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
