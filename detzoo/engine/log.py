"""What a run leaves behind for people: a CSV, a TensorBoard log, lines or a bar."""

import csv
import io
import logging
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .. import distributed
from ..files import write_text

if TYPE_CHECKING:
    from tqdm import tqdm

logger = logging.getLogger("detzoo")

T = TypeVar("T")


class RunLog:
    """One row of numbers per epoch, in `log.csv` and for TensorBoard, and numbers of single steps for the latter.

    Rank 0 writes, the others are silent.

    The CSV is written anew after every row, whole, so that columns may come later than others and no row is ever half
    there.

    Args:
        folder: of the run.
        rows: those of the epochs done; whoever owns the list appends to it.
        first_step: of this session, over all epochs; what an earlier one logged of it and of later steps is taken back.
    """

    def __init__(self, folder: Path, rows: list[dict[str, Any]], first_step: int = 1) -> None:
        self.folder = folder
        self.rows = rows
        self._writer = None
        if distributed.is_main():
            from torch.utils.tensorboard import SummaryWriter  # slow to import, and only rank 0 needs it

            self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=first_step)
            if rows:  # an earlier session may have been killed before it wrote the last of them
                write_text(folder / "log.csv", _as_csv(rows))

    def record_step(self, step: int, numbers: dict[str, float]) -> None:
        """Numbers of a training step, counted over all epochs; TensorBoard shows them as `step/<name>`."""
        if self._writer is not None:
            for name, value in numbers.items():
                self._writer.add_scalar(f"step/{name}", value, step)

    def record_epoch(self) -> None:
        """Write down the numbers of the last row, which has at least `epoch`; TensorBoard shows them as `<name>`."""
        row = self.rows[-1]
        logger.info("%s", summary(row))
        if self._writer is None:
            return
        for name, value in row.items():
            if name != "epoch":
                self._writer.add_scalar(name, value, row["epoch"])
        self._writer.flush()
        write_text(self.folder / "log.csv", _as_csv(self.rows))

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def _as_csv(rows: list[dict[str, Any]]) -> str:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _short(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def _short(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value


def progress(things: Iterable[T], title: str, total: int, done: int = 0) -> "tqdm[T]":
    """A bar on standard error where that is a terminal; disabled where it is not, and on other ranks."""
    from tqdm import tqdm

    silent = not (sys.stderr.isatty() and distributed.is_main())
    return tqdm(things, desc=title, total=total, initial=done, leave=False, disable=silent)


def summary(row: dict[str, Any]) -> str:
    """The numbers of an epoch in one line."""
    return "  ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in row.items()
    )
