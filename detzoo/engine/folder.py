"""Where a run writes: one folder, chosen by rank 0, that no other run has."""

import csv
import itertools
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from .. import distributed
from ..models.checkpoint import LAST

AUTO = "auto"
RUNS = Path("runs")


def agree_on_folder(
    stack: ExitStack, name: str, folder: str | None, resume: str | None, epochs: int | None
) -> tuple[Path, bool]:
    """What rank 0 finds, on every rank: a clock read on each would give each a folder of its own, and one that looks
    later might see what another has written.
    """
    found: tuple[Path, bool] | ValueError | None = None
    if distributed.is_main():
        try:
            path, goes_on = find_folder(name, folder, resume, epochs)
            if path is None:
                path = _make_folder(name)
                stack.callback(_remove_if_empty, path)
            found = path, goes_on
        except ValueError as error:
            found = error
    found = distributed.from_main(found)
    if isinstance(found, ValueError):
        raise found
    return found


def temporary_folder(stack: ExitStack) -> Path:
    """One that rank 0 makes, and that is gone when its stack is closed."""
    path = None
    if distributed.is_main():
        path = stack.enter_context(TemporaryDirectory(prefix="detzoo-", ignore_cleanup_errors=True))
    return Path(distributed.from_main(path))


def find_folder(
    name: str, folder: str | None, resume: str | None, epochs: int | None = None
) -> tuple[Path | None, bool]:
    """The folder of a run, None for a new one of its own, and whether it holds one to go on with.

    Args:
        name: first part of the folder's name where none is given.
        folder: None for runs/<name>-<time>.
        resume: the folder of a run; or "auto": `folder`, or without one the newest runs/<name>-<time> that holds a run
            with epochs to do, and a new run where there is none; None to begin.
        epochs: of a whole run.

    Raises:
        ValueError: if `resume` is no folder of a run, or `folder` holds one and `resume` does not say so.
    """
    if resume == AUTO:
        if folder:
            return Path(folder), (Path(folder) / LAST).is_file()
        newest_first = sorted(RUNS.glob(f"{name}-{'[0-9]' * 8}-{'[0-9]' * 6}*"), reverse=True)
        begun = (path for path in newest_first if (path / LAST).is_file() and not _is_finished(path, epochs))
        if (path := next(begun, None)) is not None:
            return path, True
    elif resume:
        _check_resumed(resume, folder)
        return Path(resume), True
    elif folder and (Path(folder) / LAST).exists():
        raise ValueError(
            f"folder={folder} holds a run already: say resume=auto to go on with it, or name another folder"
        )
    return Path(folder) if folder else None, False


def _is_finished(folder: Path, epochs: int | None) -> bool:
    """Whether the log of a run has its last epoch."""
    log = folder / "log.csv"
    if epochs is None or not log.is_file():
        return False
    with log.open(newline="", encoding="utf-8") as file:
        return any(int(row["epoch"]) >= epochs for row in csv.DictReader(file))


def _make_folder(name: str) -> Path:
    """runs/<name>-<time>, with a number behind it if it is taken: jobs of a sweep may start within a second."""
    wanted = RUNS / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    for number in itertools.count(1):
        path = wanted if number == 1 else wanted.with_name(f"{wanted.name}-{number}")
        with suppress(FileExistsError):
            path.mkdir(parents=True)
            return path
    raise AssertionError("numbers do not end")


def _remove_if_empty(folder: Path) -> None:
    """A start that was refused leaves nothing."""
    with suppress(OSError):
        folder.rmdir()
        folder.parent.rmdir()


def _check_resumed(resume: str, folder: str | None) -> None:
    if not (Path(resume) / LAST).is_file():
        raise ValueError(
            f"resume={resume}: there is no {LAST} in this folder; expected one that a run wrote to, or resume=auto"
        )
    if folder and Path(resume).resolve() != Path(folder).resolve():
        raise ValueError(
            f"resume={resume} and folder={folder} differ: a run goes on in its own folder, leave folder out"
        )
