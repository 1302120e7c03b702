"""Milliseconds from an image of bytes to boxes: torchvision's model and ours, engine by engine, in turn in one run.

Inside the clock: resizing an image of 480x640 bytes (for torchvision: to floats before, which it wants), the network,
scores, suppression, boxes in pixels of the image. Outside: reading files, and starting an engine. All have the same
weights, random ones whose scores look like a trained model's; candidates of an image are printed.

Each form has a process of its own, as it would have in use: threads that wait busily for more work, and allocators that
were told to keep memory, are nobody else's. The processes work one after the other, in turn; the first call of a turn
finds the caches full of another's data, and does not count.
"""

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from multiprocessing.connection import Connection
from typing import NamedTuple

import torch
from benchmark_detectors import CANDIDATES, MODELS_OF_BOTH, both, photographs
from torch import Tensor

from detzoo.allocator import tune_allocator
from detzoo.benchmark import candidates_per_image
from detzoo.deploy.backends import BACKENDS, accelerate
from detzoo.deploy.check import match
from detzoo.deploy.program import EXACT
from detzoo.devices import choose_device
from detzoo.engine.card_kinds import Speed, SpeedRow
from detzoo.engine.cards import write_card
from detzoo.engine.made import made_here
from detzoo.engine.run import DEVICES, machine
from detzoo.structures import Detection

THEIRS, AS_IT_IS = "torchvision", "as it is"
DEFAULT_FORMS = ("eager:float32", "onnxruntime:float32", "openvino:float32", "openvino:bfloat16", "openvino:int8")
CALIBRATION = 16  # images; which numbers int8 rounds to does not change its speed
CLOCK = (
    "from an image of 480x640 bytes in memory to its boxes; engines keep freed memory and ask for huge pages, as "
    "detzoo's commands do"
)
Detect = Callable[[Sequence[Tensor]], list[Detection]]
WARM_UP, CALLS = 3, 3  # calls before the first turn; calls of a turn, the first of them not counted


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
    parser.add_argument("--against", default=THEIRS, choices=[THEIRS], help="what the ratios are to")
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
    parser.add_argument("--rounds", type=int, default=7, help="in each of which every form has its turn")


def measure(options: argparse.Namespace) -> None:
    """Print milliseconds and ratios."""
    if min(*options.batch, options.rounds, options.candidates) < 1:
        raise ValueError("expected --batch, --rounds and --candidates of 1 or more")
    device = choose_device(options.device)
    packages = sorted({package for form in options.forms for package in packages_of(form)})
    made = made_here(device, config=vars(options), packages=packages) if options.card else None
    print(", ".join(f"{name} {value}" for name, value in machine(device).items()))
    lines: list[SpeedRow] = []
    for name in options.model:
        rows, candidates = compare(name, options, device)
        print(f"\n{name}, {candidates:.0f} candidates an image\n{table(rows)}", flush=True)
        lines += [card_row(name, row, candidates, device) for row in rows]
    if made is not None:
        write_card(options.card, Speed(subject="inference", clock=CLOCK, rows=tuple(lines), made=made))


def compare(name: str, options: argparse.Namespace, device: torch.device) -> tuple[list[Row], float]:
    """All forms of a model, at each size of batch, and its candidates per image."""
    images = photographs(max(options.batch))
    workers = {}
    with ExitStack() as stack:
        for form in (THEIRS, AS_IT_IS, *options.forms):
            try:
                workers[form] = Worker(stack, name, form, options.candidates, images, device)
            except ValueError as error:
                if form == THEIRS:
                    raise
                print(f"{form}: {error}")
        rows = [row for batch in options.batch for row in _rows(workers, batch, options.rounds)]
    return rows, candidates_per_image(both(name, options.candidates)[1], images)


class Worker:
    """A form of a detector in a process of its own, which ends with the stack."""

    def __init__(
        self, stack: ExitStack, name: str, form: str, candidates: int, images: list[Tensor], device: torch.device
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        arguments = (theirs, name, form, candidates, [image.numpy() for image in images], str(device))
        process = context.Process(target=work, args=arguments, daemon=True)
        process.start()
        theirs.close()  # so that the end of that process is seen here
        stack.callback(process.join)
        stack.callback(self.connection.close)
        self.form = form
        self._answer()

    def seconds(self, batch: int, calls: int) -> list[float]:
        """Of each call with so many images."""
        self.connection.send(("seconds", batch, calls))
        return self._answer()

    def detections(self, batch: int) -> list[Detection]:
        self.connection.send(("detections", batch, 1))
        return [Detection(**{k: torch.from_numpy(v) for k, v in found.items()}) for found in self._answer()]

    def _answer(self) -> list:
        try:
            answer = self.connection.recv()
        except EOFError:
            raise ValueError(f"the process of {self.form} ended early, see above") from None
        if isinstance(answer, ValueError):
            raise answer
        return answer


def work(connection: Connection, name: str, form: str, candidates: int, pixels: list, device_name: str) -> None:
    """What a worker does until nobody asks any more."""
    device = torch.device(device_name)
    try:
        detect = detector_of(name, form, candidates, device)
    except ValueError as error:
        connection.send(error)
        return
    images = [torch.from_numpy(image) for image in pixels]
    connection.send([])
    while True:
        try:
            wanted, batch, calls = connection.recv()
        except EOFError:
            return
        times = []
        for _ in range(calls):
            start = time.perf_counter()
            found = detect([image.to(device) for image in images[:batch]])
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times.append(time.perf_counter() - start)
        plain = [{key: column.cpu().numpy() for key, column in each.items()} for each in found]
        connection.send(times if wanted == "seconds" else plain)


def detector_of(name: str, form: str, candidates: int, device: torch.device) -> Detect:
    """Images of bytes to detections.

    Raises:
        ValueError: for a form that is not to be had here.
    """
    if device.type == "cpu" and form not in (THEIRS, AS_IT_IS):
        tune_allocator()  # as the commands do
    reference, model = both(name, candidates)
    if form == THEIRS:
        reference.to(device)

        @torch.inference_mode()
        def theirs(images: Sequence[Tensor]) -> list[Detection]:
            return reference([image / 255 for image in images])

        return theirs
    if form == AS_IT_IS:
        return model.to(device).detect
    backend, _, precision = form.partition(":")
    calibration = photographs(CALIBRATION, seed=2) if precision == "int8" else None
    return accelerate(model, backend, precision, device=device, calibration=calibration).detect


def _rows(workers: dict[str, Worker], batch: int, rounds: int) -> list[Row]:
    for worker in workers.values():
        worker.seconds(batch, WARM_UP)
    seconds: dict[str, list[float]] = {form: [] for form in workers}
    for _ in range(rounds):
        for form, worker in workers.items():
            seconds[form] += worker.seconds(batch, CALLS)[1:]
    medians = {form: statistics.median(times) for form, times in seconds.items()}
    expected = workers[THEIRS].detections(batch)
    return [
        Row(
            form,
            batch,
            1000 * medians[form] / batch,
            medians[THEIRS] / medians[form],
            share(worker.detections(batch), expected),
        )
        for form, worker in workers.items()
    ]


def packages_of(form: str) -> list[str]:
    """What it needs, as far as it is known and installed."""
    backend, _, precision = form.partition(":")
    wanted = [*(BACKENDS[backend].packages if backend in BACKENDS else ()), *(["nncf"] if precision == "int8" else [])]
    return [package for package in wanted if find_spec(package) is not None]


def card_row(name: str, row: Row, candidates: float, device: torch.device) -> SpeedRow:
    backend, _, precision = row.form.partition(":")
    return SpeedRow(
        model=name,
        backend=backend,
        precision=precision or "float32",
        batch=row.batch,
        threads=torch.get_num_threads() if device.type == "cpu" else None,
        ms_per_image=round(row.ms_per_image, 2),
        ratio=round(row.ratio, 2),
        candidates_per_image=round(candidates),
        baseline="torchvision eager float32",
        same=round(row.same, 4),
    )


def share(found: Sequence[Detection], expected: Sequence[Detection]) -> float:
    """How many detections of both sides have a counterpart: same label, boxes within 0.01 pixel, scores within 1e-4."""
    alone = total = 0
    for ours, wanted in zip(found, expected, strict=True):
        pair = match(ours, wanted, EXACT)
        alone += len(pair.found) + len(pair.wanted)
        total += len(ours["labels"]) + len(wanted["labels"])
    return 1 - alone / total if total else 1.0


def table(rows: Sequence[Row]) -> str:
    lines = [f"{'':34}{'batch':>6}{'ms an image':>13}{'times as fast':>15}{'same detections':>17}"]
    lines += [
        f"{row.form:34}{row.batch:6}{row.ms_per_image:13.2f}{row.ratio:15.2f}{100 * row.same:16.1f}%" for row in rows
    ]
    return "\n".join(lines)
