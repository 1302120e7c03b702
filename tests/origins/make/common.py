"""What the makers of golden files share."""

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))
from goldens import PICTURE, Golden, differences, rows_of  # noqa: E402


def check_out(description: str) -> Path:
    """The folder of the original, from the command line; modules are imported from it afterwards."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("checkout", type=Path, help="folder of the original's check-out")
    folder = parser.parse_args().checkout.resolve()
    sys.path.insert(0, str(folder))
    return folder


def picture() -> np.ndarray:
    """[H, W, 3] bytes, red first."""
    return np.asarray(Image.open(PICTURE).convert("RGB"))


def kept(raw: Tensor) -> np.ndarray:
    """The rows [A, n] that a golden file keeps."""
    return raw.detach().numpy()[rows_of(len(raw))]


def write(name: str, golden: Golden) -> None:
    """Write the golden file, and print how far detzoo is from it."""
    golden.save(name)
    counts = f"{len(golden.labels)} detections of {len(np.unique(golden.labels))} classes"
    best = f"scores {golden.scores.min():.3f} to {golden.scores.max():.3f}" if len(golden.scores) else ""
    print(f"{name}: {counts}, {best}")
    seen = differences(Golden.read(name), Golden.read(name).opened())
    print("  " + ", ".join(f"{what} {value:.1e}" for what, value in seen.items()))
