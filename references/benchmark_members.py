"""Milliseconds of every member of the zoo, from an image of bytes to boxes, in a few engines, in turn.

Weights are drawn so that scores look like a trained model's, 91 classes. Ratios are to the member as it is, in PyTorch.
"""

import argparse

import torch
from benchmark_detectors import drawn, photographs
from benchmark_inference import packages_of

from detzoo.benchmark import AS_IT_IS, Row, candidates_per_image, format_rows
from detzoo.benchmark import measure as measure_forms
from detzoo.engine.card_kinds import Speed, SpeedRow
from detzoo.engine.cards import write_card
from detzoo.engine.made import made_here
from detzoo.engine.run import DEVICES, machine, start_processes
from detzoo.models import MODELS

FORMS = ("eager:float32", "openvino:float32", "openvino:bfloat16")
CLOCK = "from an image of 480x640 bytes in memory to its boxes; freed memory is kept and huge pages are asked for"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", nargs="+", default=sorted(MODELS), choices=sorted(MODELS))
    parser.add_argument("--forms", nargs="+", default=list(FORMS), metavar="BACKEND:PRECISION")
    parser.add_argument("--batch", type=int, nargs="+", default=[1], help="images at once")
    parser.add_argument("--device", default="auto", choices=DEVICES)
    parser.add_argument("--rounds", type=int, default=5, help="in each of which every form is timed once")


def measure(options: argparse.Namespace) -> None:
    """Print a table for each member."""
    if min(*options.batch, options.rounds) < 1:
        raise ValueError("expected --batch and --rounds of 1 or more")
    lines: list[SpeedRow] = []
    with start_processes(options.device) as device:
        images = photographs(max(options.batch))  # no tensor before that: see `tune_allocator`
        packages = sorted({package for form in options.forms for package in packages_of(form)})
        made = made_here(device, config=vars(options), packages=packages) if options.card else None
        print(", ".join(f"{name} {value}" for name, value in machine(device).items()))
        for name in options.model:
            model = drawn(name)
            rows = measure_forms(model, options.forms, images, options.batch, device=device, rounds=options.rounds)
            found = candidates_per_image(model, images)
            print(f"\n{name}, {found:.0f} candidates an image\n{format_rows(rows)}", flush=True)
            lines += [line for row in rows for line in card_rows(name, row, rows[0], found, device)]
        if made is not None:
            write_card(options.card, Speed(subject="members", clock=CLOCK, rows=tuple(lines), made=made))


def card_rows(name: str, row: Row, first: Row, found: float, device: torch.device) -> list[SpeedRow]:
    """A row of the card for each size of batch; none for a form that does not run here."""
    backend, _, precision = ("eager:float32" if row.form == AS_IT_IS else row.form).partition(":")
    return [
        SpeedRow(
            model=name,
            backend=AS_IT_IS if row.form == AS_IT_IS else backend,
            precision=precision,
            batch=batch,
            threads=torch.get_num_threads() if device.type == "cpu" else None,
            ms_per_image=round(milliseconds, 2),
            ratio=round(first.milliseconds[batch] / milliseconds, 2),
            candidates_per_image=round(found),
            baseline=AS_IT_IS,
        )
        for batch, milliseconds in row.milliseconds.items()
    ]
