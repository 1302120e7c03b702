"""What made a number: command, date, commit, machine, versions. Nothing in it tells whose machine that was."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import torchvision

from ..version import __version__
from .run import cores, machine

ROOT = Path(__file__).parents[2]  # of a check-out
# A path from the root of a file system: not the rest of a relative one, and no address of the web.
ABSOLUTE = re.compile(r"(?<![\w.:/~-])/(?:[^\s/'\",;:=\[\]{}()]+/)*([^\s/'\",;:=\[\]{}()]+)/?")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What was measured on.

    Attributes:
        processor: its name.
        cores: that the process may use.
        threads: that torch uses.
        memory: in GB.
        gpu: its name; None for a processor alone.
    """

    processor: str
    cores: int | None
    threads: int | None
    memory: float | None
    gpu: str | None


@dataclass(frozen=True, kw_only=True)
class Made:
    """What a number depends on.

    Attributes:
        command: that makes it again, but for paths of one's own, which stand as PATH/name.
        date: ISO 8601.
        commit: of detzoo, 40 digits; "-dirty" after them where files differed from it.
        machine: that it was measured on.
        versions: of python, torch, torchvision, detzoo and the packages that were measured.
        config: the options, resolved.
        log: name of an excerpt of the log beside the card.
    """

    command: str | None
    date: str | None
    commit: str | None
    machine: Machine | None
    versions: dict[str, str] | None
    config: dict[str, Any] | None
    log: str | None


def made_here(
    device: torch.device,
    *,
    config: Mapping[str, Any] | None = None,
    packages: Collection[str] = (),
    arguments: Sequence[str] | None = None,
    log: str | None = None,
) -> Made:
    """What this process has to say of a number that it just measured.

    Args:
        device: that was computed on.
        config: plain data, the options.
        packages: whose versions count besides torch's: those of engines.
        arguments: of the command, if they are not those of this process.
        log: name of an excerpt beside the card.
    """
    command = [_script(), *(sys.argv[1:] if arguments is None else arguments)]
    return Made(
        command=portable(shlex.join(["python", *command])),
        date=datetime.now(timezone.utc).date().isoformat(),
        commit=commit(),
        machine=this_machine(device),
        versions=versions(packages),
        config=None if config is None else portable(config),
        log=log,
    )


def this_machine(device: torch.device) -> Machine:
    facts = machine(device)
    gpu = facts["accelerator"] if device.type == "cuda" else None
    return Machine(processor=facts["processor"], cores=cores(), threads=facts["threads"], memory=_gigabytes(), gpu=gpu)


def versions(packages: Collection[str] = ()) -> dict[str, str]:
    """Of Python and what is always there, and of other packages by their names."""
    python = ".".join(map(str, sys.version_info[:3]))
    known = {"detzoo": __version__, "torch": torch.__version__, "torchvision": torchvision.__version__}
    return {"python": python, **known, **{package: version(package) for package in packages}}


def commit() -> str | None:
    """Of the check-out that this module is part of; None for an installed package, and where there is no git."""
    if not (ROOT / ".git").exists():
        return None
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def portable(value: Any) -> Any:
    """Plain data, or a command, in which absolute paths have become PATH/name: whose they are is nobody's business."""
    if isinstance(value, Mapping):
        return {str(key): portable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [portable(item) for item in value]
    if isinstance(value, Path):
        value = str(value)
    return ABSOLUTE.sub(r"PATH/\1", value) if isinstance(value, str) else value


def _script() -> str:
    """The program, as it is called from the root of a check-out."""
    path = Path(sys.argv[0]).absolute()
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name


def _gigabytes() -> float | None:
    """The machine's memory, where the system tells it."""
    names = ("SC_PAGE_SIZE", "SC_PHYS_PAGES")
    known = getattr(os, "sysconf_names", {})
    return round(os.sysconf(names[0]) * os.sysconf(names[1]) / 1e9, 1) if set(names) <= set(known) else None
