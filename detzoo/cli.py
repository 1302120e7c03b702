"""The command `detzoo`."""

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from . import benchmark
from .allocator import tune_allocator
from .deploy import command as deploy
from .exchange import EXPORTS, SUFFIXES, check_suffix, format_report, inspect, save, save_for, suffixes_for
from .files import check_free, replacing
from .hub import DownloadError
from .importers import ORIGINS
from .models.opening import open_detector
from .models.published import list_published
from .predict import OnDemand, images_of, read_image
from .predict import command as predict
from .predict.sources import CALIBRATION
from .show import (
    describe_model,
    draw_default_boxes,
    format_card,
    format_model,
    is_name,
    missing_file,
    open_model,
    published_weights,
)
from .version import __version__

BROKEN_PIPE = 141  # what a shell says of a process that SIGPIPE ended
Commands = Any  # what argparse's add_subparsers gives; its class has no public name


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; what a user got wrong is one line on standard error and exit status 2.

    Where nobody reads on, as behind `| head`, it ends as if SIGPIPE had ended it.
    """
    try:
        try:
            return _run(arguments)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left would be an error at exit
        return BROKEN_PIPE


def _run(arguments: Sequence[str] | None) -> int:
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and (options.run is not _show or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:  # what argparse does not take for the rest of a list after an option
        options.changes += rest
    if options.run in (predict.run, benchmark.run):
        tune_allocator()
    try:
        return options.run(options)
    except BrokenPipeError:
        raise
    except (ValueError, OSError, DownloadError) as error:
        print(f"detzoo: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="detzoo", description="Single-shot detectors, ready to use.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (_add_predict, _add_show, _add_inspect, _add_convert, _add_export, _add_benchmark, _add_list):
        add(commands)
    return parser


def _add_predict(commands: Commands) -> None:
    command = commands.add_parser("predict", help="detect in images and videos: boxes printed, pictures written")
    command.set_defaults(run=predict.run)
    predict.add_options(command)
    _add_origin(command)
    _add_trust(command)


def _add_show(commands: Commands) -> None:
    command = commands.add_parser("show", help="a model in numbers: levels, default boxes, parameters, GMACs")
    command.set_defaults(run=_show)
    command.add_argument("model", metavar="MODEL", help="a name of `detzoo list`, a checkpoint or a run folder")
    command.add_argument(
        "changes", nargs="*", metavar="KEY=VALUE", help="other parts for a name: loss=focal neck=fpn loss.alpha=0.5"
    )
    command.add_argument("--classes", type=_classes, help="classes with background (default: those of the name)")
    command.add_argument("--size", type=_size, metavar="HxW", help="input in pixels (default: that of the model)")
    command.add_argument("--picture", type=Path, metavar="IMAGE", help="an image to draw default boxes on, in --output")
    command.add_argument("--output", type=Path, metavar="FILE", help="where the drawing goes")
    _add_origin(command)
    _add_trust(command)


def _add_inspect(commands: Commands) -> None:
    command = commands.add_parser("inspect", help="what weights are: whose, which classes, which numbers")
    command.set_defaults(run=_inspect)
    command.add_argument(
        "source", metavar="SOURCE", help="a file, a run folder, or a name of published weights or of a model with some"
    )
    _add_origin(command)


def _add_convert(commands: Commands) -> None:
    command = commands.add_parser("convert", help="a file of another project's for detzoo, or one of detzoo's for them")
    command.set_defaults(run=_convert)
    command.add_argument("source", metavar="SOURCE", help="what detzoo.load takes: a file, a run folder, a name")
    command.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="FILE",
        help=f"ends in {' or '.join(SUFFIXES)}; with --to d2l, in .params as well",
    )
    command.add_argument("--to", choices=sorted(EXPORTS), help="write the tensors that this project's code loads")
    command.add_argument(
        "--despite-numbers",
        action="store_true",
        help="with --to: write them as well where that code has other default boxes or the like",
    )
    _add_origin(command)
    _add_trust(command)


def _add_export(commands: Commands) -> None:
    command = commands.add_parser("export", help="a detector as ONNX, OpenVINO and others, checked on the spot")
    command.set_defaults(run=_export)
    deploy.add_options(command)
    _add_origin(command)
    _add_trust(command)


def _add_benchmark(commands: Commands) -> None:
    command = commands.add_parser("benchmark", help="every engine and precision side by side: size, accuracy, speed")
    command.set_defaults(run=benchmark.run)
    benchmark.add_options(command)
    _add_origin(command)
    _add_trust(command)


def _add_list(commands: Commands) -> None:
    command = commands.add_parser("list", help="the models of the zoo and their published weights: numbers, licences")
    command.set_defaults(run=_list)


def _add_origin(command: argparse.ArgumentParser) -> None:
    command.add_argument("--origin", help=f"whose the file is, where that is asked: {', '.join(ORIGINS)}")


def _add_trust(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--trust-parts",
        action="store_true",
        help="import parts that the checkpoint names by dotted path, which runs code that it chooses",
    )


def _classes(text: str) -> int:
    if not text.isdecimal() or int(text) < 2:
        raise argparse.ArgumentTypeError(f"{text}: expected at least 2, since background counts")
    return int(text)


def _size(text: str) -> tuple[int, int]:
    if not re.fullmatch(r"[1-9]\d*x[1-9]\d*", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text}: expected height and width in pixels, such as 300x512")
    height, width = map(int, text.split("x"))
    return height, width


def _show(options: argparse.Namespace) -> int:
    if (options.picture is None) != (options.output is None):
        raise ValueError("--picture IMAGE and --output FILE go together: one is drawn on, the other is written")
    if options.output is not None:
        _check_picture_name(options.output)
    image = None if options.picture is None else read_image(options.picture)
    named = is_name(options.model)
    if (card := format_card(options.model)) is not None:
        print(f"{card}\n", flush=True)  # before the file is read, which may fail
    place, asked = missing_file(options.model), options.changes or options.classes or image is not None
    if place is not None and not asked:
        print(f"its file is not at {place} yet: detzoo.load gets it, or says how to, and then there is more to show")
        return 0
    model = open_model(
        options.model,
        changes=options.changes,
        num_classes=options.classes,
        size=options.size if named else None,  # a checkpoint stays what it is, and is shown at another size
        origin=options.origin,
        trust_parts=options.trust_parts,
    )
    facts = describe_model(model, options.size)
    weights = [options.model] if not named else [] if options.changes else published_weights(options.model)
    print(format_model(" ".join((options.model, *options.changes)), model, facts, weights))
    if image is not None:
        with replacing(options.output) as unfinished:
            draw_default_boxes(image, facts).save(unfinished)
        print(f"\ndefault boxes of one cell a level, drawn in {options.output}")
    return 0


def _check_picture_name(path: Path) -> None:
    if Image.registered_extensions().get(path.suffix.lower()) not in Image.SAVE:
        raise ValueError(f"{path} is not the name of a picture that can be written: expected one such as boxes.png")


def _inspect(options: argparse.Namespace) -> int:
    report = inspect(options.source, options.origin)
    print(format_report(report))
    return 2 if report.problems else 0


def _convert(options: argparse.Namespace) -> int:
    check_suffix(options.output, suffixes_for(options.to))
    check_free(options.output)
    if options.despite_numbers and options.to is None:
        raise ValueError("--despite-numbers goes with --to PROJECT: detzoo's own files say their numbers")
    opened = open_detector(options.source, origin=options.origin, trust_parts=options.trust_parts)
    if options.to is None:
        print(f"written: {', '.join(map(str, save(options.output, opened)))}")
        return 0
    differences = save_for(options.output, opened, options.to, despite_numbers=options.despite_numbers)
    print(f"written: {options.output}, tensors as {options.to} names them")
    for line in differences:
        print(f"to be changed in its code: {line}")
    return 0


def _export(options: argparse.Namespace) -> int:
    paths = images_of(options.images, CALIBRATION) if options.images else []
    return deploy.run(options, OnDemand(read_image, paths))


def _list(options: argparse.Namespace) -> int:
    print("\n".join(list_published()))
    return 0
