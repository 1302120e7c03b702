"""Memory and time of importing a checkpoint of another project, beside the size of its file.

What counts is the highest resident memory of a process that does nothing else, less what it had once detzoo was
imported and torch had made its first tensor. Without a file, one is made: MMDetection's SSD512 for COCO with random
weights, 144 MB.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from detzoo.engine.card_kinds import CostRow, Costs
from detzoo.engine.cards import write_card
from detzoo.engine.made import made_here
from detzoo.importers.mmdetection_names import VGG
from detzoo.importers.names import rename_back
from detzoo.models import ssd512_vgg16

CLOCK = "detzoo.load of a file, in a process that has imported detzoo and made a tensor"
CHILD = """
import json, re, sys, time
from pathlib import Path
import torch
import detzoo
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text()).group(1)) * 1024
torch.nn.Conv2d(3, 8, 3)(torch.zeros(1, 3, 8, 8))
before, start = peak(), time.perf_counter()
detzoo.load(sys.argv[1], origin=sys.argv[2] or None)
print(json.dumps({"seconds": time.perf_counter() - start, "bytes": peak() - before}))
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", nargs="?", type=Path, help="a checkpoint (default: one that is made)")
    parser.add_argument("--origin", default="", help="whose it is, where that has to be said")


def measure(options: argparse.Namespace) -> None:
    """Print size, memory and time."""
    if not Path("/proc/self/status").is_file():
        raise ValueError("the highest memory of a process is read from /proc/<pid>/status, as Linux has it")
    with tempfile.TemporaryDirectory() as folder:
        path = options.file or made(Path(folder) / "ssd512_coco.pth")
        command = [sys.executable, "-c", CHILD, str(path), options.origin]
        cost = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        size = path.stat().st_size
    print("| file | peak of memory | of the file | seconds |")
    print("|---|---|---|---|")
    print(
        f"| {size / 1e6:.0f} MB | {cost['bytes'] / 1e6:.0f} MB | {cost['bytes'] / size:.2f} | {cost['seconds']:.1f} |"
    )
    if options.card:
        numbers = {"MB of the file": size / 1e6, "MB of memory, peak": cost["bytes"] / 1e6, "seconds": cost["seconds"]}
        row = CostRow(name=path.name, numbers={what: round(number, 2) for what, number in numbers.items()})
        here = made_here(torch.device("cpu"), config=vars(options))
        write_card(options.card, Costs(subject="import", clock=CLOCK, rows=(row,), made=here))


def made(path: Path) -> Path:
    """An SSD512 for COCO as MMDetection saves it."""
    state = rename_back(ssd512_vgg16(num_classes=81).state_dict(), VGG)
    torch.save({"meta": {}, "state_dict": state}, path)
    return path
