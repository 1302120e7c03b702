"""The kinds of card, and what each of them says.

Four kinds of number are never mixed: published by the origin (`Origins`, and the catalogue in `detzoo.models`),
verified equal to the origin's implementation (`Parity`), measured here (`Measured`, `Speed`, `Costs`, `Export`),
trained here (`Trained`, `Ablation`).
"""

from dataclasses import dataclass
from typing import Any

from .made import Machine, Made

Metrics = dict[str, float | None]


@dataclass(frozen=True, kw_only=True)
class Data:
    """What was measured or trained on: the name of the set, which part of it, how many images that is."""

    name: str
    split: str | None
    images: int | None


@dataclass(frozen=True, kw_only=True)
class ParityRow:
    """How far detzoo is from an origin's own code with the same random weights.

    Attributes:
        golden: what was held against it, `golden` of a published file's `meta`; `torchvision-MODEL` for torchvision's.
        default_boxes: fractions of the image.
        logits: relative to the largest.
        deltas: relative to the largest.
        boxes: of detections, in pixels of the image.
        scores: of detections.
    """

    golden: str
    default_boxes: float
    logits: float
    deltas: float
    boxes: float
    scores: float


@dataclass(frozen=True, kw_only=True)
class Parity:
    """Verified equal to the origin's implementation: largest differences, architecture by architecture."""

    rows: tuple[ParityRow, ...]
    made: Made


@dataclass(frozen=True, kw_only=True)
class OriginRow:
    """How large a model is, as its origin has it.

    Attributes:
        model: a name of the zoo.
        origin: whose code or paper.
        classes: with background.
        parameters: as the origin writes it: "3,440,060" of code, "4.3 M" of a paper.
    """

    model: str
    origin: str
    classes: int
    parameters: str


@dataclass(frozen=True, kw_only=True)
class Origins:
    """What origins publish of models rather than of files of weights, as their code or their papers have it."""

    rows: tuple[OriginRow, ...]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Published weights, measured here.

    Attributes:
        model: a name of the zoo, or another one's words for what the file is.
        weights: the member of the model's enum; None for a file that is in no catalogue.
        sha256: of the file.
        data: that was measured on.
        metrics: as the metric calls them, fractions of 1.
        per_class: AP by class.
        made: by what.
    """

    model: str
    weights: str | None
    sha256: str | None
    data: Data
    metrics: Metrics
    per_class: Metrics
    made: Made


@dataclass(frozen=True, kw_only=True)
class Training:
    """The budget of a training.

    Attributes:
        recipe: a file of configs/experiment.
        command: that trains it again.
        data: that was trained on.
        epochs: over that.
        seconds: of all epochs, evaluation and start not counted; None where other work ran beside it.
        machine: that it ran on.
        precision: of a step; "auto" where nobody knows what that came to.
        seed: of everything random.
        config: of the run, resolved.
    """

    recipe: str | None
    command: str | None
    data: Data
    epochs: int
    seconds: float | None
    machine: Machine | None
    precision: str | None
    seed: int | None
    config: dict[str, Any] | None


@dataclass(frozen=True, kw_only=True)
class Trained:
    """Weights trained here, and measured. Fields as in `Measured`, but for these:

    Attributes:
        suppression: name of the part that was measured with.
        training: how it was trained.
    """

    model: str
    sha256: str | None
    data: Data
    metrics: Metrics
    per_class: Metrics
    suppression: str | None
    training: Training
    made: Made


@dataclass(frozen=True, kw_only=True)
class SpeedRow:
    """How long an image takes.

    Attributes:
        model: a name of the zoo.
        backend: what runs it, such as "openvino"; "torchvision" for what ratios are to.
        precision: such as "float32".
        batch: images at once.
        threads: of the processor; None on a GPU.
        ms_per_image: median.
        ratio: how many times as fast as the baseline.
        candidates_per_image: pairs of box and class above the threshold, on which suppression's time depends.
        baseline: what the ratio is to.
        same: share of the baseline's detections that it finds as well (same label, boxes within 0.01 pixel, scores
            within 1e-4).
    """

    model: str
    backend: str
    precision: str
    batch: int
    threads: int | None
    ms_per_image: float
    ratio: float | None
    candidates_per_image: float | None
    baseline: str | None
    same: float | None = None


@dataclass(frozen=True, kw_only=True)
class Speed:
    """One run of a benchmark.

    Attributes:
        subject: of references/benchmark.py, such as "inference".
        clock: what is inside the clock and what is not, in a sentence.
        rows: of one process, in turn.
        made: by what.
    """

    subject: str
    clock: str
    rows: tuple[SpeedRow, ...]
    made: Made


@dataclass(frozen=True, kw_only=True)
class CostRow:
    """Numbers of a form, each by a name that says its unit: {"seconds a step": 0.91}."""

    name: str
    numbers: Metrics


@dataclass(frozen=True, kw_only=True)
class Costs:
    """One run of a benchmark whose numbers are not those of a detector; fields as in `Speed`."""

    subject: str
    clock: str
    rows: tuple[CostRow, ...]
    made: Made


@dataclass(frozen=True, kw_only=True)
class AblationRow:
    """One recipe with one thing swapped: AP and AP50 of each seed, fractions of 1; seconds of a step of training."""

    name: str
    overrides: tuple[str, ...]
    ap: tuple[float, ...]
    ap50: tuple[float, ...]
    step_seconds: float | None


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """What each part is worth; the first row is what the others are held against."""

    training: Training
    data: Data
    seeds: tuple[int, ...]
    rows: tuple[AblationRow, ...]
    made: Made


@dataclass(frozen=True, kw_only=True)
class ExportRow:
    """A detector in another format: its largest differences from the one in PyTorch, by output.

    Attributes:
        model: a name of the zoo.
        to: the format, such as "onnx".
        level: how much went in: raw, decoded, nms.
        precision: such as "float32".
        differences: absolute, boxes in pixels; None where it cannot be exported.
        bytes: of the file or files.
        problem: why it cannot be exported.
    """

    model: str
    to: str
    level: str
    precision: str
    differences: Metrics | None
    bytes: int | None
    problem: str | None


@dataclass(frozen=True, kw_only=True)
class Export:
    """Which members leave PyTorch, and how they are there."""

    rows: tuple[ExportRow, ...]
    made: Made


Card = Parity | Origins | Measured | Trained | Speed | Costs | Ablation | Export
KINDS: dict[str, type] = {
    "parity": Parity,
    "origins": Origins,
    "measured": Measured,
    "trained": Trained,
    "speed": Speed,
    "costs": Costs,
    "ablation": Ablation,
    "export": Export,
}
