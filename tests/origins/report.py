"""Writes the card of what is verified equal to the origins' code: `python tests/origins/report.py [CARD]`.

The differences are those that `test_goldens` looks at, over again; for torchvision's models, those of tests/parity.
"""

import sys
from pathlib import Path
from typing import NamedTuple

import torch
from goldens import Golden, differences, found_apart, names
from numpy import ndarray

from detzoo.engine.card_kinds import Parity, ParityRow
from detzoo.engine.cards import write_card
from detzoo.engine.made import made_here
from detzoo.importers.torchvision import convert_detector
from detzoo.models import MODELS, get_model
from detzoo.models.weights import load_weights

ROOT = Path(__file__).parents[2]
CARD = ROOT / "references" / "cards" / "parity.json"


def main() -> None:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else CARD
    rows = []
    for name in names():
        golden = Golden.read(name)
        rows.append(row(name, differences(golden, golden.opened())))
        print(rows[-1], file=sys.stderr)
    rows += [row(f"torchvision-{name}", torchvision_differences(name)) for name in torchvision_models()]
    write_card(path, Parity(rows=tuple(rows), made=made_here(torch.device("cpu"))))


def row(name: str, seen: dict[str, float]) -> ParityRow:
    """Four digits, so that a card says no more than there is to know."""
    return ParityRow(golden=name, **{what: float(f"{value:.4g}") for what, value in seen.items()})


def torchvision_models() -> list[str]:
    """Models of the zoo that torchvision publishes weights of."""
    origins = {name: {member.meta["origin"] for member in entry.weights or ()} for name, entry in MODELS.items()}
    return [name for name in MODELS if "torchvision" in origins[name]]


class Theirs(NamedTuple):
    """What `found_apart` looks at."""

    boxes: ndarray
    labels: ndarray
    scores: ndarray


@torch.no_grad()
def torchvision_differences(name: str) -> dict[str, float]:
    """As `differences`, of torchvision's model with random weights; images are at the network's size."""
    sys.path.append(str(ROOT / "tests" / "parity"))
    from test_torchvision import lively, pictures
    from torchvision.models import detection

    torch.manual_seed(1)
    reference = lively(getattr(detection, name)(weights=None, weights_backbone=None))
    model = get_model(name).eval()
    load_weights(model, convert_detector(reference.state_dict()))
    images = pictures(model.preprocess.size, seed=3)
    batch = reference.transform(images)[0]
    maps = list(reference.backbone(batch.tensors).values())
    theirs, ours = reference.head(maps), model.predict(model.preprocess(images))
    boxes = reference.anchor_generator(batch, maps)[0]
    detected = {key: tensor.numpy() for key, tensor in reference(images)[0].items()}
    found = {key: tensor.numpy() for key, tensor in model.detect(images)[0].items()}
    return {
        "default_boxes": float((ours.default_boxes - boxes).abs().max()) / min(model.preprocess.size),
        "logits": _apart(ours.logits, theirs["cls_logits"]),
        "deltas": _apart(ours.deltas, theirs["bbox_regression"]),
        **found_apart(Theirs(**detected), found),
    }


def _apart(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours - theirs).abs().max() / theirs.abs().max())


if __name__ == "__main__":
    main()
