"""Where images come from: files, folders, globs, lists on standard input, addresses, videos, cameras."""

import glob
import heapq
import os
import re
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import unquote, urlsplit

IMAGES = {
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".dib", ".gif", ".tif", ".tiff", ".webp", ".avif",
    ".jp2", ".ppm", ".pgm", ".pbm", ".pnm", ".tga",
}  # fmt: skip
VIDEOS = {
    ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".mts", ".m2ts", ".3gp", ".ogv",
    ".y4m", ".mjpeg", ".h264",
}  # fmt: skip
CAMERA = re.compile(r"camera:(\d+)", re.ASCII)
STANDARD_INPUT = "-"
NAMES_AT_ONCE = 100_000  # of a folder in memory
CALIBRATION = 300  # images at most that int8 is calibrated on


class Item(NamedTuple):
    """An image or a video.

    Attributes:
        path: as a person would write it.
        name: a relative path with `/`, which no other item of these sources has: where its picture goes.
        kind: how it is read.
    """

    path: str
    name: str
    kind: Literal["image", "video", "camera"]


def find(
    sources: Sequence[str], *, leave_out: str | Path | None = None, lines: Iterable[str] | None = None
) -> Iterator[Item]:
    """The images and videos of sources, found while they are asked for.

    A folder gives those of its files that are called like images or videos, and those of its subfolders (links to
    folders are not followed), in the order of their names; a glob gives files and folders, sorted; neither gives pipes
    and the like. Other files are taken for images whatever they are called. Names are relative to the folder that all
    sources have in common. What comes again is left out; but for a single folder, all names are held in memory for
    that.

    Args:
        sources: paths, patterns, addresses, `camera:N`, or `-` for `lines`.
        leave_out: a folder that is not searched, and in which globs find nothing, unless they look there alone.
        lines: a path or an address each; standard input by default.

    Raises:
        ValueError: for sources that are not there, all of which are named.
    """
    check_sources(sources)
    hidden = None if leave_out is None else os.path.realpath(leave_out)
    items = _all(sources, hidden, sys.stdin if lines is None else lines)
    yield from items if len(sources) == 1 and os.path.isdir(sources[0]) else _each_once(items)


def images_of(sources: Sequence[str], most: int | None = None) -> list[str]:
    """Paths of the images of sources, at most so many.

    Raises:
        ValueError: see `find`; for sources without an image.
    """
    found = list(islice((item.path for item in find(sources) if item.kind == "image"), most))
    if not found:
        raise ValueError(f"there is no image in {', '.join(sources)}")
    return found


def _all(sources: Sequence[str], hidden: str | None, lines: Iterable[str]) -> Iterator[Item]:
    root = _common_folder(sources)
    for source in sources:
        if source == STANDARD_INPUT:
            yield from map(_listed, filter(None, (line.rstrip("\r\n") for line in lines)))
        elif is_address(source) or CAMERA.fullmatch(source):
            yield _elsewhere(source)
        else:
            yield from (_local(path, root) for path in _files(source, hidden))


def _each_once(items: Iterable[Item]) -> Iterator[Item]:
    """Items whose files were not among those before; a hash stands for each of them."""
    seen: set[bytes] = set()
    for item in items:
        digest = sha256(os.fsencode(_whereabouts(item.path))).digest()[:16]
        if digest not in seen:
            seen.add(digest)
            yield item


def _whereabouts(source: str) -> str:
    """What two ways to write a source have in common."""
    return source if is_address(source) or CAMERA.fullmatch(source) else os.path.abspath(source)


def check_sources(sources: Sequence[str]) -> None:
    """Raise a ValueError that names all sources that are not there."""
    if missing := [source for source in sources if not _is_there(source)]:
        raise ValueError(f"no such file, folder or pattern that fits one: {', '.join(missing)}")


def is_address(source: str) -> bool:
    """Whether this is fetched from the network."""
    return source.startswith(("http://", "https://"))


def single_files(sources: Sequence[str]) -> int | None:
    """How many images and videos there are, where that is known without a search."""
    known = all(source != STANDARD_INPUT and not os.path.isdir(source) and not _is_glob(source) for source in sources)
    return len(set(map(_whereabouts, sources))) if known else None


def searched_folders(sources: Sequence[str]) -> list[tuple[str, str]]:
    """Those of sources that are folders or globs, each with the folder in which it looks, links resolved."""
    globs = [(source, _top_of(source)) for source in sources if _is_glob(source)]
    folders = [(source, source) for source in sources if os.path.isdir(source)]
    return [(source, os.path.realpath(folder)) for source, folder in folders + globs]


def _is_there(source: str) -> bool:
    if source == STANDARD_INPUT or is_address(source) or CAMERA.fullmatch(source) or os.path.exists(source):
        return True
    return glob.has_magic(source) and next(glob.iglob(source, recursive=True), None) is not None


def _is_glob(source: str) -> bool:
    return glob.has_magic(source) and not os.path.exists(source) and not is_address(source)


def _common_folder(sources: Sequence[str]) -> str:
    """The folder that names are relative to; a folder is its own, a file's is where it lies."""
    tops = []
    for source in sources:
        if source == STANDARD_INPUT or is_address(source) or CAMERA.fullmatch(source):
            continue
        if _is_glob(source):
            tops.append(os.path.abspath(_top_of(source)))
        else:
            path = os.path.abspath(source)
            tops.append(path if os.path.isdir(path) else os.path.dirname(path))
    return os.path.commonpath(tops) if tops else os.getcwd()


def _top_of(pattern: str) -> str:
    """The folder in which a pattern begins to be one."""
    parts = Path(pattern).parts
    fixed = next(k for k, part in enumerate(parts) if glob.has_magic(part))
    return os.path.join(*parts[:fixed], "") or "."


def _files(source: str, hidden: str | None) -> Iterator[str]:
    """The paths of images and videos behind a source that is not elsewhere."""
    if not _is_glob(source):
        yield from walk(source, hidden) if os.path.isdir(source) else [source]
        return
    alone = hidden is None or _is_within(os.path.realpath(_top_of(source)), hidden)
    for path in sorted(glob.iglob(source, recursive=True)):
        if not alone and _is_within(os.path.realpath(path if os.path.isdir(path) else os.path.dirname(path)), hidden):
            continue
        if os.path.isdir(path):
            if "**" not in source:  # which gives what is in folders as well
                yield from walk(path, hidden)
        elif not _is_special(path):
            yield path


def _is_within(path: str, folder: str) -> bool:
    """Whether this is the folder or lies in it; both are resolved."""
    return path == folder or path.startswith(os.path.join(folder, ""))


def walk(folder: str, hidden: str | None = None) -> Iterator[str]:
    """The images and videos below a folder by their names, in order; a folder that cannot be searched is given as if it
    were one. What begins with a dot is left out, and so is the folder `hidden`.
    """
    try:
        for name, is_folder in _entries(folder):
            path = os.path.join(folder, name)
            if not is_folder and os.path.splitext(name)[1].lower() in IMAGES | VIDEOS:
                yield path
            elif is_folder and (hidden is None or os.path.realpath(path) != hidden):
                yield from walk(path, hidden)
    except OSError:
        yield folder  # to be reported, with the reason, when it is read


def _entries(folder: str) -> Iterator[tuple[str, bool]]:
    """The names in a folder in order, and whether they are folders. However many there are, a limited number is in
    memory: for the next ones the folder is read again.
    """
    last = ""
    while True:
        with os.scandir(folder) as entries:
            shown = (entry for entry in entries if entry.name > last and not entry.name.startswith("."))
            following = (entry for entry in shown if _is_usual(entry) or not _is_special(entry.path))
            listed = ((entry.name, entry.is_dir(follow_symlinks=False)) for entry in following)
            names = heapq.nsmallest(NAMES_AT_ONCE, listed)
        yield from names
        if len(names) < NAMES_AT_ONCE:
            return
        last = names[-1][0]


def _is_usual(entry: os.DirEntry[str]) -> bool:
    """Whether it is a file or a folder and no link: what is known without another look."""
    return entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False)


def _is_special(path: str) -> bool:
    """Whether it is a pipe, a socket or a device, for which one could wait; links that lead nowhere are not: they are
    to be reported when they are read.
    """
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _local(path: str, root: str) -> Item:
    return Item(path, os.path.relpath(os.path.abspath(path), root).replace(os.sep, "/"), kind_of(path))


def _listed(line: str) -> Item:
    """A line of a list: named by its path from here, or from the top where it is not below."""
    if is_address(line) or CAMERA.fullmatch(line):
        return _elsewhere(line)
    path = Path(os.path.abspath(line))
    here = Path.cwd()
    relative = path.relative_to(here if path.is_relative_to(here) else path.anchor)
    return Item(line, relative.as_posix(), kind_of(line))


def _elsewhere(source: str) -> Item:
    """What is fetched, or looked at by a camera."""
    if CAMERA.fullmatch(source):
        return Item(source, source.replace(":", "-"), "camera")
    parts = urlsplit(source)
    names = [part for part in unquote(parts.path).replace("\\", "/").split("/") if part not in ("", ".", "..")]
    folders, name = names[:-1], names[-1] if names else "index"
    if parts.query:  # by which one file is told from another of its name
        folders.append(sha256(parts.query.encode()).hexdigest()[:8])
    host = re.sub(r"[^\w.-]", "_", parts.netloc.rpartition("@")[2])
    return Item(source, "/".join([host, *folders, re.sub(r"[\0:]", "_", name)]), kind_of(parts.path))


def kind_of(path: str) -> Literal["image", "video"]:
    """How a file is read, by what it is called."""
    return "video" if os.path.splitext(path)[1].lower() in VIDEOS else "image"
