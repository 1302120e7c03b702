"""The end of a run: final numbers as JSON, pictures of what was there against what was found."""

import logging
import math
import shlex
import sys
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from .. import distributed
from ..data import DetectionDataset, EvaluationLoader
from ..data.loaders import WholeImages
from ..files import replacing, sweep, write_json, write_text
from ..metrics.base import Metric
from ..models import SSD
from ..models.checkpoint import BEST
from ..structures import Target
from ..viz import draw_boxes, side_by_side
from .checkpoint import Progress
from .evaluate import evaluate
from .run import Run, machine

logger = logging.getLogger("detzoo")

CONFIG = "config.yaml"  # in a run folder


# What may be another than when the run began; all else decides what comes of it.
FREE = (
    "checkpoint_every", "device", "folder", "loader.eval_batch_size", "loader.workers", "log_every", "name",
    "picture_threshold", "pictures", "resume", "stop_after",
)  # fmt: skip


def keep_config(run: Run, config: DictConfig) -> None:
    """Keep the resolved config beside what will come of it; a run that goes on must have the one it began with.

    Raises:
        ValueError: listing every option that differs from the config in the folder.
    """
    path = run.folder / CONFIG
    if run.goes_on and path.is_file():
        before, now = _leaves(OmegaConf.load(path)), _leaves(config)
        other = [
            key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key) and key not in FREE
        ]
        if other:
            changes = "; ".join(f"{key} was {before.get(key)!r}, is {now.get(key)!r}" for key in other[:8])
            raise ValueError(
                f"{run.folder} goes on with the command line it began with, plus resume: {len(other)} options differ: "
                f"{changes}. To train on with other options, start a new run with weights={run.folder / BEST}"
            )
    distributed.barrier()
    if distributed.is_main():
        sweep(run.folder)
        write_text(path, OmegaConf.to_yaml(config, resolve=True))


def _leaves(config: DictConfig) -> dict[str, Any]:
    """Every option by its dotted name; a list counts as one."""
    flat: dict[str, Any] = {}

    def walk(node: Any, name: str) -> None:
        if isinstance(node, dict):
            for key, value in node.items():
                walk(value, f"{name}.{key}" if name else str(key))
        else:
            flat[name] = node

    walk(OmegaConf.to_container(config, resolve=True), "")
    return flat


def finish(
    run: Run, progress: Progress, metric: Metric, loader: EvaluationLoader, *, pictures: int, score_threshold: float
) -> None:
    """Measure the best checkpoint once more, write `metrics.json` and pictures, and say where all of it lies."""
    best = progress.best_model(run.folder)
    if best is None:
        logger.info(
            "there is no %s (no epoch was evaluated yet, or it was deleted); the run is in %s", BEST, run.folder
        )
        return
    model, epoch = best
    facts = {"checkpoint": BEST, "epoch": epoch}
    report(run, model.to(run.device), metric, loader, facts, pictures=pictures, score_threshold=score_threshold)
    if run.temporary:
        logger.info("every part of the program ran; nothing of it is kept")
    else:
        logger.info("checkpoints, log and metrics: %s", run.folder)
        if pictures:
            logger.info("pictures: %s", run.folder / "pictures")


def report(
    run: Run,
    model: SSD,
    metric: Metric,
    loader: EvaluationLoader,
    facts: dict[str, Any],
    *,
    pictures: int,
    score_threshold: float,
) -> None:
    """Measure a model, say the numbers and write them, with the facts, to `metrics.json`; draw pictures."""
    numbers = evaluate(model, loader, metric)
    if distributed.is_main():
        write_json(run.folder / "metrics.json", metric_report(metric, numbers, facts, run.device))
    draw_pictures(model, loader.source, run.folder / "pictures", count=pictures, score_threshold=score_threshold)
    told = "  ".join(f"{name} {value:.3f}" for name, value in numbers.items())
    logger.info("%s: %s", ", ".join(f"{name} {value}" for name, value in facts.items()), told)


def dataset_of_run(folder: str | Path) -> dict[str, Any]:
    """The data sets that a run was given.

    Raises:
        ValueError: if this is no run folder.
    """
    path = Path(folder) / CONFIG
    if not path.is_file():
        raise ValueError(
            f"source={folder} is no run folder (no {CONFIG} in it): say which data set to measure, dataset=..."
        )
    return OmegaConf.to_container(OmegaConf.load(path).dataset)


def metric_report(
    metric: Metric, numbers: dict[str, float], facts: dict[str, Any], device: torch.device
) -> dict[str, Any]:
    """What `evaluate` gave, by class as well, beside the facts, the command and the machine."""
    return {
        "metrics": _rounded({name: value for name, value in numbers.items() if not name.startswith("val_")}),
        "losses": _rounded({name: value for name, value in numbers.items() if name.startswith("val_")}),
        "per_class": _rounded(metric.per_class()),
        "images": len(metric.results),
        **facts,
        "command": shlex.join(sys.argv),
        "machine": machine(device),
    }


def draw_pictures(
    model: SSD, dataset: DetectionDataset, folder: Path, *, count: int, score_threshold: float
) -> list[Path]:
    """Ground truth beside detections for `count` images spread evenly over the data set; rank 0 draws."""
    if not distributed.is_main():
        return []
    model.eval()
    paths = []
    for index in torch.linspace(0, len(dataset) - 1, min(count, len(dataset))).round().long().tolist():
        image, _, _ = WholeImages(dataset)[index]  # as training and evaluation see it
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
    """Six digits, and null for what is not finite, which JSON does not know."""
    return {name: round(value, 6) if math.isfinite(value) else None for name, value in numbers.items()}
