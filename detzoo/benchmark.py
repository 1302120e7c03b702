"""`detzoo benchmark`: a detector in every engine and precision, side by side: size, accuracy, speed."""

import argparse
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from .components.preprocess import ToRGB
from .data import DATASETS, DetectionDataset, evaluation_loader
from .deploy.backends import BACKENDS, Accelerated, accelerate
from .deploy.look_trained import drawn_pictures, look_trained
from .devices import choose_device
from .engine.evaluate import evaluate
from .lookup import build_part, suggest
from .metrics import METRICS
from .models import SSD, get_model, load
from .predict import OnDemand, images_of, read_image
from .predict.sources import CALIBRATION

PHOTOGRAPH = (480, 640)  # height, width of pictures that are drawn where none are given
CPU = torch.device("cpu")
AS_IT_IS = "as it is"
SCORE = "AP"


class Row(NamedTuple):
    """A form of a detector: milliseconds an image for each size of batch, megabytes on disk, metrics; None where they
    were not measured, and `problem` where it does not run here.
    """

    form: str
    milliseconds: dict[int, float]
    megabytes: float | None = None
    metrics: dict[str, float] | None = None
    problem: str | None = None


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command, but for those it shares with others."""
    parser.add_argument("model", metavar="MODEL", help="what detzoo.load takes: a name, a run folder, a checkpoint")
    parser.add_argument(
        "--forms",
        nargs="+",
        metavar="BACKEND:PRECISION",
        help="which ones (default: all that the device has; int8 where there are images to calibrate on)",
    )
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8], help="images at once (default: 1 8)")
    parser.add_argument("--rounds", type=int, default=7, help="in each of which every form is timed once")
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda, cuda:1 (default: %(default)s)")
    parser.add_argument(
        "--random-weights", action="store_true", help="MODEL is a name of the zoo: only its speed is of interest"
    )
    data = parser.add_argument_group("accuracy", "Without a data set there is none, and drawn pictures are timed.")
    data.add_argument("--own-data", action="store_true", help="MODEL is a run folder: measure on its validation set")
    data.add_argument("--images", type=Path, metavar="FOLDER", help="of a data set in COCO's form")
    data.add_argument("--annotations", type=Path, metavar="FILE", help="its JSON")
    data.add_argument("--limit", type=int, metavar="N", help="measure on the first N images")
    data.add_argument("--calibration", nargs="+", metavar="PATH", help="images like those to come, for int8")


def run(options: argparse.Namespace) -> int:
    """Measure, and print a table."""
    if min(*options.batch, options.rounds) < 1:
        raise ValueError("expected --batch and --rounds of 1 or more")
    if options.limit is not None and not (options.own_data or options.images):
        raise ValueError("--limit is of a data set: name one with --own-data or --images and --annotations")
    device = choose_device(options.device)
    if options.calibration and options.forms and not any(form.endswith(":int8") for form in options.forms):
        raise ValueError("--calibration is for int8, and none of --forms is: leave one of them away")
    val, train = _data(options)
    model = _model(options)
    calibration = _calibration(options.calibration, train)
    forms = options.forms or forms_of(device, calibrated=bool(calibration))
    timed = _pictures(val, max(options.batch))
    rows = measure(
        model, forms, timed, options.batch, device=device, rounds=options.rounds, calibration=calibration,
        data=val, limit=options.limit,
    )  # fmt: skip
    sizes = sorted({"x".join(map(str, image.shape[-2:])) for image in timed})
    of = f"of {sizes[0]} bytes" if len(sizes) == 1 else f"of bytes, of {len(sizes)} sizes,"
    print(f"{options.model} on {device}, {torch.get_num_threads()} threads; an image {of} to boxes")
    print(f"{candidates_per_image(model, timed):.0f} scores of an image are above the threshold")
    print(format_rows(rows))
    return 0


def forms_of(device: torch.device, *, calibrated: bool) -> list[str]:
    """Every `backend:precision` of a device; int8 only where it can be calibrated."""
    return [
        f"{name}:{precision}"
        for name, backend in BACKENDS.items()
        for precision in backend.precisions
        if device.type in backend.devices and (precision != "int8" or calibrated)
        if not (precision == "float16" and device.type == "cpu")  # it computes there, some hundred times slower
    ]


def measure(
    model: SSD,
    forms: Sequence[str],
    images: Sequence[Tensor],
    batches: Sequence[int],
    *,
    device: torch.device = CPU,
    rounds: int = 7,
    calibration: Sequence[Tensor] = (),
    data: DetectionDataset | None = None,
    limit: int | None = None,
) -> list[Row]:
    """A row for the model as it is, and for each form; a form whose package is missing says so in its row.

    Args:
        model: in eval mode.
        forms: each `backend:precision`.
        images: [3, H, W] bytes, at least as many as the largest batch.
        batches: how many go in at once.
        device: where all run.
        rounds: in each of which every form is timed once; medians count.
        calibration: images for int8.
        data: to measure accuracy on.
        limit: the first so many images of it.

    Raises:
        ValueError: for an unknown backend or precision.
    """
    there = [image.to(device) for image in images]
    model = model.to(device)
    detectors: dict[str, SSD] = {AS_IT_IS: model}
    problems: dict[str, str] = {}
    for form in forms:
        backend, _, precision = form.partition(":")
        if backend not in BACKENDS or precision not in BACKENDS[backend].precisions:
            raise ValueError(f"unknown form {form!r}: {suggest(form, forms_of(device, calibrated=True))}")
        try:
            used = calibration if precision == "int8" else None
            detector = accelerate(model, backend, precision, device=device, calibration=used)
            detector.detect(there[:1])  # some find out only now that a compiler is missing
        except (ValueError, RuntimeError) as error:
            problems[form] = str(error).strip().partition("\n")[0]
        else:
            detectors[form] = detector
    times = {}
    for batch in batches:
        calls = {form: partial(detector.detect, there[:batch]) for form, detector in detectors.items()}
        times[batch] = time_in_turn(calls, rounds, device)
    rows = []
    for form, detector in detectors.items():
        milliseconds = {batch: 1000 * statistics.median(times[batch][form]) / batch for batch in batches}
        metrics = None if data is None else _metrics(detector, data, limit)
        rows.append(Row(form, milliseconds, _megabytes(detector), metrics))
    return rows + [Row(form, {}, problem=problem) for form, problem in problems.items()]


@torch.no_grad()
def candidates_per_image(model: SSD, images: Sequence[Tensor]) -> float:
    """Pairs of box and class above the threshold, on which the time of suppression depends."""
    device = next(model.parameters()).device
    counts = [
        int((model.loss.scores(model.predict(model.preprocess([image.to(device)])).logits) > threshold).sum())
        for image in images
        for threshold in [model.postprocess.score_threshold]
    ]
    return sum(counts) / len(counts)


def time_in_turn(
    forms: Mapping[str, Callable[[], object]], rounds: int, device: torch.device, warm_up: int = 2
) -> dict[str, list[float]]:
    """Seconds of each form, of which one is run after the other in every round, so that all see the same machine.

    Args:
        forms: what is timed.
        rounds: that count.
        device: whose work is waited for.
        warm_up: rounds before, which do not count.
    """
    seconds: dict[str, list[float]] = {name: [] for name in forms}
    for number in range(rounds + warm_up):
        for name, form in forms.items():
            start = time.perf_counter()
            form()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if number >= warm_up:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def format_rows(rows: Sequence[Row]) -> str:
    """A table, times of the first row over those of each."""
    batches = list(rows[0].milliseconds)
    heads = "".join(f"{f'ms, batch {batch}':>14}{'times':>7}" for batch in batches)
    lines = [f"{'':24}{'MB':>8}{SCORE:>8}{heads}{'images/s':>10}"]
    for row in rows:
        if row.problem is not None:
            lines.append(f"{row.form:24}  {row.problem}")
            continue
        size = "-" if row.megabytes is None else f"{row.megabytes:.1f}"
        score = "-" if row.metrics is None else f"{row.metrics[SCORE]:.3f}"
        cells = "".join(
            f"{row.milliseconds[batch]:14.2f}{rows[0].milliseconds[batch] / row.milliseconds[batch]:7.2f}"
            for batch in batches
        )
        lines.append(f"{row.form:24}{size:>8}{score:>8}{cells}{1000 / min(row.milliseconds.values()):10.1f}")
    return "\n".join(lines)


def _metrics(detector: SSD, data: DetectionDataset, limit: int | None) -> dict[str, float]:
    metric = build_part(METRICS, "coco", "metric", annotations=data.annotations)
    return evaluate(detector, evaluation_loader(data, limit=limit), metric)


def _megabytes(detector: SSD) -> float | None:
    """Of the engine's file, or of the parameters as they lie in memory."""
    if isinstance(detector, Accelerated):
        return None if detector.engine.size is None else detector.engine.size / 1e6
    return sum(tensor.nbytes for tensor in detector.state_dict().values()) / 1e6


def _model(options: argparse.Namespace) -> SSD:
    if not options.random_weights:
        return load(options.model, origin=options.origin, trust_parts=options.trust_parts).eval()
    if options.own_data or options.images is not None:
        raise ValueError("--random-weights have no accuracy: leave the data set away")
    torch.manual_seed(0)
    images = _pictures(None, max(options.batch))
    return look_trained(get_model(options.model), images=images).requires_grad_(False)


def _data(options: argparse.Namespace) -> tuple[DetectionDataset | None, DetectionDataset | None]:
    """The data set to measure on, and the one that was trained on, where they are known."""
    if (options.images is None) != (options.annotations is None):
        raise ValueError("--images FOLDER and --annotations FILE go together")
    if options.own_data and options.images is not None:
        raise ValueError("--own-data and --images name two data sets: choose one")
    if options.own_data:
        from .engine.report import dataset_of_run  # reads the run's config, which takes Hydra's packages

        parts = dataset_of_run(options.model)
        return tuple(build_part(DATASETS, parts[name], f"dataset.{name}") for name in ("val", "train"))
    if options.images is None:
        return None, None
    part = {"name": "coco", "images": str(options.images), "annotations": str(options.annotations)}
    return build_part(DATASETS, part, "dataset.val"), None


def _pictures(data: DetectionDataset | None, count: int) -> list[Tensor]:
    if data is None:
        return drawn_pictures(count, PHOTOGRAPH)
    return [_image(data, index % len(data)) for index in range(count)]


def _calibration(sources: Sequence[str] | None, train: DetectionDataset | None) -> Sequence[Tensor]:
    if sources is not None:
        images = OnDemand(read_image, images_of(sources, CALIBRATION))
    elif train is not None:
        images = OnDemand(partial(_image, train), range(min(len(train), CALIBRATION)))
    else:
        return []
    for _ in images:  # one that cannot be read is an error here, and later a form that does not run
        pass
    return images


def _image(data: DetectionDataset, index: int) -> Tensor:
    return ToRGB()(data.open_image(index)).contiguous()
