"""Milliseconds from an image of bytes to boxes: torchvision's model and ours, engine by engine, in turn in one run.

Inside the clock: resizing an image of 480x640 bytes (for torchvision: to floats before, which it wants), the network,
scores, suppression, boxes in pixels of the image. Outside: reading files, and starting an engine. All have the same
weights, random ones whose scores look like a trained model's; candidates of an image are printed.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from benchmark_detectors import CANDIDATES, MODELS_OF_BOTH, both, candidates_per_image, photographs
from torch import Tensor, nn

from detzoo.deploy.backends import BACKENDS, accelerate
from detzoo.engine.run import DEVICES, machine, start_processes
from detzoo.structures import Detection

DEFAULT_FORMS = ("eager:float32", "onnxruntime:float32", "openvino:float32", "openvino:bfloat16", "openvino:int8")
CALIBRATION = 16  # images; which numbers int8 rounds to does not change its speed
Form = Callable[[Sequence[Tensor]], list[Detection]]


class Row(NamedTuple):
    """What a form took, and by how much its detections differ from those of torchvision: of these, the share that has
    a counterpart (same label, boxes within 0.01 pixel, scores within 1e-4).
    """

    form: str
    batch: int
    ms_per_image: float
    ratio: float
    same: float


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--against", default="torchvision", choices=["torchvision"], help="what ratios are to")
    parser.add_argument("--model", nargs="+", default=sorted(MODELS_OF_BOTH), choices=sorted(MODELS_OF_BOTH))
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8], help="images that go in at once")
    parser.add_argument(
        "--forms",
        nargs="+",
        default=list(DEFAULT_FORMS),
        metavar="BACKEND:PRECISION",
        help=f"of {', '.join(BACKENDS)} (default: %(default)s)",
    )
    parser.add_argument("--candidates", type=int, default=CANDIDATES, help="scores of an image above the threshold")
    parser.add_argument("--device", default="auto", choices=DEVICES)
    parser.add_argument("--rounds", type=int, default=11, help="in each of which every form is timed once")


def measure(options: argparse.Namespace) -> None:
    """Print milliseconds and ratios."""
    if min(*options.batch, options.rounds, options.candidates) < 1:
        raise ValueError("expected --batch, --rounds and --candidates of 1 or more")
    with start_processes(options.device) as device:
        print(", ".join(f"{name} {value}" for name, value in machine(device).items()))
        for name in options.model:
            rows, candidates = compare(name, options, device)
            print(f"\n{name}, {candidates:.0f} candidates an image\n{table(rows)}")


def compare(name: str, options: argparse.Namespace, device: torch.device) -> tuple[list[Row], float]:
    """All forms of a model, at each size of batch, and its candidates per image."""
    reference, model = both(name, options.candidates)
    images = photographs(max(options.batch))
    forms: dict[str, Form] = {"torchvision eager:float32": partial(theirs, reference.to(device), device)}
    forms["detzoo as it is"] = partial(detected, model.to(device).detect, device)
    for form in options.forms:
        backend, _, precision = form.partition(":")
        calibration = photographs(CALIBRATION, seed=2) if precision == "int8" else None
        engine = accelerate(model, backend, precision or "float32", device=device, calibration=calibration)
        forms[f"detzoo {form}"] = partial(detected, engine.detect, device)
    rows = [row for batch in options.batch for row in _rows(forms, images[:batch], options.rounds, device)]
    return rows, candidates_per_image(model, [image.to(device) for image in images])


@torch.inference_mode()
def theirs(model: nn.Module, device: torch.device, images: Sequence[Tensor]) -> list[Detection]:
    return model([image.to(device) / 255 for image in images])


def detected(detect: Form, device: torch.device, images: Sequence[Tensor]) -> list[Detection]:
    return detect([image.to(device) for image in images])


def _rows(forms: dict[str, Form], images: list[Tensor], rounds: int, device: torch.device) -> list[Row]:
    seconds: dict[str, list[float]] = {name: [] for name in forms}
    for number in range(rounds + 2):  # the first two warm up
        for name, form in forms.items():
            start = time.perf_counter()
            form(images)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if number > 1:
                seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    first = next(iter(forms))
    expected, slowest = forms[first](images), medians[first]
    return [
        Row(name, len(images), 1000 * median / len(images), slowest / median, share(forms[name](images), expected))
        for name, median in medians.items()
    ]


def share(found: Sequence[Detection], expected: Sequence[Detection]) -> float:
    """How many of the expected detections are found: same label, boxes within 0.01 pixel, scores within 1e-4."""
    counts = []
    for ours, wanted in zip(found, expected, strict=True):
        if len(wanted["scores"]) == 0 or len(ours["scores"]) == 0:
            counts.append(torch.full((len(wanted["scores"]),), False))
            continue
        boxes = (wanted["boxes"][:, None] - ours["boxes"][None]).abs().amax(dim=-1) <= 0.01
        scores = (wanted["scores"][:, None] - ours["scores"][None]).abs() <= 1e-4
        counts.append((boxes & scores & (wanted["labels"][:, None] == ours["labels"][None])).any(dim=1).cpu())
    return float(torch.cat(counts).float().mean()) if sum(map(len, counts)) else 1.0


def table(rows: Sequence[Row]) -> str:
    lines = [f"{'':34}{'batch':>6}{'ms an image':>13}{'times as fast':>15}{'same detections':>17}"]
    lines += [
        f"{row.form:34}{row.batch:6}{row.ms_per_image:13.2f}{row.ratio:15.2f}{100 * row.same:16.1f}%" for row in rows
    ]
    return "\n".join(lines)
