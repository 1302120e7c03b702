"""Milliseconds from raw outputs to boxes: torchvision's post-processing and ours, in turn in one run.

91 classes and the 8732 default boxes of SSD300. "Realistic" scores are those of a trained model (background nearly
everywhere, some objects with a cluster of boxes each), "worst" those of a network that knows nothing: every class of
every box is above the threshold.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from torchvision.models.detection import ssd300_vgg16

from detzoo.engine.run import DEVICES, machine, start_processes
from detzoo.models import get_model
from detzoo.structures import Predictions

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
    with start_processes(options.device) as device:
        print(", ".join(f"{name} {value}" for name, value in machine(device).items()))
        for kind in ("realistic", "worst"):
            predictions = predicted(kind, options.batch, device)
            forms = {"torchvision": theirs(predictions, device), "detzoo": ours(predictions, device)}
            medians = time_in_turn(forms, options.rounds, device)
            print(f"{kind}: {candidates(predictions):.0f} candidates an image, {options.batch} images")
            for name, seconds in medians.items():
                print(f"  {name:12} {1000 * seconds:8.1f} ms  {medians['torchvision'] / seconds:6.2f} times as fast")


def predicted(kind: str, batch: int, device: torch.device) -> Predictions:
    """Raw outputs for `batch` images."""
    model = get_model("ssd300_vgg16", num_classes=CLASSES)
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
    threshold = get_model("ssd300_vgg16").postprocess.score_threshold
    scores = predictions.logits.softmax(dim=-1)[..., 1:]
    return float((scores > threshold).sum()) / len(scores)


def theirs(predictions: Predictions, device: torch.device) -> Callable[[], object]:
    model = ssd300_vgg16(weights=None, weights_backbone=None, num_classes=CLASSES).to(device)
    outputs = {"cls_logits": predictions.logits, "bbox_regression": predictions.deltas}
    batch = len(predictions.logits)
    return partial(model.postprocess_detections, outputs, [predictions.default_boxes] * batch, [SIZE] * batch)


def ours(predictions: Predictions, device: torch.device) -> Callable[[], object]:
    model = get_model("ssd300_vgg16", num_classes=CLASSES).to(device)
    images = torch.zeros(len(predictions.logits), 3, *SIZE, dtype=torch.uint8)  # only their size is asked
    return partial(model.detections, predictions, SIZE, images)


@torch.no_grad()
def time_in_turn(forms: dict[str, Callable[[], object]], rounds: int, device: torch.device) -> dict[str, float]:
    """Median seconds of each."""
    seconds: dict[str, list[float]] = {name: [] for name in forms}
    for number in range(rounds + 1):  # the first one warms up
        for name, form in forms.items():
            start = time.perf_counter()
            form()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if number:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}
