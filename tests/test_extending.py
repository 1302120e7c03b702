"""The page on parts of one's own says what is true: its files are written, its code is run."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).parent.parent
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)  # language, file, content


def blocks() -> list[tuple[str, str, str]]:
    return BLOCK.findall((REPO / "references" / "EXTENDING.md").read_text())


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Everything that the page calls a file."""
    folder = tmp_path_factory.mktemp("mine")
    for _, name, content in blocks():
        if name:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a") as file:
                file.write(content)
    return folder


def run(command: list[str], folder: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_the_page_has_what_is_run_here():
    pieces = 8  # a trunk, a neck, a head, a loss, a box error, a matcher, a suppression, a data set
    assert [(language, name) for language, name, _ in blocks()] == [
        *[("python", "my_parts.py"), ("python", "")] * (pieces - 1),
        ("python", "my_parts.py"),
        ("yaml", "my_configs/dataset/squares.yaml"),
        ("sh", ""),
    ]


def test_code_runs(folder):
    code = "\n".join(content for language, name, content in blocks() if language == "python" and not name)
    assert code.count("assert ") >= 10
    run([sys.executable, "-c", code], folder)


def test_command_runs(folder):
    """With two steps, as it stands on the page."""
    ((_, _, command),) = [block for block in blocks() if block[0] == "sh"]
    variable, python, script, *options = shlex.split(command.replace("\\\n", " "))
    assert (variable, python, script) == ("PYTHONPATH=.", "python", "references/train.py")
    said = run([sys.executable, str(REPO / script), *options], folder)
    assert "classes: square" in said and "AP" in said
