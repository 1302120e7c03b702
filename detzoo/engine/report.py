"""The end of a run: final numbers as JSON, pictures of what was there against what was found."""

import logging
import shlex
import sys
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from .. import distributed
from ..components.preprocess import ToRGB
from ..data import DetectionDataset
from ..files import replacing, write_json, write_text
from ..metrics.base import Metric
from ..models import SSD
from ..models.checkpoint import BEST, load_checkpoint, read_checkpoint
from ..structures import Target
from ..viz import draw_boxes, side_by_side
from .evaluate import evaluate
from .run import Run, machine

logger = logging.getLogger("detzoo")


def write_config(run: Run, text: str) -> None:
    """Keep the resolved config beside what came of it."""
    if distributed.is_main():
        write_text(run.folder / "config.yaml", text)


def finish(run: Run, metric: Metric, loader: DataLoader, *, pictures: int, score_threshold: float) -> None:
    """Measure the best checkpoint once more, write `metrics.json` and pictures, and say where all of it lies."""
    best = run.folder / BEST
    distributed.barrier()  # rank 0 may still be writing it
    if not best.is_file():
        logger.info("no epoch was evaluated yet; the run so far is in %s", run.folder)
        return
    model = load_checkpoint(best).to(run.device)
    numbers = evaluate(model, loader, metric)
    facts = {"checkpoint": BEST, "epoch": read_checkpoint(best)["epoch"]}
    write_report(run.folder / "metrics.json", metric_report(metric, facts))
    dataset = loader.dataset.dataset
    draw_pictures(model, dataset, run.folder / "pictures", count=pictures, score_threshold=score_threshold)
    logger.info("best epoch: %s", "  ".join(f"{name} {value:.3f}" for name, value in numbers.items()))
    logger.info("checkpoints, log and metrics: %s\npictures: %s", run.folder, run.folder / "pictures")


def metric_report(metric: Metric, facts: dict[str, Any]) -> dict[str, Any]:
    """The numbers of an evaluated metric, over all and by class, beside the facts, the command and the machine."""
    return {
        "metrics": _rounded(metric.compute()),
        "per_class": _rounded(metric.per_class()),
        "images": len(metric.results),
        **facts,
        "command": shlex.join(sys.argv),
        "machine": machine(),
    }


def write_report(path: Path, report: dict[str, Any]) -> None:
    """Write a report as JSON, on rank 0."""
    if distributed.is_main():
        write_json(path, report)


def draw_pictures(
    model: SSD, dataset: DetectionDataset, folder: Path, *, count: int, score_threshold: float
) -> list[Path]:
    """Ground truth beside detections for `count` images spread evenly over the data set; rank 0 draws."""
    if not distributed.is_main():
        return []
    model.eval()
    paths = []
    for index in torch.linspace(0, len(dataset) - 1, min(count, len(dataset))).round().long().tolist():
        image = ToRGB()(dataset.open_image(index).convert("RGB"))
        found = {name: column.cpu() for name, column in model.detect([image])[0].items()}
        pictures = [
            draw_boxes(image, _ground_truth(dataset, index), dataset.categories.names, title="ground truth"),
            draw_boxes(image, found, model.categories.names, score_threshold=score_threshold, title="detections"),
        ]
        paths.append(folder / f"{index:06d}.jpg")
        with replacing(paths[-1]) as unfinished:
            side_by_side(pictures).save(unfinished, quality=92)
    return paths


def _ground_truth(dataset: DetectionDataset, index: int) -> Target:
    rows = dataset.annotations.rows(index)
    boxes, labels = dataset.annotations.boxes[rows], dataset.annotations.labels[rows]
    return Target(boxes=torch.from_numpy(boxes.copy()), labels=torch.from_numpy(labels.copy()))


def _rounded(numbers: dict[str, float]) -> dict[str, float | None]:
    """Six digits, and null for nan, which JSON does not know."""
    return {name: None if value != value else round(value, 6) for name, value in numbers.items()}
