"""Memory of a loader's workers, with annotations as packed arrays and as one dictionary for each object.

A worker begins as a copy of the training process that shares its memory, page by page, until one of the two writes. To
look at a Python object is to write: its count of references changes. So what was shared becomes the worker's own.
"""

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from detzoo.annotations import Annotations
from detzoo.categories import COCO
from detzoo.data import DetectionDataset
from detzoo.data.base import box_areas
from detzoo.data.loaders import EpochBatches, Key, Records
from detzoo.engine.card_kinds import CostRow, Costs
from detzoo.engine.cards import write_card
from detzoo.engine.made import made_here

SIDE = 640  # pixels
BATCH = 64
CLOCK = "annotations in memory and their workers; no image is opened"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", type=int, default=118_000, help="COCO train2017 has 118,287")
    parser.add_argument("--boxes", type=int, default=7, help="of each image")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=4)


def measure(options: argparse.Namespace) -> None:
    """Print start-up time and memory; no image is opened, so that nothing but annotations counts."""
    if not Path("/proc/self/smaps_rollup").is_file():
        sys.exit(
            "memory of a process by page, shared or its own, is read from /proc/<pid>/smaps_rollup, as Linux has it"
        )
    forms: dict[str, Callable[[int, int], Sequence]] = {
        "none": lambda images, _: range(images),
        "packed arrays": lambda images, boxes: Records(Unopened(annotate(images, boxes))),
        "dictionaries": dictionaries,
    }
    print(f"{options.images} images of {options.boxes} boxes, {options.workers} workers")
    print(HEAD)
    rows = []
    for name, form in forms.items():
        found = cost(form, options.images, options.boxes, options.workers, options.epochs)
        print(row(name, found), flush=True)
        rows.append(card_row(name, found))
    if options.card:
        made = made_here(torch.device("cpu"), config=vars(options))
        write_card(options.card, Costs(subject="memory", clock=CLOCK, rows=tuple(rows), made=made))


class Cost(NamedTuple):
    """Seconds and MiB; of the workers, that of the largest."""

    build: float
    main: float
    first_batch: float
    own: list[float]
    proportional: float


def cost(form: Callable[[int, int], Sequence], images: int, boxes: int, workers: int, epochs: int) -> Cost:
    """Build annotations, start workers, and go through some epochs.

    Args:
        form: number of images and of boxes in each to the annotations by image.
        images: how many.
        boxes: in each.
        workers: how many.
        epochs: how many.
    """
    before, start = memory(os.getpid()).own, time.perf_counter()
    annotations = form(images, boxes)
    build, main = time.perf_counter() - start, memory(os.getpid()).own - before
    batches = EpochBatches(images, min(BATCH, images), [(SIDE, SIDE)], seed=0)
    loader = DataLoader(
        Looks(annotations), batch_sampler=batches, collate_fn=len, num_workers=workers, persistent_workers=True
    )
    others, own, start = set(multiprocessing.active_children()), [], time.perf_counter()
    for batches.epoch in range(1, epochs + 1):
        for number, _ in enumerate(loader):
            if batches.epoch == 1 and number == 0:
                first_batch = time.perf_counter() - start
        parts = [memory(worker.pid) for worker in multiprocessing.active_children() if worker not in others]
        own.append(max(part.own for part in parts))
    return Cost(build, main, first_batch, own, max(part.proportional for part in parts))


class Looks(Dataset):
    """The annotations of one image after another, looked at."""

    def __init__(self, annotations: Sequence) -> None:
        self.annotations = annotations

    def __getitem__(self, key: Key) -> int:
        found = self.annotations[key.index]
        if isinstance(found, list):
            return len(np.array([item["bbox"] for item in found if not item["iscrowd"]]))
        return len(found.boxes) if hasattr(found, "boxes") else 0


class Unopened(DetectionDataset):
    """Annotations of images that are not there."""

    def __init__(self, annotations: Annotations) -> None:
        self.annotations = annotations

    def open_image(self, index: int) -> Image.Image:
        raise FileNotFoundError(self.name(index))

    def name(self, index: int) -> str:
        return f"image {index}"


def annotate(images: int, boxes: int) -> Annotations:
    rng, rows = np.random.default_rng(0), images * boxes
    corners = rng.uniform(0, SIDE / 2, (rows, 2))
    xyxy = np.concatenate((corners, corners + rng.uniform(8, SIDE / 2, (rows, 2))), axis=1)
    return Annotations(
        categories=COCO,
        image_ids=np.arange(images),
        image_sizes=np.full((images, 2), SIDE),
        offsets=np.arange(images + 1) * boxes,
        boxes=xyxy,
        labels=rng.integers(1, len(COCO) + 1, rows),
        areas=box_areas(xyxy),
        crowd=np.zeros(rows, bool),
        difficult=np.zeros(rows, bool),
    )


def dictionaries(images: int, boxes: int) -> list[list[dict]]:
    """By image, one dictionary for each object, as a COCO file is read (without outlines)."""
    annotations = annotate(images, boxes)
    columns = zip(annotations.boxes.tolist(), annotations.labels.tolist(), annotations.areas.tolist())
    objects = [
        {"id": row, "image_id": row // boxes, "category_id": label, "bbox": box, "area": area, "iscrowd": 0}
        for row, (box, label, area) in enumerate(columns)
    ]
    return [objects[start : start + boxes] for start in range(0, images * boxes, boxes)]


class Memory(NamedTuple):
    """MiB of a process: its own alone, and its share of all that it uses."""

    own: float
    proportional: float


def memory(pid: int) -> Memory:
    return parse_memory(Path(f"/proc/{pid}/smaps_rollup").read_text())


def parse_memory(text: str) -> Memory:
    """From the form of Linux's `smaps_rollup`, in kB."""
    kilobytes = {name.rstrip(":"): int(number) for name, number, *_ in map(str.split, text.splitlines()[1:])}
    own = kilobytes["Private_Clean"] + kilobytes["Private_Dirty"]
    return Memory(own / 1024, kilobytes["Pss"] / 1024)


HEAD = f"{'annotations':16}{'built in':>10}{'main':>10}{'1st batch':>11}{'own of a worker, by epoch':>34}{'PSS':>11}"


def row(name: str, found: Cost) -> str:
    own = " ".join(f"{each:.0f}" for each in found.own)
    return (
        f"{name:16}{found.build:8.1f} s{found.main:6.0f} MiB{found.first_batch:9.2f} s{own:>30} MiB"
        f"{found.proportional:7.0f} MiB"
    )


def card_row(name: str, found: Cost) -> CostRow:
    numbers = {
        "seconds to build": found.build,
        "MiB of the main process": found.main,
        "seconds to the first batch": found.first_batch,
        "MiB of a worker alone, last epoch": found.own[-1],
        "MiB of a worker, shared ones divided": found.proportional,
    }
    return CostRow(name=name, numbers={what: round(number, 2) for what, number in numbers.items()})
