"""`detzoo export`: its options, and what it does."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from ..arguments import whole_number
from ..files import check_free
from ..models import load
from .check import describe
from .export import TARGETS, export
from .inputs import INPUTS
from .levels import LEVELS


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command, but for those it shares with others."""
    parser.add_argument("model", metavar="MODEL", help="what detzoo.load takes: a name, a run folder, a checkpoint")
    suffixes = ", ".join(target.suffix for target in TARGETS.values())
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help=f"ends in {suffixes}")
    parser.add_argument("--to", choices=list(TARGETS), default="onnx", help="the format (default: %(default)s)")
    parser.add_argument(
        "--level",
        choices=list(LEVELS),
        default="nms",
        help="how much goes in: the network; boxes and scores; suppression as well (default: %(default)s)",
    )
    parser.add_argument(
        "--inputs",
        choices=INPUTS,
        default="pixels",
        help="normalised floats; bytes of the network's size; bytes of any size (default: %(default)s)",
    )
    parser.add_argument("--precision", default="float32", help=f"{_precisions()} (default: %(default)s)")
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--batch", type=whole_number, metavar="N", help="always so many images")
    sizes.add_argument(
        "--dynamic-batch", dest="batch", action="store_const", const=None, help="any number at once (the default)"
    )
    parser.add_argument(
        "--candidates",
        type=whole_number,
        metavar="N",
        help="boxes of an image that enter suppression (default: five for each that may leave, at least 5000)",
    )
    parser.add_argument(
        "--images",
        nargs="+",
        metavar="PATH",
        default=[],
        help="files, folders or patterns to compare with (default: drawn pictures), and for int8 to calibrate on: some "
        "hundred like those to come; the first 300 are used",
    )


def run(options: argparse.Namespace, images: Sequence[Tensor]) -> int:
    """Write the file and print by how much it differs; `images` are to compare with, drawn where there are none."""
    for path in (options.output, *map(options.output.with_suffix, TARGETS[options.to].beside)):
        check_free(path)
    TARGETS[options.to].check_installed()  # before weights are fetched
    model = load(options.model, origin=options.origin, trust_parts=options.trust_parts)
    exported = export(
        model,
        options.output,
        to=options.to,
        level=options.level,
        inputs=options.inputs,
        precision=options.precision,
        dynamic_batch=options.batch is None,
        batch=options.batch or 1,
        images=images or None,
        candidates=options.candidates,
        name=Path(options.model).name,
    )
    print(describe(exported.path, exported.differences))
    return 0


def _precisions() -> str:
    return "; ".join(f"{name}: {', '.join(target.precisions)}" for name, target in TARGETS.items())
