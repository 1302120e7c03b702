"""From items to records: images are read, and pictures drawn and written, while the network computes."""

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from io import BytesIO
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
from torch import Tensor

from ..files import replacing
from ..hub import copy_url
from .detector import Detector
from .outputs import picture_path, write_picture
from .overlap import WORKERS, batched, in_threads, prefetched
from .reading import decode
from .records import Record, error_of, record_of
from .result import Result
from .sources import Item, is_address
from .video import Clip, Frame, Recording

IMAGE_BYTES, VIDEO_BYTES = 128 << 20, 8 << 30  # that are taken from an address
FRAMES_AHEAD = 4  # decoded, beside those of a batch


class _Loaded(NamedTuple):
    item: Item
    image: Tensor | None
    error: ValueError | None


class Pipeline:
    """What is done with each image and video.

    Args:
        detector: finds.
        pictures: the folder for pictures with boxes, None for none.
        top: boxes that are kept of an image, None for all.
        workers: threads that read, and as many that draw and write.
        frames: of a video or camera that are looked at, None for all.
        opened: is told of each video how many records it will give, None if that is not known.
    """

    def __init__(
        self,
        detector: Detector,
        *,
        pictures: Path | None = None,
        top: int | None = None,
        workers: int = WORKERS,
        frames: int | None = None,
        opened: Callable[[int | None], None] | None = None,
    ) -> None:
        self.detector = detector
        self.pictures, self.top = pictures, top
        self.workers, self.frames, self.opened = workers, frames, opened

    def __call__(self, items: Iterable[Item]) -> Iterator[Record]:
        """A record for each image and each frame, in order; what cannot be read gives one with an error."""
        for is_image, group in groupby(items, key=lambda item: item.kind == "image"):
            if is_image:
                yield from self._images(group)
            else:
                for item in group:
                    yield from self._video(item)

    def _images(self, items: Iterable[Item]) -> Iterator[Record]:
        ahead = 2 * self.detector.batch_size
        found = self._found(in_threads(_load, items, self.workers, ahead))
        return in_threads(self._finish, found, self.workers, ahead)

    def _found(self, loaded: Iterable[_Loaded]) -> Iterator[tuple[_Loaded, Result | None]]:
        """What was read, with what is in it."""
        for batch in batched(loaded, self.detector.batch_size):
            results = iter(self._results([each.image for each in batch if each.image is not None]))
            yield from ((each, None if each.image is None else next(results)) for each in batch)

    def _results(self, images: list[Tensor]) -> Iterator[Result]:
        """The best boxes of images that go through the network at once, and the pixels."""
        for image, found in zip(images, self.detector.detect(images) if images else []):
            best = {name: column[: self.top] for name, column in found.items()}
            yield self.detector.result(best, image)

    def _finish(self, found: tuple[_Loaded, Result | None]) -> Record:
        loaded, result = found
        if result is None:
            return error_of(loaded.item, loaded.error)
        if self.pictures is not None:
            write_picture(result, picture_path(self.pictures, loaded.item.name, ".jpg"))
        return record_of(loaded.item, result)

    def _video(self, item: Item) -> Iterator[Record]:
        try:
            with ExitStack() as stack:
                path = stack.enter_context(_local_copy(item.path)) if is_address(item.path) else item.path
                clip = stack.enter_context(Clip(path, item.path))
                self._tell_of(clip)
                frames = clip.frames(self.frames)
                if item.kind == "camera":
                    frames = _until(stack.enter_context(_interrupted()), frames)
                errors: list[ValueError] = []
                yield from self._annotated(item, clip, _before(errors, frames))
                yield from (error_of(item, error) for error in errors)
        except ValueError as error:
            yield error_of(item, error)

    def _tell_of(self, clip: Clip) -> None:
        if self.opened is not None:
            stated = clip.frames_stated
            self.opened(stated if stated is None or self.frames is None else min(stated, self.frames))

    def _annotated(self, item: Item, clip: Clip, frames: Iterable[Frame]) -> Iterator[Record]:
        """The records of frames; a video with the boxes in it is written beside.

        However this ends, threads are waited for before the files are closed in which they read or write.
        """
        with ExitStack() as stack:
            write: Callable[[np.ndarray, float], None] | None = None
            if self.pictures is not None:
                path = stack.enter_context(replacing(picture_path(self.pictures, item.name, ".mp4")))
                write = stack.enter_context(Recording(path, clip)).write
            ahead = stack.enter_context(closing(prefetched(frames, self.detector.batch_size + FRAMES_AHEAD)))
            draw, found = partial(_drawn, wanted=write is not None), self._found_in(ahead)
            drawn = stack.enter_context(closing(in_threads(draw, found, self.workers, self.detector.batch_size)))
            for frame, result, picture in drawn:
                if write is not None:
                    write(picture, frame.time)
                yield record_of(item, result, frame.number, frame.time)

    def _found_in(self, frames: Iterable[Frame]) -> Iterator[tuple[Frame, Result]]:
        for batch in batched(frames, self.detector.batch_size):
            yield from zip(batch, self._results([frame.image for frame in batch]))


def _load(item: Item) -> _Loaded:
    try:
        return _Loaded(item, decode(_fetched(item.path) if is_address(item.path) else item.path, item.path), None)
    except ValueError as error:  # the others are still wanted
        return _Loaded(item, None, error)


def _fetched(address: str) -> BytesIO:
    file = BytesIO()
    copy_url(address, file, limit=IMAGE_BYTES)
    file.seek(0)
    return file


@contextmanager
def _local_copy(address: str) -> Iterator[Path]:
    """What is at an address, in a file that is gone afterwards."""
    with TemporaryDirectory(prefix="detzoo-") as folder:
        path = Path(folder) / "video"
        with path.open("wb") as file:
            copy_url(address, file, limit=VIDEO_BYTES)
        yield path


def _drawn(found: tuple[Frame, Result], wanted: bool) -> tuple[Frame, Result, np.ndarray | None]:
    frame, result = found
    return frame, result, np.asarray(result.draw()) if wanted else None


@contextmanager
def _interrupted() -> Iterator[threading.Event]:
    """Set by Ctrl-C, which in this block ends the recording and not the program."""
    event = threading.Event()
    before = signal.signal(signal.SIGINT, lambda *_: event.set())
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)


def _before(errors: list[ValueError], frames: Iterable[Frame]) -> Iterator[Frame]:
    """The frames before an error, which is put aside: what was found in them is still wanted."""
    try:
        yield from frames
    except ValueError as error:
        errors.append(error)


def _until(event: threading.Event, frames: Iterable[Frame]) -> Iterator[Frame]:
    for frame in frames:
        if event.is_set():
            return
        yield frame
