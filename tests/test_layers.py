"""The floors: a module imports its own folder and lower floors; nothing sideways, nothing upward.

And `import detzoo` costs torch and torchvision, nothing else.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "detzoo"

FLOORS = [
    # words and tools that know nothing of detectors
    {
        "structures",
        "allocator",
        "arguments",
        "devices",
        "annotations",
        "categories",
        "ops",
        "layers",
        "lookup",
        "distributed",
        "hub",
        "files",
        "images",
        "packages",
        "version",
    },
    # parts; viz draws words of the ground floor, and the engine's reports need it
    {"components", "backbones", "data", "metrics", "importers", "viz"},
    {"models"},
    {"engine", "deploy", "exchange", "show"},
    # people's front: a detector in whatever engine runs it
    {"predict"},
    {"benchmark"},
    {"cli"},
]
FLOOR_OF = {unit: floor for floor, units in enumerate(FLOORS) for unit in units}
DOORS = {"__init__", "__main__"}  # of the whole package: they stand above all floors
HEAVY = {
    *("hydra", "omegaconf", "pycocotools", "faster_coco_eval", "matplotlib", "timm", "tensorboard"),
    *(
        "onnx",
        "onnxruntime",
        "onnxscript",
        "openvino",
        "nncf",
        "executorch",
        "av",
        "huggingface_hub",
        "supervision",
        "pandas",
    ),
}


def test_every_module_stands_on_a_floor(package: Path = PACKAGE):
    units = {path.stem for path in package.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert units - DOORS <= set(FLOOR_OF), "say in FLOORS where the new ones stand"


def test_nothing_is_imported_sideways_or_upward():
    assert list(violations(PACKAGE)) == []


def violations(package: Path) -> Iterator[str]:
    """One line for each import that breaks the rule."""
    for path in sorted(package.rglob("*.py")):
        module = path.relative_to(package.parent).with_suffix("").parts
        if module[1] in DOORS:
            continue
        for line, imported in imports(path, module):
            if imported[0] == "references" or (imported[0] == package.name and not allowed(module[1], imported[1:])):
                yield f"{path.relative_to(package.parent)}:{line} imports {'.'.join(imported)}"


def allowed(unit: str, imported: tuple[str, ...]) -> bool:
    """Whether a folder or top-level module may import `imported`: never the package itself, which holds everything."""
    if not imported or imported[0] not in FLOOR_OF:
        return False
    mine, theirs = FLOOR_OF[unit], FLOOR_OF[imported[0]]
    return imported[0] == unit or theirs < mine or theirs == mine == 0  # the ground floor is one folder, the package's


def imports(path: Path, module: tuple[str, ...]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Line and full name of everything that a file imports, wherever in the file it does."""
    package = module[:-1]  # of a plain module and, counting its __init__, of a folder
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, tuple(alias.name.split("."))) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            source = start + tuple((node.module or "").split(".")) * bool(node.module)
            for alias in node.names:  # `from .. import ops`: what is imported may be a module
                yield node.lineno, (*source, alias.name) if source == ("detzoo",) else source


@pytest.mark.parametrize(
    ("place", "line", "caught"),
    [
        ("components/heads.py", "from ..models import SSD", "detzoo.models"),
        ("components/heads.py", "from .. import models", "detzoo.models"),
        ("components/heads.py", "import detzoo.models.ssd as ssd", "detzoo.models.ssd"),
        ("components/heads.py", "from detzoo import models", "detzoo.models"),
        ("components/heads.py", "def late():\n    from ..backbones.vgg import vgg16", "detzoo.backbones.vgg"),
        ("components/deep/er.py", "from ...data import coco", "detzoo.data"),
        ("components/__init__.py", "from ..metrics import METRICS", "detzoo.metrics"),
        ("components/heads.py", "import detzoo", "detzoo"),
        ("components/heads.py", "from .. import __version__", "detzoo.__version__"),
        ("ops.py", "from .components import heads", "detzoo.components"),
        ("models/build.py", "from references import train", "references"),
        ("models/build.py", "import references.train", "references.train"),
        ("engine/train.py", "from ..predict import detect_file", "detzoo.predict"),
    ],
)
def test_a_planted_import_is_caught(tmp_path, place, line, caught):
    path = tmp_path / "detzoo" / place
    path.parent.mkdir(parents=True)
    path.write_text(f"import torch\n{line}\n")
    (found,) = violations(tmp_path / "detzoo")
    assert place in found and found.endswith(f" imports {caught}")


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ("components/heads.py", "from .losses import MultiBoxLoss"),
        ("components/heads.py", "from . import losses"),
        ("components/heads.py", "from .. import ops"),
        ("components/heads.py", "from detzoo.layers import depthwise"),
        ("components/__init__.py", "from .heads import SSDHead"),
        ("components/deep/er.py", "from ..heads import SSDHead"),
        ("ops.py", "from .structures import Target"),
        ("models/build.py", "from ..components import heads"),
        ("cli.py", "from . import engine, predict"),
        ("__init__.py", "from .cli import main"),
    ],
)
def test_an_import_that_is_right_is_let_through(tmp_path, place, line):
    path = tmp_path / "detzoo" / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(line)
    assert list(violations(tmp_path / "detzoo")) == []


def test_a_module_without_a_floor_is_noticed(tmp_path):
    (tmp_path / "novelty.py").touch()
    with pytest.raises(AssertionError, match="say in FLOORS"):
        test_every_module_stands_on_a_floor(tmp_path)


def test_importing_detzoo_loads_nothing_heavy():
    command = [sys.executable, "-X", "importtime", "-c", "import detzoo"]
    report = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    loaded = {line.rpartition("|")[2].strip().split(".")[0] for line in report.splitlines()}
    assert {"detzoo", "torch", "torchvision"} <= loaded
    assert loaded & HEAVY == set()
