"""What people see while detectors work: boxes, a bar, what could not be read, how fast it went."""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from time import perf_counter
from typing import Any

from .records import Record
from .result import describe_box


class Report:
    """Counts records as they pass, tells of them, and shows a bar where standard error is a terminal.

    Args:
        quiet: do not print boxes.
        total: how many images and videos there will be, if that is known.
    """

    def __init__(self, *, quiet: bool = False, total: int | None = None) -> None:
        from tqdm import tqdm  # `import detzoo` stays free of it

        self.quiet, self.total = quiet, total
        self.counts: Counter[str] = Counter()
        self._bar = tqdm(total=total, unit=" images", disable=None, leave=False)
        self._start = perf_counter()

    def passing(self, records: Iterable[Record]) -> Iterator[Record]:
        """The same records, told of."""
        for record in records:
            count(self.counts, record)
            if "error" in record:
                self._print(f"detzoo: {record['error']}", sys.stderr)
            elif not self.quiet:
                self._print("\n".join(describe(record)), sys.stdout)
            self._bar.update()
            yield record

    def expect(self, frames: int | None) -> None:
        """A video that was counted as one has so many frames, or nobody knows how many."""
        if self.total is not None:
            self.total = self._bar.total = None if frames is None else self.total - 1 + frames
            self._bar.refresh()

    def close(self) -> str:
        """Take the bar away; what was done by this process, and how fast."""
        self._bar.close()
        seconds = perf_counter() - self._start
        read = self.counts["images"] + self.counts["frames"]
        rate = f", {read / seconds:.1f} {'frames' if self.counts['frames'] else 'images'} a second" if read else ""
        return f"{summary(self.counts)}{rate}"

    def _print(self, text: str, file: Any) -> None:
        self._bar.write(printable(text), file=file)


def count(counts: Counter[str], record: Record) -> None:
    """Add a record to what was counted."""
    if "error" in record:
        counts["unreadable"] += 1
        return
    counts["frames" if "frame" in record else "images"] += 1
    counts["boxes"] += len(record["detections"])


def summary(counts: Counter[str]) -> str:
    """Such as `12 images, 50 boxes, 1 unreadable`."""
    told = [_several(counts["images"], "image")] if counts["images"] or not counts["frames"] else []
    told += [_several(counts["frames"], "frame")] if counts["frames"] else []
    told += [_several(counts["boxes"], "box", "boxes")]
    return ", ".join(told + ([f"{counts['unreadable']} unreadable"] if counts["unreadable"] else []))


def describe(record: Record) -> list[str]:
    """An image on one line, and a line for each box: name, score, corners in pixels."""
    found = record["detections"]
    where = f", {record['time']:.3f} s" if "time" in record else ""
    columns = " (class, score, x1 y1 x2 y2)" if found else ""
    lines = [f"{record['image']}{where}: {_several(len(found), 'box', 'boxes')}{columns}"]
    return lines + [f"  {describe_box(box['label'], box['score'], box['box'])}" for box in found]


def printable(text: str) -> str:
    """Names of files need not be text: what no terminal can show becomes a question mark."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _several(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
