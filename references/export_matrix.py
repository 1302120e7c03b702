"""Export members of the zoo in every format at every level, and write down by how much they differ from PyTorch.

    python references/export_matrix.py --output exports.json
    python references/export_matrix.py --output exports.json --models tiny_ssd --to onnx openvino

Weights are drawn so that scores are like a trained model's (`detzoo.deploy.look_trained`). Rows that the file has
already are kept, so the matrix can be made in parts; what could not be exported is a row as well, with the reason. The
table of all rows is printed at the end, for references/DEPLOYING.md.
"""

import argparse
import json
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

import detzoo
from detzoo.deploy import LEVELS, TARGETS, export
from detzoo.deploy.look_trained import look_trained
from detzoo.files import write_json
from detzoo.models import MODELS, SSD

NUM_CLASSES = 21
KEY = ("model", "to", "level")


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    try:
        rows = json.loads(options.output.read_text())["rows"] if options.output.exists() else []
        for row in missing(rows, options.models, options.to, options.levels):
            rows.append(row)
            print(f"{row['model']} {row['to']} {row['level']}: {cell(row)}", flush=True)
            write_json(options.output, {"machine": machine(), "rows": rows})
    except ValueError as error:
        raise SystemExit(f"error: {error}") from error
    print("\n".join(table(rows)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="JSON, added to if it is there")
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS), metavar="MODEL")
    parser.add_argument("--to", nargs="+", choices=list(TARGETS), default=["onnx", "openvino", "torch-export"])
    parser.add_argument("--levels", nargs="+", choices=list(LEVELS), default=list(LEVELS))
    return parser


def missing(
    rows: Sequence[dict[str, Any]], models: Sequence[str], targets: Sequence[str], levels: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """A row for each export that is not among the rows yet, once it was made."""
    there = {tuple(row[key] for key in KEY) for row in rows}
    for name in models:
        wanted = [
            (to, level)
            for to in targets
            for level in levels
            if level in TARGETS[to].levels and (name, to, level) not in there
        ]
        if wanted:
            torch.manual_seed(0)
            model = look_trained(detzoo.get_model(name, num_classes=NUM_CLASSES))
            yield from ({"model": name, "to": to, "level": level, **attempt(model, to, level)} for to, level in wanted)


def attempt(model: SSD, to: str, level: str) -> dict[str, Any]:
    """Differences and the size of the files, or why there are none."""
    target = TARGETS[to]
    target.check_installed()
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"model{target.suffix}"
        try:
            exported = export(model, path, to=to, level=level, dynamic_batch=target.dynamic)
        except ValueError as error:
            return {"problem": str(error)}
        size = sum(file.stat().st_size for file in path.parent.iterdir())
        return {"bytes": size, "differences": exported.differences}


def machine() -> dict[str, str]:
    return {"machine": platform.machine(), "torch": torch.__version__, "detzoo": detzoo.__version__}


def cell(row: dict[str, Any]) -> str:
    """The differences of a row: of numbers as the network gives them; of boxes in pixels, and of scores."""
    if "problem" in row:
        return "-"
    found = row["differences"]
    if row["level"] == "raw":
        return f"{max(found['logits'], found['deltas']):.0e}"
    return f"{found['boxes']:.0e} px, {found['scores']:.0e}"


def table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Markdown: a line for each model, a column for each format and level."""
    columns = list(dict.fromkeys((row["to"], row["level"]) for row in rows))
    cells = {tuple(row[key] for key in KEY): cell(row) for row in rows}
    heads = " | ".join(f"{to} {level}" for to, level in columns)
    lines = [f"| model | {heads} |", "|---" * (len(columns) + 1) + "|"]
    for name in dict.fromkeys(row["model"] for row in rows):
        lines.append(f"| `{name}` | " + " | ".join(cells.get((name, *column), "-") for column in columns) + " |")
    return lines


if __name__ == "__main__":
    main()
