"""Prints the table of published weights in MODEL_ZOO.md: `python tests/origins/report.py`.

One line for each file of the catalogue, then one for each golden file of a model without one. The differences are those
that `test_goldens` looks at, over again.
"""

import sys
from collections.abc import Mapping

from goldens import Golden, differences, names

from detzoo.models import MODELS
from detzoo.models.weights import WeightsEnum

HEAD = (
    "| model | weights | origin | published, by the origin | licence | state | raw outputs | boxes, pixels | scores |"
)


def main() -> None:
    goldens = names()
    seen = {}
    for name in goldens:
        golden = Golden.read(name)
        seen[name] = differences(golden, golden.opened())
        print(name, seen[name], file=sys.stderr)
    print(HEAD)
    print("|" + "---|" * (HEAD.count("|") - 1))
    for model, entry in MODELS.items():
        for weights in entry.weights or ():
            print(row(model, weights, seen))
    published = {weights.meta.get("golden") for entry in MODELS.values() for weights in entry.weights or ()}
    for name in goldens:
        if name not in published:
            print(f"| | no file in the catalogue | {name} | | | verified architecture | {_cells(seen[name])} |")


def row(model: str, weights: WeightsEnum, seen: Mapping[str, Mapping[str, float]]) -> str:
    card = weights.meta
    metrics = ", ".join(
        f"{value} {metric} ({data})" for data, values in card["metrics"].items() for metric, value in values.items()
    )
    cells = _cells(seen[card["golden"]]) if "golden" in card else "see `tests/parity` | |"
    cells = cells if card["origin"] == "torchvision" or "golden" in card else "- | - | -"
    return (
        f"| `{model}` | `{weights.name}` | {card['origin']} | {metrics or '-'} | {card['licence'] or 'none stated'} | "
        f"{card['state']} | {cells} |"
    )


def _cells(seen: Mapping[str, float]) -> str:
    raw = max(seen["logits"], seen["deltas"])
    return f"{raw:.0e} | {seen['boxes']:.0e} | {seen['scores']:.0e}"


if __name__ == "__main__":
    main()
