"""Seconds of a training step: torchvision's model and ours, in turn in one run.

A step is forward, losses, backward and an update by SGD. torchvision's model is given float images of 640x480 and
resizes them itself, as in its references; ours is given bytes at the network's size, as its loader makes them. Loading
is no part of it (`benchmark.py data`). Both start from random weights and see the same boxes.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torchvision.models.detection as theirs

from detzoo.data import Batch
from detzoo.engine.card_kinds import Speed, SpeedRow
from detzoo.engine.cards import write_card
from detzoo.engine.config import TrainConfig
from detzoo.engine.made import made_here
from detzoo.engine.model import build_progress, build_updater
from detzoo.engine.precision import choose_precision
from detzoo.engine.run import DEVICES, Run, machine, start_processes
from detzoo.models import MODELS, get_model
from detzoo.structures import pad_targets

MODELS_OF_BOTH = {name: getattr(theirs, name) for name in MODELS if hasattr(theirs, name)}
PHOTOGRAPH = (480, 640)  # height, width
CLASSES, OBJECTS = 91, 7  # of COCO, and in one of its images
CLOCK = "forward, losses, backward and update; no loading"
SGD = {"lr": 1e-6, "momentum": 0.9, "weight_decay": 5e-4}

Step = Callable[[], object]


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="ssdlite320_mobilenet_v3_large", choices=sorted(MODELS_OF_BOTH))
    parser.add_argument("--batch", type=int, default=16, help="images of a step")
    parser.add_argument("--precision", nargs="+", default=["float32", "auto"], help="of our steps, one after the other")
    parser.add_argument("--compile", action="store_true", help="compile our network; minutes on a CPU")
    parser.add_argument("--device", default="auto", choices=DEVICES)
    parser.add_argument("--rounds", type=int, default=4, help="in each of which every form makes its steps")
    parser.add_argument("--steps", type=int, default=4, help="of a form in a round, the first of them not counted")


def measure(options: argparse.Namespace) -> None:
    """Print seconds and ratios."""
    if min(options.batch, options.rounds) < 1 or options.steps < 2:
        raise ValueError("expected --batch and --rounds of 1 or more, and --steps of 2 or more")
    with start_processes(options.device) as device:
        forms = {"torchvision, float32": torchvision_step(options, device)}
        for precision in dict.fromkeys(choose_precision(wanted, device) for wanted in options.precision):
            step = our_step(options, Run(device, Path(), precision))
            forms[f"detzoo, {precision}{', compiled' * options.compile}"] = step
        seconds = time_in_turn(forms, options, device)
    facts = ", ".join(f"{name} {value}" for name, value in machine(device).items())
    print(f"{options.model}, {options.batch} images a step, {CLASSES} classes\n{facts}")
    print(table(seconds))
    if options.card:
        rows, made = card_rows(seconds, options), made_here(device, config=vars(options))
        write_card(options.card, Speed(subject="train-step", clock=CLOCK, rows=rows, made=made))


def targets_of(batch: int, size: tuple[int, int]) -> list[dict[str, torch.Tensor]]:
    """Boxes and labels for images of `size`, the same fractions of an image whatever its size."""
    generator = torch.Generator().manual_seed(0)
    height, width = size
    sides = torch.tensor((width, height))
    targets = []
    for _ in range(batch):
        corners = torch.rand(OBJECTS, 2, generator=generator) * 0.6
        ends = corners + 0.05 + torch.rand(OBJECTS, 2, generator=generator) * 0.35
        labels = torch.randint(1, CLASSES, (OBJECTS,), generator=generator)
        targets.append({"boxes": torch.cat((corners * sides, ends * sides), dim=1), "labels": labels})
    return targets


def torchvision_step(options: argparse.Namespace, device: torch.device) -> Step:
    model = MODELS_OF_BOTH[options.model](weights=None, weights_backbone=None, num_classes=CLASSES).to(device).train()
    optimizer = torch.optim.SGD(model.parameters(), **SGD)
    images = [torch.rand(3, *PHOTOGRAPH) for _ in range(options.batch)]
    targets = targets_of(options.batch, PHOTOGRAPH)

    def step() -> float:
        there = [{name: column.to(device) for name, column in target.items()} for target in targets]
        loss = sum(model([image.to(device) for image in images], there).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def our_step(options: argparse.Namespace, run: Run) -> Step:
    config = TrainConfig(optimizer={"name": "sgd", **SGD}, schedule="constant", compile=options.compile)
    model = get_model(options.model, num_classes=CLASSES).to(run.device, memory_format=torch.channels_last).train()
    progress = build_progress(config, model, run, steps_per_epoch=1, score="AP", data="")
    updater = build_updater(config, progress, run)
    size = model.preprocess.size
    images = torch.randint(0, 256, (options.batch, *size, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    batch = Batch(images, pad_targets(targets_of(options.batch, size)), torch.arange(options.batch))
    return lambda: updater.step(batch)


def time_in_turn(forms: dict[str, Step], options: argparse.Namespace, device: torch.device) -> dict[str, list[float]]:
    """Seconds of the steps of each form."""
    seconds: dict[str, list[float]] = {name: [] for name in forms}
    for number in range(options.rounds + 1):  # the first one warms up
        for name, step in forms.items():
            times = []
            for _ in range(options.steps):
                start = time.perf_counter()
                step()
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
                times.append(time.perf_counter() - start)
            if number:
                seconds[name] += times[1:]  # the first after another form finds the caches full of that
    return seconds


def card_rows(seconds: dict[str, list[float]], options: argparse.Namespace) -> tuple[SpeedRow, ...]:
    """Medians, by image."""
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    baseline = next(iter(medians))
    rows = []
    for name, median in medians.items():
        backend, _, precision = name.partition(", ")
        rows.append(
            SpeedRow(
                model=options.model,
                backend=backend,
                precision=precision,
                batch=options.batch,
                threads=torch.get_num_threads(),
                ms_per_image=round(1e3 * median / options.batch, 2),
                ratio=round(medians[baseline] / median, 3),
                candidates_per_image=None,
                baseline=baseline,
            )
        )
    return tuple(rows)


def table(seconds: dict[str, list[float]]) -> str:
    """Medians, extremes, and how many times each form is as fast as the first."""
    first = statistics.median(next(iter(seconds.values())))
    lines = [f"{'':28}{'s a step':>10}{'least':>8}{'most':>8}{'times as fast':>16}"]
    for name, times in seconds.items():
        median = statistics.median(times)
        lines.append(f"{name:28}{median:10.3f}{min(times):8.3f}{max(times):8.3f}{first / median:16.2f}")
    return "\n".join(lines)
