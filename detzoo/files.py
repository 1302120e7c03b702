"""Files that are either whole or not there."""

import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple
from uuid import uuid4

# How much larger than their archive contents may be; the most of what is fetched here are the 805 MB in COCO's 253 MB.
UNPACKED_RATIO = 20


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A file name beside `path` to write to, with the same suffix; it takes the place of `path` only if the block ends
    well.

    The folder is made if it is missing.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.stem}.{uuid4().hex}.part{path.suffix}")
    try:
        yield unfinished
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())  # else a power cut may leave the new name with nothing in it
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove what a process that was killed while it was `replacing` files of this folder has left of them."""
    for unfinished in folder.glob(f".*.{'[0-9a-f]' * 32}.part*"):
        unfinished.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file in one piece."""
    with replacing(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def write_json(path: str | Path, content: Any) -> None:
    """Write a JSON file in one piece, indented for people."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def unpack(archives: Sequence[Path], root: Path, folder: str) -> None:
    """Unpack one folder out of archives into `root / folder`, all of it or nothing.

    Only plain files and folders are written, and only below `root / folder`. An archive that holds anything else
    (links, devices, absolute paths, `..`), or grows out of proportion, is refused as a whole.

    Args:
        archives: zip files, or tar files of any compression; later ones overwrite files of earlier ones.
        root: where to unpack to.
        folder: relative to the archives and to `root`; it must not be in `root` yet.

    Raises:
        ValueError: for an archive that is broken or refused, or does not hold the folder.
        FileExistsError: if the folder is there already, or what an unpacking that was killed has left.
    """
    target = root / folder
    unfinished = target.with_name(f".{target.name}.part")
    for path in (target, unfinished):
        if path.exists():
            raise FileExistsError(f"{path} is there already: if nothing is writing it, delete it")
    unfinished.mkdir(parents=True)
    try:
        for archive in archives:
            _extract(archive, PurePosixPath(folder), unfinished)
        if hasattr(os, "sync"):
            os.sync()  # else a power cut may leave the folder with empty files
        os.replace(unfinished, target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


class _Member(NamedTuple):
    """A file (with what opens it) or a folder in an archive."""

    name: str
    size: int
    open: Callable[[], IO[bytes]] | None


def _extract(archive: Path, folder: PurePosixPath, destination: Path) -> None:
    """Write what lies below `folder` in an archive to `destination`."""
    from tarfile import TarError
    from zipfile import BadZipFile
    from zlib import error as ZlibError

    left, found = UNPACKED_RATIO * archive.stat().st_size, False
    try:
        for member in _members(archive):
            path = _safe_path(member.name)
            if not path.is_relative_to(folder):
                continue
            found, left = True, left - member.size
            if left < 0:
                raise ValueError(f"its contents are more than {UNPACKED_RATIO} times its own size")
            _write(member, destination / path.relative_to(folder))
    except (TarError, BadZipFile, ZlibError, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise ValueError(f"{archive} is refused: {error}") from error
    if not found:
        raise ValueError(f"{archive} is refused: it holds no folder {folder}")


def _write(member: _Member, path: Path) -> None:
    if member.open is None:
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with member.open() as source, path.open("wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)


def _members(archive: Path) -> Iterator[_Member]:
    from zipfile import is_zipfile

    return _zip_members(archive) if is_zipfile(archive) else _tar_members(archive)


def _zip_members(archive: Path) -> Iterator[_Member]:
    from zipfile import ZipFile

    with ZipFile(archive) as file:
        for info in file.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)  # 0 where the archive was not made on Unix
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise ValueError(f"{info.filename!r} is neither a file nor a folder")
            yield _Member(info.filename, info.file_size, None if info.is_dir() else lambda info=info: file.open(info))


def _tar_members(archive: Path) -> Iterator[_Member]:
    import tarfile

    with tarfile.open(archive) as file:
        for info in file:
            if not (info.isreg() or info.isdir()):
                raise ValueError(f"{info.name!r} is neither a file nor a folder")
            yield _Member(info.name, info.size, None if info.isdir() else lambda info=info: file.extractfile(info))


def _safe_path(name: str) -> PurePosixPath:
    """The path of a member, which must stay below where it is unpacked on every system."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or any(letter in name for letter in "\\:\0"):
        raise ValueError(f"{name!r} is no path inside a folder")
    return path


def check_free(path: Path) -> None:
    """Raise a ValueError if something would be lost by writing there: the source itself, or a run to be resumed."""
    if path.exists():
        raise ValueError(f"{path} is there already and would be lost: choose another --output, or delete it")
