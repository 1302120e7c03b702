"""What an original says of a random checkpoint of its own layout, and what detzoo says of the same one.

A golden file (`golden/<model>.npz`) holds names, shapes and the rule that fills each tensor with reproducible noise,
and what the original computed from that: default boxes, raw outputs for a made batch, detections in `picture.jpg`. The
scripts in `make` wrote them beside a check-out of the original, of which nothing is kept here.
"""

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from detzoo.components.preprocess import ToRGB
from detzoo.importers import Foreign, choose, convert
from detzoo.importers.readers import Container, state_dict_in
from detzoo.models.opening import Opened, build_imported
from detzoo.ops import xyxy_to_cxcywh

HERE = Path(__file__).parent
PICTURE = HERE / "picture.jpg"
ROWS = 400  # of the raw outputs, spread over all levels
Fill = Sequence[Any]  # a word and its numbers


def noise(name: str, shape: Sequence[int], fill: Fill) -> Tensor:
    """A tensor that depends on its name, shape and rule alone, the same on every machine.

    Rules: `["normal", std]`, `["uniform", low, high]`, `["constant", value]`, `["count"]` (an integer), and
    `["class_bias", boxes, class_first, background, value]`: small noise, and `value` for the class with the number
    `background`, in a head whose channels are (class, box) if `class_first`, else (box, class).
    """
    kind, *numbers = fill
    random = np.random.RandomState(zlib.crc32(name.encode()))
    if kind == "count":
        return torch.tensor(7)
    if kind == "constant":
        return torch.full(tuple(shape), float(numbers[0]))
    if kind == "uniform":
        return torch.from_numpy(random.uniform(*numbers, size=shape).astype(np.float32))
    values = random.standard_normal(shape).astype(np.float32)
    if kind == "normal":
        return torch.from_numpy(values * np.float32(numbers[0]))
    boxes, class_first, background, value = numbers
    values = values.reshape((-1, boxes) if class_first else (boxes, -1)) * np.float32(0.3)
    values[(background,) if class_first else (slice(None), background)] = value
    return torch.from_numpy(values.reshape(shape))


def noisy_state(layout: Mapping[str, tuple[Sequence[int], Fill]]) -> dict[str, Tensor]:
    """All tensors of a layout: by name, the shape and the rule."""
    return {name: noise(name, shape, fill) for name, (shape, fill) in layout.items()}


def layout_of(module: nn.Module) -> dict[str, tuple[list[int], Fill]]:
    """The layout of a module's state dict: convolutions that keep the size of what goes through them, batch norms
    whose statistics are far from 0 and 1.
    """
    rules: dict[str, Fill] = {}
    for prefix, part in module.named_modules():
        dot = f"{prefix}." if prefix else ""
        if isinstance(part, (nn.Conv2d, nn.Linear)):
            fan_in = part.weight[0].numel()
            rules |= {f"{dot}weight": ["normal", float(np.sqrt(2 / fan_in))], f"{dot}bias": ["normal", 0.1]}
        elif isinstance(part, nn.BatchNorm2d):
            rules |= {f"{dot}weight": ["uniform", 0.5, 1.5], f"{dot}bias": ["normal", 0.2]}
            rules |= {f"{dot}running_mean": ["normal", 0.3], f"{dot}running_var": ["uniform", 0.5, 2.0]}
            rules |= {f"{dot}num_batches_tracked": ["count"]}
    state = module.state_dict()
    return {name: (list(tensor.shape), rules.get(name, ["uniform", 10.0, 20.0])) for name, tensor in state.items()}


def made_batch(height: int, width: int, scale: float) -> Tensor:
    """A batch [1, 3, H, W] of noise, RGB; `scale` is about that of a normalised image."""
    random = np.random.RandomState(0)
    return torch.from_numpy(random.standard_normal((1, 3, height, width)).astype(np.float32) * np.float32(scale))


def rows_of(count: int) -> np.ndarray:
    """Which of `count` default boxes a golden file keeps raw outputs of."""
    return np.unique(np.linspace(0, count - 1, ROWS).round().astype(np.int64))


@dataclass(frozen=True)
class Golden:
    """What an original says.

    Attributes:
        file: the name that its checkpoint has.
        origin: what `origin=` has to say, None where the file speaks for itself.
        layout: see `noisy_state`.
        size: height and width of the network's input.
        scale: of `made_batch`.
        default_boxes: [A, 4] centre and size, fractions of the image.
        logits: [len(rows_of(A)), C] raw class outputs for `made_batch`, background first.
        deltas: [len(rows_of(A)), 4] raw box outputs (dx, dy, dw, dh).
        boxes: [N, 4] xyxy pixels of the picture, what the original's own pipeline finds in it, best first.
        labels: [N], 1 for the first class.
        scores: [N].
        kind: of the file (see `Container`).
        metadata: what a reader gives besides tensors, where the importer looks at it.
    """

    file: str
    origin: str | None
    layout: dict[str, tuple[list[int], Fill]]
    size: tuple[int, int]
    scale: float
    default_boxes: np.ndarray
    logits: np.ndarray
    deltas: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    kind: str = "torch"
    metadata: dict[str, Any] | None = None

    ARRAYS = ("default_boxes", "logits", "deltas", "boxes", "labels", "scores")
    WORDS = ("file", "origin", "layout", "size", "scale", "kind", "metadata")

    def save(self, name: str) -> None:
        words = json.dumps({word: getattr(self, word) for word in self.WORDS})
        arrays = {array: np.asarray(getattr(self, array)) for array in self.ARRAYS}
        arrays = {key: a.astype(np.float32 if a.dtype.kind == "f" else np.int64) for key, a in arrays.items()}
        np.savez_compressed(HERE / "golden" / f"{name}.npz", words=words, **arrays)

    @classmethod
    def read(cls, name: str) -> "Golden":
        with np.load(HERE / "golden" / f"{name}.npz", allow_pickle=False) as file:
            return cls(**json.loads(str(file["words"])), **{array: file[array] for array in cls.ARRAYS})

    def foreign(self) -> Foreign:
        """The checkpoint as the readers would give it."""
        container = Container(self.kind, noisy_state(self.layout), self.metadata or {"content": {}}, Path(self.file))
        return Foreign(container, state_dict_in(container).tensors)

    def opened(self) -> Opened:
        """The detector that detzoo makes of it."""
        foreign = self.foreign()
        return build_imported(convert(foreign, choose(foreign, self.origin)))


def names() -> list[str]:
    return sorted(path.stem for path in (HERE / "golden").glob("*.npz"))


@torch.no_grad()
def differences(golden: Golden, opened: Opened) -> dict[str, float]:
    """How far detzoo is from the original: default boxes as fractions of the image; logits and deltas relative to the
    largest; boxes in pixels of the picture and scores. Infinity where other things were found, or another number.
    """
    model = opened.model
    predictions = model.predict(made_batch(*golden.size, golden.scale))
    rows = rows_of(len(predictions.default_boxes))
    height, width = golden.size
    ours = xyxy_to_cxcywh(predictions.default_boxes) / torch.tensor((width, height, width, height))
    found = model.detect([ToRGB()(Image.open(PICTURE))])[0]
    return {
        "default_boxes": _apart(ours.numpy(), golden.default_boxes),
        "logits": _apart(predictions.logits[0].numpy()[rows], golden.logits) / np.abs(golden.logits).max(),
        "deltas": _apart(predictions.deltas[0].numpy()[rows], golden.deltas) / np.abs(golden.deltas).max(),
        **found_apart(golden, {key: tensor.numpy() for key, tensor in found.items()}),
    }


def found_apart(golden: Golden, found: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Detections of nearly equal scores may change places, so each is held against the nearest of its class."""
    nothing = {"boxes": np.inf, "scores": np.inf}
    if not len(golden.labels) or not np.array_equal(np.sort(found["labels"]), np.sort(golden.labels)):
        return nothing
    boxes, scores = [], []
    for label in np.unique(golden.labels):
        ours, theirs = found["labels"] == label, golden.labels == label
        apart = np.abs(found["boxes"][ours][:, None] - golden.boxes[theirs]).max(axis=-1)
        unlike = np.abs(found["scores"][ours][:, None] - golden.scores[theirs])
        nearest = (apart + unlike).argmin(axis=1)
        if len(np.unique(nearest)) != len(nearest):
            return nothing
        boxes.append(np.take_along_axis(apart, nearest[:, None], 1).max())
        scores.append(np.take_along_axis(unlike, nearest[:, None], 1).max())
    return {"boxes": float(max(boxes)), "scores": float(max(scores))}


def _apart(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.abs(ours - theirs).max()) if ours.shape == theirs.shape else np.inf
