"""Milliseconds from raw outputs to boxes: torchvision's post-processing and ours, in turn in one run.

91 classes and the 8732 default boxes of SSD300. "Realistic" scores are those of a trained model (background nearly
everywhere, some objects with a cluster of boxes each), "worst" those of a network that knows nothing: every class of
every box is above the threshold.
"""

import argparse
import statistics
from collections.abc import Callable
from functools import partial

import torch
from torchvision.models.detection import ssd300_vgg16

from detzoo.benchmark import time_in_turn
from detzoo.engine.card_kinds import Speed, SpeedRow
from detzoo.engine.cards import write_card
from detzoo.engine.made import made_here
from detzoo.engine.run import DEVICES, machine, start_processes
from detzoo.models import get_model
from detzoo.structures import Predictions

MODEL = "ssd300_vgg16"
THEIRS, OURS = "torchvision", "detzoo"
CLOCK = "from logits and deltas to the detections of a batch"
CLASSES, OBJECTS, CLUSTER = 91, 7, 20  # of an image, and default boxes that see an object
SIZE = (300, 300)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batch", type=int, default=8, help="images at once")
    parser.add_argument("--device", default="auto", choices=DEVICES)
    parser.add_argument("--rounds", type=int, default=11, help="in each of which both are timed once")


def measure(options: argparse.Namespace) -> None:
    """Print milliseconds and ratios."""
    if min(options.batch, options.rounds) < 1:
        raise ValueError("expected --batch and --rounds of 1 or more")
    rows: list[SpeedRow] = []
    with start_processes(options.device) as device:
        print(", ".join(f"{name} {value}" for name, value in machine(device).items()))
        for kind in ("realistic", "worst"):
            predictions = predicted(kind, options.batch, device)
            forms = {THEIRS: theirs(predictions, device), OURS: ours(predictions, device)}
            times = time_in_turn(forms, options.rounds, device)
            medians = {name: statistics.median(seconds) for name, seconds in times.items()}
            found = candidates(predictions)
            print(f"{kind}: {found:.0f} candidates an image, {options.batch} images")
            for name, seconds in medians.items():
                print(f"  {name:12} {1000 * seconds:8.1f} ms  {medians[THEIRS] / seconds:6.2f} times as fast")
                rows.append(card_row(name, seconds, medians[THEIRS] / seconds, options.batch, found))
        if options.card:
            made = made_here(device, config=vars(options))
            write_card(options.card, Speed(subject="postprocess", clock=CLOCK, rows=tuple(rows), made=made))


def card_row(name: str, seconds: float, ratio: float, batch: int, found: float) -> SpeedRow:
    return SpeedRow(
        model=MODEL,
        backend=name,
        precision="float32",
        batch=batch,
        threads=torch.get_num_threads(),
        ms_per_image=round(1000 * seconds / batch, 2),
        ratio=round(ratio, 2),
        candidates_per_image=round(found),
        baseline=THEIRS,
    )


def predicted(kind: str, batch: int, device: torch.device) -> Predictions:
    """Raw outputs for `batch` images."""
    model = get_model(MODEL, num_classes=CLASSES)
    grids = [(38, 38), (19, 19), (10, 10), (5, 5), (3, 3), (1, 1)]
    boxes = model.default_boxes(grids, SIZE, device)
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(batch, len(boxes), CLASSES, generator=generator)
    if kind == "realistic":
        logits[..., 0] += 9
        for image in logits:
            for start in torch.randint(0, len(boxes) - CLUSTER, (OBJECTS,), generator=generator).tolist():
                label = int(torch.randint(1, CLASSES, (1,), generator=generator))
                image[start : start + CLUSTER, label] += 12 * torch.rand(CLUSTER, generator=generator)
    deltas = torch.randn(batch, len(boxes), 4, generator=generator) / 2
    return Predictions(logits.to(device), deltas.to(device), boxes, ())


def candidates(predictions: Predictions) -> float:
    threshold = get_model(MODEL).postprocess.score_threshold
    scores = predictions.logits.softmax(dim=-1)[..., 1:]
    return float((scores > threshold).sum()) / len(scores)


def theirs(predictions: Predictions, device: torch.device) -> Callable[[], object]:
    model = ssd300_vgg16(weights=None, weights_backbone=None, num_classes=CLASSES).to(device)
    outputs = {"cls_logits": predictions.logits, "bbox_regression": predictions.deltas}
    batch = len(predictions.logits)
    boxes, sizes = [predictions.default_boxes] * batch, [SIZE] * batch
    return torch.no_grad()(partial(model.postprocess_detections, outputs, boxes, sizes))


def ours(predictions: Predictions, device: torch.device) -> Callable[[], object]:
    model = get_model(MODEL, num_classes=CLASSES).to(device)
    images = torch.zeros(len(predictions.logits), 3, *SIZE, dtype=torch.uint8)  # only their size is asked
    return torch.no_grad()(partial(model.detections, predictions, SIZE, images))
