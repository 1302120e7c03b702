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
    """One row of numbers per epoch, in `log.csv` and for TensorBoard; rank 0 writes, the others are silent.

    The CSV is written anew after every row, whole, so that columns may come later than others and no row is ever half
    there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: list[dict[str, Any]] = []
        self._writer = None
        if distributed.is_main():
            from torch.utils.tensorboard import SummaryWriter  # slow to import, and only rank 0 needs it

            self._writer = SummaryWriter(str(folder / "tensorboard"))

    def record(self, row: dict[str, Any]) -> None:
        """Add the numbers of an epoch; `row` has at least `epoch`."""
        self.rows.append(row)
        logger.info("%s", summary(row))
        if self._writer is None:
            return
        for name, value in row.items():
            if name != "epoch":
                self._writer.add_scalar(name, value, row["epoch"])
        self._writer.flush()
        write_text(self.folder / "log.csv", _as_csv(self.rows))

    def restore(self, rows: list[dict[str, Any]]) -> None:
        """Go on after the rows of an earlier session."""
        self.rows = list(rows)

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


def progress(things: Iterable[T], title: str, total: int) -> "tqdm[T]":
    """A bar on standard error where that is a terminal; disabled where it is not, and on other ranks."""
    from tqdm import tqdm

    silent = not (sys.stderr.isatty() and distributed.is_main())
    return tqdm(things, desc=title, total=total, leave=False, disable=silent)


def summary(row: dict[str, Any]) -> str:
    """The numbers of an epoch in one line."""
    return "  ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in row.items()
    )
