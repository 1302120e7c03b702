"""Export members of the zoo in every format at every level, and write down by how much they differ from PyTorch.

    python references/export_matrix.py --card references/cards/exports_onnx.json --to onnx
    python references/export_matrix.py --card exports.json --models tiny_ssd --to onnx openvino --precision float16

Weights are drawn so that scores are like a trained model's (`detzoo.deploy.look_trained`). The card is written after
each member, and its rows are kept, so that the matrix can be made in parts; only rows of the same versions are, and
those of what could not be exported are tried again.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

import detzoo
from detzoo.deploy import LEVELS, TARGETS, export
from detzoo.deploy.look_trained import look_trained
from detzoo.engine.card_kinds import Export, ExportRow
from detzoo.engine.cards import read_card, write_card
from detzoo.engine.made import Made, made_here
from detzoo.models import MODELS, SSD

NUM_CLASSES = 21
Wanted = tuple[str, str]  # format and level


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    try:
        for to in options.to:
            TARGETS[to].check_installed()
        packages = sorted({package for to in options.to for package in TARGETS[to].needs})
        made = made_here(torch.device("cpu"), config=vars(options), packages=packages)
        rows = kept(options.card, made)
        for name in options.models:
            for row in missing(rows, name, wanted(options), options.precision):
                rows.append(row)
                print(f"{row.model} {row.to} {row.level} {row.precision}: {said(row)}", flush=True)
            write_card(options.card, Export(rows=tuple(rows), made=made))
    except ValueError as error:
        raise SystemExit(f"error: {error}") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--card", type=Path, required=True, metavar="FILE", help="JSON, added to if it is there")
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS), metavar="MODEL")
    parser.add_argument("--to", nargs="+", choices=list(TARGETS), default=["onnx", "openvino", "torch-export"])
    parser.add_argument("--levels", nargs="+", choices=list(LEVELS), default=list(LEVELS))
    parser.add_argument("--precision", default="float32", help="of formats that have it (default: %(default)s)")
    return parser


def wanted(options: argparse.Namespace) -> list[Wanted]:
    """What each member is to be exported to.

    Raises:
        ValueError: for a precision that none of the formats has.
    """
    offered = {to: TARGETS[to].precisions.get(options.precision) for to in options.to}
    formats = [to for to, precision in offered.items() if precision is not None and not precision.calibrates]
    if not formats:
        raise ValueError(f"--precision {options.precision}: none of {', '.join(options.to)} has it without calibration")
    return [(to, level) for to in formats for level in options.levels if level in TARGETS[to].levels]


def kept(path: Path, made: Made) -> list[ExportRow]:
    """Rows of a card that may stay: of the same versions and machine, and exported.

    Raises:
        ValueError: for a file that is another card, or none.
    """
    if not path.exists():
        return []
    card = read_card(path)
    if not isinstance(card, Export):
        raise ValueError(f"{path} is a card of another kind: name another file")
    if card.made is None or (card.made.versions, card.made.machine) != (made.versions, made.machine):
        print(f"{path} was made with other versions or on another machine: begun anew")
        return []
    return [row for row in card.rows if row.problem is None]


def missing(rows: Sequence[ExportRow], name: str, exports: Sequence[Wanted], precision: str) -> Iterator[ExportRow]:
    """A row for each export of a member that is not among the rows yet, once it was made."""
    there = {(row.to, row.level) for row in rows if row.model == name and row.precision == precision}
    if left := [pair for pair in exports if pair not in there]:
        torch.manual_seed(0)
        model = look_trained(detzoo.get_model(name, num_classes=NUM_CLASSES))
        yield from (attempt(model, name, to, level, precision) for to, level in left)


def attempt(model: SSD, name: str, to: str, level: str, precision: str) -> ExportRow:
    """Differences and the size of the files, or why there are none."""
    target, differences, size, problem = TARGETS[to], None, None, None
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"model{target.suffix}"
        try:
            exported = export(model, path, to=to, level=level, precision=precision, dynamic_batch=target.dynamic)
        except (ValueError, RuntimeError) as error:  # detzoo's refusals, exporters' own
            problem = str(error)
        else:
            differences = exported.differences
            size = sum(file.stat().st_size for file in path.parent.iterdir())
    return ExportRow(
        model=name, to=to, level=level, precision=precision, differences=differences, bytes=size, problem=problem
    )


def said(row: ExportRow) -> str:
    """For the one who waits."""
    if row.differences is None:
        return str(row.problem)
    return ", ".join(f"{name} {value:.1e}" for name, value in row.differences.items())


if __name__ == "__main__":
    main()
