"""Videos and cameras: frames in, and frames with boxes out, through PyAV."""

import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..packages import package

EXTRA = "video"
CODECS = ("libx264", "mpeg4")  # the first one that PyAV has
TICKS = 60_000  # a second, of which the usual frame rates are whole fractions; MPEG-4 has no more than 65535
MOST_OF_IT = 0.9  # of the time that a file states, see `Clip.frames`
BITS_PER_PIXEL = 0.2  # of MPEG-4, which is not told a quality


class Frame(NamedTuple):
    """A picture of a video: its pixels [3, H, W], upright; its number from 0 on; its time in seconds from the first."""

    image: Tensor
    number: int
    time: float


class Clip:
    """A video that is open, to be used in `with`.

    Args:
        path: of a file; or `camera:N`, on Linux.
        name: for messages, where the file is a copy of something else.

    Attributes:
        rate: frames a second.
        pixel_aspect: width by height of a pixel, upright, known with the first frame; None if the file does not say.
        frames_stated: how many frames the file says it has, or None; it may be told to show fewer of them.
        seconds_stated: how long it says it is, or None.

    Raises:
        ValueError: naming it, if it cannot be read as a video, or PyAV is not installed.
    """

    def __init__(self, path: str | Path, name: str | None = None) -> None:
        self.path, self.name, self._av = str(path), name or str(path), _pyav()
        try:
            self._container = self._open()
        except (self._av.FFmpegError, OSError) as error:
            raise ValueError(_unreadable(self.name, error.strerror)) from error
        if not self._container.streams.video:
            self._container.close()
            raise ValueError(_unreadable(self.name, "there is no picture in it"))
        self.stream = self._container.streams.video[0]
        self.stream.thread_type = "AUTO"
        self.rate = Fraction(self.stream.average_rate or self.stream.guessed_rate or 25)
        self.frames_stated = self.stream.frames or None
        self.seconds_stated = self._seconds_stated()
        self.pixel_aspect: Fraction | None = None

    def _seconds_stated(self) -> float | None:
        """What the head says, in formats where it is no guess."""
        formats = self._container.format.name.split(",")
        if "avi" in formats:  # FFmpeg's duration is what a file that was cut can hold
            return None if self.frames_stated is None else self.frames_stated / float(self.rate)
        if "mov" in formats and self.stream.duration is not None:  # of what is to be shown, see MP4's edit lists
            return float(self.stream.duration * self.stream.time_base)
        return None

    def _open(self) -> Any:
        if not self.path.startswith("camera:"):
            return self._av.open(self.path)
        if not sys.platform.startswith("linux"):
            raise ValueError(f"{self.path}: cameras are read through Video4Linux, which is not on this system")
        return self._av.open(f"/dev/video{self.path.removeprefix('camera:')}", format="v4l2")

    def __enter__(self) -> "Clip":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._container.close()

    def frames(self, most: int | None = None) -> Iterator[Frame]:
        """Frame after frame, at most so many.

        Raises:
            ValueError: where the file is damaged or ends too soon, with the number of the frame.
        """
        number, first, time = 0, None, 0.0
        decoded = self._container.decode(self.stream)
        while most is None or number < most:
            try:
                frame = next(decoded)
            except (StopIteration, self._av.EOFError):
                lasted = 0.0 if first is None else time - first + 1 / float(self.rate)
                if self.seconds_stated is not None and lasted < MOST_OF_IT * self.seconds_stated:
                    reason = f"it ends after {lasted:.2f} of {self.seconds_stated:.2f} seconds, {number} frames"
                    raise ValueError(_unreadable(self.name, reason)) from None
                return
            except (self._av.FFmpegError, OSError) as error:
                raise ValueError(_unreadable(self.name, f"frame {number}: {error.strerror}")) from error
            if first is None:
                self.pixel_aspect = _turned_aspect(self.stream.sample_aspect_ratio, frame.rotation)
            time = number / float(self.rate) if frame.time is None else frame.time
            first = time if first is None else first
            yield Frame(_pixels(frame), number, time - first)
            number += 1


class Recording:
    """An MP4 file that is written frame by frame, without sound, to be used in `with`.

    H.264 wants an even number of pixels: of an odd one the last row or column is there twice.

    Args:
        path: of the file.
        clip: whose frame rate, shape of pixels and colours it has.
    """

    def __init__(self, path: str | Path, clip: Clip) -> None:
        self._av, self._source, self._stream = _pyav(), clip.stream.codec_context, None
        self._clip, self._rate = clip, clip.rate
        self._container = self._av.open(str(path), "w", format="mp4")

    def __enter__(self) -> "Recording":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None and self._stream is not None:
            self._container.mux(self._stream.encode())
        self._container.close()

    def write(self, image: np.ndarray, time: float) -> None:
        """Append a frame [H, W, 3]; all have the size of the first one.

        Args:
            image: RGB bytes.
            time: in seconds, later than that of the frame before.
        """
        image = np.pad(image, [(0, image.shape[0] % 2), (0, image.shape[1] % 2), (0, 0)], mode="edge")
        if self._stream is None:
            self._stream = self._add_stream(*image.shape[:2])
        frame = self._av.VideoFrame.from_ndarray(image, format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=self._source.colorspace)
        frame.time_base, frame.pts = Fraction(1, TICKS), round(time * TICKS)
        self._container.mux(self._stream.encode(frame))

    def _add_stream(self, height: int, width: int) -> Any:
        codec = next(name for name in CODECS if name in self._av.codecs_available)
        stream = self._container.add_stream(codec, rate=self._rate)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        context = stream.codec_context
        context.time_base = Fraction(1, TICKS)
        if self._clip.pixel_aspect is not None:
            context.sample_aspect_ratio = self._clip.pixel_aspect
        if codec == "mpeg4":
            context.bit_rate = round(BITS_PER_PIXEL * width * height * self._rate)
        else:
            context.options = {"crf": "20", "preset": "veryfast"}
        for name in ("colorspace", "color_primaries", "color_trc"):
            setattr(context, name, getattr(self._source, name))
        return stream


def _pixels(frame: Any) -> Tensor:
    """[3, H, W] bytes of a frame, turned as the camera was held."""
    pixels = np.rot90(frame.to_ndarray(format="rgb24"), (round(frame.rotation) // 90) % 4)
    return torch.from_numpy(np.ascontiguousarray(pixels)).movedim(-1, 0)


def _turned_aspect(aspect: Fraction | None, rotation: float) -> Fraction | None:
    """The shape of pixels after a turn by so many degrees; FFmpeg says 0 where it does not know it."""
    if not aspect:
        return None
    return 1 / aspect if round(rotation) // 90 % 2 else aspect


def _pyav() -> ModuleType:
    av = package("av", EXTRA)
    av.logging.set_level(None)  # FFmpeg's own lines would go between those of detzoo; what matters is raised
    return av


def _unreadable(name: str, reason: object) -> str:
    return f"{name} cannot be read as a video: {reason}"
