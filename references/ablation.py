"""What each part is worth: train one recipe with one part swapped at a time, and print one table.

    python references/ablation.py experiment=bccd_ssdlite320 dataset.root=PATH/bccd epochs=20 --folder runs/parts

Everything but the options is for references/train.py and the same for all rows, seeds included. A row that was
interrupted goes on, a finished one is not trained again; with other overrides it is refused. Suppression needs no
training: those rows measure the plain detectors anew. The numbers are those of the last epoch, not of the best.

The time of a step is measured afterwards, all rows in turn in one process, so the trainings may run side by side
(--jobs). A box error comes with a weight that suits it, as its size is another; the last rows swap several parts.
--card keeps the table for MODEL_ZOO.md.
"""

import argparse
import csv
import os
import shlex
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from benchmark_train_step import targets_of, time_in_turn
from evaluate_card import data_facts, recipe_of
from hydra import compose, initialize_config_dir

import detzoo
from detzoo.components import POSTPROCESSES
from detzoo.data import DATASETS, Batch, evaluation_loader
from detzoo.engine.card_kinds import Ablation, AblationRow, Training
from detzoo.engine.cards import write_card
from detzoo.engine.config import TrainConfig, register_configs, typed
from detzoo.engine.evaluate import evaluate
from detzoo.engine.made import Made, made_here, portable
from detzoo.engine.model import build_progress, build_updater
from detzoo.engine.precision import choose_precision
from detzoo.engine.report import FREE
from detzoo.engine.run import Run, cores, machine, start_processes
from detzoo.files import write_json
from detzoo.lookup import build_part, resolve_part, split_part
from detzoo.metrics import METRICS
from detzoo.models import build_ssd
from detzoo.models.checkpoint import LAST
from detzoo.models.config import read_config
from detzoo.structures import pad_targets

register_configs()

HERE = Path(__file__).parent
PLAIN = "plain"

# Half as small as the recipe's first boxes, for objects that no default box of it overlaps by much.
SMALL_BOXES = "model.default_boxes.scales=[0.1,0.2,0.35,0.5,0.65,0.8,1.0]"
# A row of the table: what it swaps, as overrides of references/train.py.
VARIANTS: dict[str, tuple[str, ...]] = {
    PLAIN: (),
    "focal": ("model.loss=focal",),
    "quality focal": ("model.loss=quality_focal",),
    "ATSS": ("model.matcher=atss",),
    "SimOTA": ("model.matcher=sim_ota",),
    "GIoU": ("model.loss.box=giou", "model.loss.box_weight=3"),
    "FPN": ("model.neck=fpn",),
    "ATSS, GIoU": ("model.matcher=atss", "model.loss.box=giou", "model.loss.box_weight=3"),
    "task-aligned, quality focal, GIoU": (
        "model.matcher=task_aligned",
        "model.loss=quality_focal",
        "+model.loss={name: quality_focal, box: giou, box_weight: 2}",
    ),
    "small boxes": (SMALL_BOXES,),
    "small boxes, FPN": (SMALL_BOXES, "model.neck=fpn"),
    "small boxes, ATSS, GIoU": (SMALL_BOXES, "model.matcher=atss", "model.loss.box=giou", "model.loss.box_weight=3"),
}
# And what is measured with the plain detectors: options of their suppression.
SUPPRESSIONS: dict[str, dict[str, Any]] = {
    "NMS": {"name": "nms"},
    "DIoU NMS": {"name": "diou_nms"},
    "soft NMS": {"name": "soft_nms"},
    "soft NMS, the paper's threshold": {"name": "soft_nms", "iou_threshold": None},
    "soft NMS, Gaussian": {"name": "soft_nms", "method": "gaussian", "iou_threshold": None},
    "matrix NMS, Gaussian": {"name": "matrix_nms", "method": "gaussian", "iou_threshold": None},
}
LIMITS = ("score_threshold", "iou_threshold", "top_k", "detections_per_image")  # of the recipe, kept in these rows
CLASSES = 4  # of the timed step


class Row(NamedTuple):
    """A line of the table: AP and AP50 of each seed, seconds of a step (None where nothing was trained)."""

    name: str
    overrides: tuple[str, ...]
    ap: list[float]
    ap50: list[float]
    step: float | None = None


def main(arguments: Sequence[str] | None = None) -> None:
    options, common = parse(arguments)
    names = options.variants or list(VARIANTS)
    config = composed(common)
    if config.ema.decay is not None:
        raise ValueError("ema.decay: the rows of suppression measure the weights of the last step, not their mean")
    suppressions = {name: suppression(config, name) for name in SUPPRESSIONS} if PLAIN in names else {}
    train_all(options, common, names)
    rows = [trained_row(options, name) for name in names]
    with start_processes(config.device) as device:
        rows += measured_rows(options, config, device, suppressions) if suppressions else []
        if options.rounds:
            seconds = time_steps(options, common, names, device)
            rows = [row._replace(step=seconds.get(row.name)) for row in rows]
        facts = machine(device)
    print(table(rows))
    card = {"command": ["references/ablation.py", *(arguments or sys.argv[1:])], "seeds": options.seeds}
    write_json(options.folder / "ablation.json", {**card, "machine": facts, "rows": [row._asdict() for row in rows]})
    if options.card:
        made = made_here(device, arguments=arguments)
        write_card(options.card, card_of(config, common, options.seeds, rows, made))


def card_of(
    config: TrainConfig, common: Sequence[str], seeds: Sequence[int], rows: Sequence[Row], made: Made
) -> Ablation:
    """The table as a card; `common` is what all rows gave to references/train.py."""
    parts = config.dataset["train"], config.dataset["val"]
    sizes = [len(build_part(DATASETS, part, "dataset")) for part in parts]
    options = {name: value for name, value in asdict(config).items() if name not in FREE}
    training = Training(
        recipe=recipe_of(common),
        command=portable(shlex.join(["python", "references/train.py", *common])),
        data=data_facts(parts[0], "train", sizes[0]),
        epochs=config.epochs,
        seconds=None,
        machine=made.machine,
        precision=config.precision,
        seed=None,
        config=portable(options),
    )
    data = data_facts(parts[1], "val", sizes[1])
    return Ablation(training=training, data=data, seeds=tuple(seeds), rows=tuple(map(card_row, rows)), made=made)


def card_row(row: Row) -> AblationRow:
    ap, ap50 = (tuple(round(value, 6) for value in values) for values in (row.ap, row.ap50))
    step = None if row.step is None else round(row.step, 4)
    return AblationRow(name=row.name, overrides=row.overrides, ap=ap, ap50=ap50, step_seconds=step)


def parse(arguments: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="of references/train.py, for every row")
    parser.add_argument("--folder", type=Path, required=True, help="of the runs, and of ablation.json")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), help="rows to train (default: all)")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time, which share the cores")
    parser.add_argument("--rounds", type=int, default=3, help="of timing; 0 for none")
    parser.add_argument("--card", type=Path, help="a card of the table, from which MODEL_ZOO.md is made")
    options = parser.parse_intermixed_args(arguments)
    return options, options.overrides


def folder_of(options: argparse.Namespace, name: str, seed: int) -> Path:
    return options.folder / f"{name.replace(',', '').replace(' ', '_').lower()}-{seed}"


def train_all(options: argparse.Namespace, common: Sequence[str], names: Sequence[str]) -> None:
    """Train what is not trained yet, to the last epoch.

    Raises:
        RuntimeError: naming the log of a training that failed; the others go on first.
    """
    options.folder.mkdir(parents=True, exist_ok=True)
    runs = [(name, seed) for seed in options.seeds for name in names]
    with ThreadPoolExecutor(options.jobs) as pool:
        failed = [log for log in pool.map(lambda run: train(options, common, *run), runs) if log]
    if failed:
        raise RuntimeError(f"these trainings failed, see {', '.join(map(str, failed))}")


def train(options: argparse.Namespace, common: Sequence[str], name: str, seed: int) -> Path | None:
    """Train one row with one seed; the path of its log if that failed."""
    folder = folder_of(options, name, seed)
    log = folder.with_suffix(".log")
    own = [*common, *VARIANTS[name], f"seed={seed}", f"folder={folder}", "resume=auto"]
    threads = {"OMP_NUM_THREADS": str(max(1, cores() // options.jobs))}
    with log.open("a") as file:
        command = [sys.executable, str(HERE / "train.py"), *own]
        status = subprocess.run(command, stdout=file, stderr=file, env={**os.environ, **threads}, check=False)
    return log if status.returncode else None


def trained_row(options: argparse.Namespace, name: str) -> Row:
    last = [last_row(folder_of(options, name, seed) / "log.csv") for seed in options.seeds]
    return Row(name, VARIANTS[name], [float(row["AP"]) for row in last], [float(row["AP50"]) for row in last])


def last_row(path: Path) -> dict[str, str]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))[-1]


def measured_rows(
    options: argparse.Namespace, config: TrainConfig, device: torch.device, suppressions: dict[str, dict[str, Any]]
) -> list[Row]:
    """The plain detectors of all seeds with each of these suppressions."""
    dataset = build_part(DATASETS, config.dataset["val"], "dataset.val")
    loader = evaluation_loader(dataset, batch_size=8)
    metric = build_part(METRICS, config.metric, "metric", annotations=dataset.annotations)
    changes = {name: tuple(f"{key}={value}" for key, value in SUPPRESSIONS[name].items()) for name in suppressions}
    rows = {name: Row(name, changes[name], [], []) for name in suppressions}
    for seed in options.seeds:
        model = detzoo.load(folder_of(options, PLAIN, seed) / LAST, trust_parts=True).to(device)
        for name, part in suppressions.items():
            model.postprocess = build_part(POSTPROCESSES, part, "postprocess")
            numbers = evaluate(model, loader, metric)
            rows[name].ap.append(numbers["AP"])
            rows[name].ap50.append(numbers["AP50"])
    return list(rows.values())


def suppression(config: TrainConfig, name: str) -> dict[str, Any]:
    """A row's suppression, within the limits of the recipe's own.

    Raises:
        ConfigError: if there is none with these options.
    """
    _, plain = split_part(read_config(config.model).postprocess, "model.postprocess")
    part = {**{limit: plain[limit] for limit in LIMITS if limit in plain}, **SUPPRESSIONS[name]}
    resolve_part(POSTPROCESSES, part, "postprocess")
    return part


def composed(overrides: Sequence[str]) -> TrainConfig:
    """What a command line of references/train.py comes to."""
    with initialize_config_dir(str(HERE.parent / "configs"), version_base="1.3"):
        return typed(compose("train", list(overrides)), TrainConfig)


def time_steps(
    options: argparse.Namespace, common: Sequence[str], names: Sequence[str], device: torch.device
) -> dict[str, float]:
    """Median seconds of a training step of each row, all in turn."""
    forms = {name: training_step(composed([*common, *VARIANTS[name]]), device) for name in names}
    seconds = time_in_turn(forms, argparse.Namespace(rounds=options.rounds, steps=4), device)
    return {name: statistics.median(times) for name, times in seconds.items()}


def training_step(config: TrainConfig, device: torch.device) -> Callable[[], object]:
    """Forward, losses, backward, update of a batch as large as the recipe's."""
    run = Run(device, Path(), choose_precision(config.precision, device))
    model = build_ssd(replace(read_config(config.model), num_classes=CLASSES))
    model.to(device, memory_format=torch.channels_last).train()
    updater = build_updater(config, build_progress(config, model, run, steps_per_epoch=1, score="AP", data=""), run)
    size, count = model.preprocess.size, config.loader.batch_size
    images = torch.randint(0, 256, (count, *size, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    targets = [{**target, "labels": target["labels"] % (CLASSES - 1) + 1} for target in targets_of(count, size)]
    batch = Batch(images, pad_targets(targets), torch.arange(count))
    return lambda: updater.step(batch)


def table(rows: Sequence[Row]) -> str:
    """One line for each row: means over seeds, and how far they are from the first row's."""
    lines = ["| | AP | AP50 | AP to the first | a step |", "|---|---|---|---|---|"]
    first = statistics.mean(rows[0].ap)
    for row in rows:
        ap, ap50 = statistics.mean(row.ap), statistics.mean(row.ap50)
        step = "" if row.step is None else f"{row.step:.2f} s"
        lines.append(f"| {row.name} | {ap:.3f} | {ap50:.3f} | {100 * (ap - first):+.1f} | {step} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
