"""What a model is, in numbers: levels, default boxes, parameters, multiplications; and its boxes on a picture."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from .components import PREPROCESSES
from .importers.readers import shown_name
from .lookup import ConfigError, build_part
from .models import MODELS, SSD, SSDConfig, WeightsEnum, build_ssd, load
from .models.build import part_problems
from .models.config import read_config
from .models.opening import named_weights
from .models.published import card_rows, sentences
from .models.sizes import size_problem
from .models.weights import is_address
from .models.zoo import all_weights
from .ops import scale_boxes
from .viz import draw_box_groups

Size = tuple[int, int]


class LevelFacts(NamedTuple):
    """One feature map and its default boxes.

    Attributes:
        grid: rows and columns of cells.
        stride: pixels of the network's input between neighbouring cells, down and across.
        channels: of the map that the head is given.
        boxes: [K, 4] xyxy pixels of the network's input, those of the cell nearest to the middle of the image.
    """

    grid: tuple[int, int]
    stride: tuple[float, float]
    channels: int
    boxes: Tensor

    @property
    def sizes(self) -> list[tuple[float, float]]:
        """Width and height of the boxes of a cell, in pixels of the network's input."""
        return [tuple(size) for size in (self.boxes[:, 2:] - self.boxes[:, :2]).tolist()]

    @property
    def default_boxes(self) -> int:
        return self.grid[0] * self.grid[1] * len(self.boxes)


class Cost(NamedTuple):
    """Parameters of a part, and multiply-accumulates (of convolutions and matrix products) that an image takes."""

    parameters: int
    macs: int


class ModelFacts(NamedTuple):
    """A detector in numbers, for an input of `size` (height, width); `parts` are the network's, in its order."""

    size: Size
    num_classes: int
    levels: tuple[LevelFacts, ...]
    parts: dict[str, Cost]

    @property
    def default_boxes(self) -> int:
        return sum(level.default_boxes for level in self.levels)

    @property
    def total(self) -> Cost:
        return Cost(*(sum(column) for column in zip(*self.parts.values(), strict=True)))


@torch.no_grad()
def describe_model(model: SSD, size: Size | None = None) -> ModelFacts:
    """Count what a model has and does. Nothing is computed: shapes are followed through a copy without weights.

    Args:
        model: on any device, in any mode; it stays as it is.
        size: height and width of the network's input in pixels, by default what its preprocessing makes.

    Raises:
        ValueError: if the network cannot take such an input.
    """
    size = tuple(model.preprocess.size if size is None else size)
    parts, maps = {}, torch.empty(1, 3, *size, device="meta")
    try:
        for name in ("backbone", "neck", "head"):
            part = getattr(model, name)
            parts[name], outputs = _cost(part, maps)
            maps = maps if name == "head" else outputs
    except RuntimeError as error:
        if (problem := size_problem(model.backbone, model.neck, size)) is None:
            raise
        raise ValueError(problem) from error
    if isinstance(model.neck, nn.Identity):
        del parts["neck"]
    return ModelFacts(size, model.head.num_classes, _levels(model, maps, size), parts)


def _cost(part: nn.Module, inputs: Any) -> tuple[Cost, Any]:
    """What a part costs, and what it makes of the inputs."""
    with FlopCounterMode(display=False) as counter:
        outputs = copy.deepcopy(part).to("meta").eval()(inputs)
    parameters = sum(parameter.numel() for parameter in part.parameters())
    return Cost(parameters, counter.get_total_flops() // 2), outputs


def _levels(model: SSD, maps: Sequence[Tensor], size: Size) -> tuple[LevelFacts, ...]:
    grids = [tuple(x.shape[-2:]) for x in maps]
    per_cell = model.default_boxes.boxes_per_cell
    counts = [rows * columns * count for (rows, columns), count in zip(grids, per_cell, strict=True)]
    levels = model.default_boxes(grids, size).split(counts)
    return tuple(
        _level(boxes.reshape(*grid, -1, 4), x.shape[1], size)
        for grid, boxes, x in zip(grids, levels, maps, strict=True)
    )


def _level(boxes: Tensor, channels: int, size: Size) -> LevelFacts:
    """Facts of the boxes [rows, columns, K, 4] of one level."""
    rows, columns = boxes.shape[:2]
    x, y = ((boxes[:, :, 0, :2] + boxes[:, :, 0, 2:]) / 2).unbind(dim=-1)  # [rows, columns] each, centres of the cells
    down = float(y[1, 0] - y[0, 0]) if rows > 1 else float(size[0])
    across = float(x[0, 1] - x[0, 0]) if columns > 1 else float(size[1])
    off = (x - size[1] / 2).square() + (y - size[0] / 2).square()
    middle = boxes.flatten(0, 1)[off.argmin()]
    return LevelFacts((rows, columns), (round(down, 2), round(across, 2)), channels, middle)


def is_name(source: str) -> bool:
    """Whether this is a name of the zoo, and no file or folder that happens to be called so."""
    return source in MODELS and not Path(source).exists()


def open_model(
    source: str,
    *,
    changes: Sequence[str] = (),
    num_classes: int | None = None,
    size: Size | None = None,
    origin: str | None = None,
    trust_parts: bool = False,
) -> SSD:
    """A model to describe: the preset of a name of the zoo, without weights, or a checkpoint.

    Args:
        source: a name of `list_models()`, a run folder, or a checkpoint.
        changes: of the preset, such as "loss=focal" or "neck.out_channels=64", see `changed`.
        num_classes: classes with background, of a name; the preset's by default.
        size: height and width of the input, of a name; the preset's by default.
        origin: whose file it is, where that is asked.
        trust_parts: import parts that a checkpoint names by dotted path, which runs code that it chooses.

    Raises:
        ValueError: for what is neither, where a checkpoint is asked to be another model than it is, and for a config
            that is wrong.
    """
    if not is_name(source):
        if changes or num_classes is not None or size is not None:
            _refuse_changes(source, changes, origin)
        return load(source, origin=origin, trust_parts=trust_parts)
    config = changed(MODELS[source].config, changes)
    config = replace(config, num_classes=num_classes or config.num_classes, size=size or config.size)
    if problems := part_problems(config):  # in words of the command line
        raise ConfigError(problems)
    preprocess = build_part(PREPROCESSES, config.preprocess, "preprocess", size=config.size)  # its numbers are shown
    with torch.device("meta"):  # no weights are drawn
        return build_ssd(config, preprocess=preprocess)


def _refuse_changes(source: str, changes: Sequence[str], origin: str | None) -> None:
    """Raise a ValueError that says what the source is. Nothing is fetched or read for that."""
    if not is_address(source):
        named_weights(source, origin)  # which refuses what is neither a file nor a name
    asked = " ".join(changes) or "other classes and sizes"
    raise ValueError(f"{source} is a trained model: {asked} is for names of the zoo")


def changed(config: SSDConfig, changes: Sequence[str]) -> SSDConfig:
    """A config with other fields ("loss=focal", "size=[300,512]") or options of its parts ("loss.alpha=0.5").

    Values are YAML; a field is replaced as a whole, and an option set after it is one of the new part. The prefix that
    fields have in training ("model.loss=focal") is understood.

    Raises:
        ValueError: for a change that is none, and for unknown or ill-typed fields.
    """
    import yaml  # neither is needed to import detzoo
    from omegaconf import OmegaConf

    values = config.as_dict()
    for change in changes:
        key, equals, value = change.partition("=")
        field, *path = key.removeprefix("model.").split(".")
        if not equals or not all((field, *path)):
            raise ValueError(f"{change!r}: expected a part and what to put in its place, such as loss=focal")
        try:
            value = OmegaConf.to_container(OmegaConf.from_dotlist([f"value={value}"]))["value"]
        except yaml.YAMLError as error:
            raise ValueError(f"{change!r}: {value!r} is no YAML: {str(error).splitlines()[0]}") from error
        try:
            values[field] = _with_option(values.get(field), path, value)
        except ValueError as error:
            raise ValueError(f"{change!r}: {error}; say {field}=VALUE to replace the whole") from error
    return read_config(values)


def _with_option(part: Any, path: Sequence[str], value: Any) -> Any:
    """A part, by its name or in a mapping, with one of its options set; without a path, the value itself."""
    if not path:
        return value
    if part is not None and not isinstance(part, (str, Mapping)):
        raise ValueError(f"{part!r} is no part, so it has no option {path[0]!r}")
    options = {"name": part} if isinstance(part, str) else dict(part or {})
    return {**options, path[0]: _with_option(options.get(path[0]), path[1:], value)}


def published_weights(name: str) -> list[str]:
    """What is to be said of each published file of a model of the zoo, in lines."""
    return ["\n".join(sentences(member)) for member in MODELS[name].weights or ()]


def format_card(source: str) -> str | None:
    """What is known of published weights without having them; None for a source that is not their full name."""
    member = _published(source)
    return None if member is None else _table(card_rows(member), "<<")


def missing_file(source: str) -> Path | None:
    """Where the file of published weights would be if it were here; None if it is, and for any other source."""
    member = _published(source)
    return None if member is None or member.value.place.exists() else member.value.place


def _published(source: str) -> WeightsEnum | None:
    return None if Path(source).exists() else all_weights().get(source)


def format_model(title: str, model: SSD, facts: ModelFacts, weights: Sequence[str] = ()) -> str:
    """The tables that `detzoo show` prints.

    Args:
        title: the first word.
        model: whose other parts are shown as they print themselves.
        facts: of the same model.
        weights: what is to be said of published weights, in lines.
    """
    height, width = facts.size
    rows = [("level", "rows x columns", "stride", "channels", "boxes a cell", "boxes", "width x height in pixels")]
    rows += [(str(number), *_level_row(level)) for number, level in enumerate(facts.levels)]
    costs = [("part", "parameters", "GMACs")]
    costs += [(name, f"{cost.parameters:,}", f"{cost.macs / 1e9:.3f}") for name, cost in _costs(facts).items()]
    words = [(name, _on_one_line(getattr(model, name))) for name in ("preprocess", "matcher", "loss", "postprocess")]
    lines = [line for text in weights for line in text.split("\n")] or ["none published"]
    words += zip(["weights"] + [""] * (len(lines) - 1), lines, strict=True)
    blocks = [
        f"{title}: {height}x{width} pixels, {facts.num_classes} classes with background, "
        f"{facts.default_boxes} default boxes",
        _table(rows, "<>>>>><"),
        _table(costs, "<>>"),
        _table(words, "<<"),
    ]
    return "\n\n".join(blocks)


def _level_row(level: LevelFacts) -> tuple[str, ...]:
    down, across = level.stride
    stride = f"{down:g}" if down == across else f"{down:g}x{across:g}"
    sizes = " ".join(f"{width:.0f}x{height:.0f}" for width, height in level.sizes)
    numbers = (level.channels, len(level.boxes), level.default_boxes)
    return (f"{level.grid[0]}x{level.grid[1]}", stride, *map(str, numbers), sizes)


def _on_one_line(part: nn.Module) -> str:
    return shown_name(" ".join(repr(part).split()).replace("( ", "(").replace(" )", ")"))


def _costs(facts: ModelFacts) -> dict[str, Cost]:
    return {**facts.parts, "total": facts.total}


def _table(rows: Sequence[Sequence[str]], aligned: str) -> str:
    """Columns as wide as their longest entry, aligned as the letters say."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(row, aligned, widths, strict=True))
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)


def draw_default_boxes(image: Tensor, facts: ModelFacts) -> Image.Image:
    """The default boxes of the cell of each level that is nearest to the middle, in colours that a legend explains.

    Args:
        image: [3, H, W] bytes; boxes lie on it as on the network's input, to which it is warped.
        facts: of the model.
    """
    boxes = [scale_boxes(level.boxes, facts.size, tuple(image.shape[-2:])) for level in facts.levels]
    captions = [f"level {k}: {_cells(level)}, {len(level.boxes)} boxes each" for k, level in enumerate(facts.levels)]
    return draw_box_groups(image, boxes, captions)


def _cells(level: LevelFacts) -> str:
    rows, columns = level.grid
    return "1 cell" if rows * columns == 1 else f"{rows}x{columns} cells"
