"""Files from the network: checked against their hash, kept in a cache, never there half-written."""

import hashlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.client import HTTPException, HTTPResponse
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple
from urllib import request
from urllib.error import HTTPError
from urllib.parse import urlsplit

import torch

from .files import replacing

TIMEOUT = 30.0  # seconds without an answer, or without another byte
CHUNK = 1 << 20  # bytes

_BY_PATH = "or give the path of a file of your own in its place"
_AGAIN = "or try again"
_KEPT = f"{_AGAIN}: what came is kept, and the next attempt goes on with it"


class DownloadError(RuntimeError):
    """A file could not be had; the message names the address, the reason and the two other ways to get it."""

    def __init__(self, url: str, reason: str, target: Path, otherwise: str = _BY_PATH) -> None:
        super().__init__(f"cannot get {url}: {reason}. You can put the file at {target} by hand, {otherwise}.")
        self.url, self.target = url, target


def fetch(
    url: str,
    sha256: str | None = None,
    *,
    sha1: str | None = None,
    cache_dir: str | Path | None = None,
    resume: bool = False,
    progress: bool = True,
    otherwise: str = _BY_PATH,
) -> Path:
    """The local copy of `url`, downloaded unless the cache has it.

    Args:
        url: http or https; its last part is the file's name in the cache, in a folder of its own where no hash tells
            one file of this name from another.
        sha256: hexadecimal, all 64 digits or the first 8 or more, as torchvision's file names carry them. It is checked
            on every call, for cached files too. Without it nothing is known of the file but its length.
        sha1: all 40 digits, for a file whose publisher states no other hash; excludes `sha256`.
        cache_dir: by default `checkpoints` in `torch.hub.get_dir()`, which torchvision fills and reads too.
        resume: keep what came of a file whose download was cut, as `<name>.partial`, and go on with it in the next
            call, where the server knows ranges; for files of gigabytes that have a hash, since nothing else tells
            whether two pieces are of the same file. One process at a time (POSIX only).
        progress: show a bar, if standard error is a terminal.
        otherwise: the end of an error's message, what the caller takes in place of the address.

    Raises:
        DownloadError: no network, no such file, a cut connection, or contents that do not have the hash.
        ValueError: for another kind of address, a hash that is none, or `resume` without a hash.
    """
    wanted = _wanted(sha256, sha1)
    target = place_of(url, sha256, sha1=sha1, cache_dir=cache_dir)
    if resume and not wanted.digits:
        raise ValueError(f"resume=True for {url}: expected its hash as well, which tells whether two pieces fit")
    try:
        if target.exists():
            _check_cached(target, wanted)
        else:
            _download(url, target, wanted, progress, _continuing if resume else replacing)
    except HTTPError as error:
        error.close()
        reason, otherwise = f"the server answered {error.code} {error.reason}", _advice(target, resume, otherwise)
        raise DownloadError(url, reason, target, otherwise) from error
    except (OSError, HTTPException, _Refused) as error:
        reason, otherwise = str(error) or type(error).__name__, _advice(target, resume, otherwise)
        raise DownloadError(url, reason, target, otherwise) from error
    return target


def _advice(target: Path, resume: bool, otherwise: str) -> str:
    """The end of an error's message; what came is kept unless it was wrong."""
    if not resume:
        return otherwise
    return _KEPT if _partial(target).exists() else _AGAIN


def place_of(
    url: str, sha256: str | None = None, *, sha1: str | None = None, cache_dir: str | Path | None = None
) -> Path:
    """Where `fetch` puts the file, whether or not it is there yet; arguments and the ValueError are the same."""
    hashed = _wanted(sha256, sha1).digits
    return _cache(cache_dir) / ("" if hashed else _folder_of(url)) / _file_name(url)


def place_by_hand(name: str) -> Path:
    """Where `found_by_hand` looks for the file of this name."""
    return _cache(None) / name


def found_by_hand(
    name: str, page: str, sha256: str | None = None, *, sha1: str | None = None, otherwise: str = _BY_PATH
) -> Path:
    """The file called `name` in the cache, which only a person can fetch: its publisher shows a page, not a file.

    Args:
        name: of the file.
        page: where a person finds it.
        sha256: see `fetch`.
        sha1: see `fetch`.
        otherwise: see `fetch`.

    Raises:
        DownloadError: that says where it is to be had and put; if it is not there, or does not have the hash.
    """
    target = place_by_hand(name)
    try:
        if not target.exists():
            raise _Refused("this page has to be opened in a browser to get the file")
        _check_cached(target, _wanted(sha256, sha1))
    except (OSError, _Refused) as error:
        raise DownloadError(page, str(error), target, otherwise) from error
    return target


def copy_url(url: str, file: BinaryIO, *, limit: int) -> None:
    """Write what is at an address to a file; nothing is kept in the cache, since it may be another thing tomorrow.

    Args:
        url: http or https.
        file: open for writing.
        limit: bytes; more are not taken.

    Raises:
        ValueError: naming the address, if it cannot be had, or is larger.
    """
    try:
        with _open(url) as response:
            announced, received = response.length, 0
            while (block := response.read(CHUNK)) and received + len(block) <= limit:
                file.write(block)
                received += len(block)
    except (OSError, HTTPException) as error:
        raise ValueError(f"cannot get {url}: {error or type(error).__name__}") from error
    if block:
        raise ValueError(f"cannot get {url}: it has more than {limit:,} bytes")
    if announced is not None and received != announced:
        raise ValueError(f"cannot get {url}: the connection was cut after {received} of {announced} bytes")


def _cache(folder: str | Path | None) -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" if folder is None else Path(folder).expanduser()


class _Wanted(NamedTuple):
    """The first hexadecimal digits, or all, of what a file should hash to."""

    algorithm: str
    digits: str


def _wanted(sha256: str | None, sha1: str | None) -> _Wanted:
    if sha1 is None:
        return _Wanted("sha256", _digits(sha256))
    if sha256 is not None or not re.fullmatch(r"[0-9a-fA-F]{40}", sha1):
        raise ValueError(f"sha1 is {sha1!r}, sha256 is {sha256!r}: expected 40 hexadecimal digits, and one hash only")
    return _Wanted("sha1", sha1.lower())


def _file_name(url: str) -> str:
    parts = urlsplit(url)
    name = PurePosixPath(parts.path).name
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ValueError(f"cannot fetch {url!r}: expected an address that begins with http:// or https://")
    if name in ("", "..") or "\\" in name:
        raise ValueError(f"cannot fetch {url!r}: expected an address that ends in a file name")
    return name


def _folder_of(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()[:16]


def _digits(sha256: str | None) -> str:
    if sha256 is None:
        return ""
    if not re.fullmatch(r"[0-9a-fA-F]{8,64}", sha256):
        raise ValueError(f"sha256 is {sha256!r}: expected its 64 hexadecimal digits, or the first 8 or more of them")
    return sha256.lower()


def _check_cached(target: Path, wanted: _Wanted) -> None:
    if not wanted.digits:
        return
    with target.open("rb") as file:
        digest = _hash(file, wanted.algorithm).hexdigest()
    if not digest.startswith(wanted.digits):
        raise _Refused(
            f"{target} is in the cache already, but its {wanted.algorithm} is {digest} and not {wanted.digits}: it is "
            "damaged or another file. Delete it to have it downloaded again"
        )


def _hash(file: BinaryIO, algorithm: str) -> Any:
    """The hash object of everything from where the file stands to its end, ready for more."""
    digest = hashlib.new(algorithm)
    while block := file.read(CHUNK):
        digest.update(block)
    return digest


def _download(
    url: str,
    target: Path,
    wanted: _Wanted,
    progress: bool,
    writing: Callable[[Path], AbstractContextManager[Path]],
) -> None:
    with writing(target) as unfinished:
        digest = _receive(url, unfinished, wanted, target.name, progress)
        if page := _sent_instead(unfinished):
            unfinished.unlink()
            raise _Refused(f"what came is {page}, not the file: open the address in a browser, and download from there")
        if not digest.startswith(wanted.digits):
            unfinished.unlink()  # nothing to go on with
            raise _Refused(f"what came has the {wanted.algorithm} {digest} and not {wanted.digits}")


def _sent_instead(path: Path) -> str | None:
    """What a server sends in place of a file, if it is that: it must not be in the cache when the server is mended."""
    with path.open("rb") as file:
        head = file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if head.startswith((b"<!doctype html", b"<html", b"<head")):
        return "a web page"
    return "a Git-LFS pointer" if head.startswith(b"version https://git-lfs") else None


class _Refused(Exception):
    """What came is not what was promised."""


@contextmanager
def _continuing(target: Path) -> Iterator[Path]:
    """`<name>.partial` with what an earlier attempt left in it; it takes the place of `target` if the block ends well,
    and stays where it is if not.
    """
    unfinished = _partial(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with _locked(unfinished) as file:
        try:
            yield unfinished
            os.fsync(file.fileno())
            os.replace(unfinished, target)  # still locked: nobody goes on with a file that is whole
        finally:
            if unfinished.exists() and not unfinished.stat().st_size:
                unfinished.unlink()


def _partial(target: Path) -> Path:
    return target.with_name(f"{target.name}.partial")


def _locked(path: Path) -> BinaryIO:
    """The file of this name, open and for this process alone."""
    import fcntl  # not on every system

    while True:
        file = path.open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        except BlockingIOError:
            file.close()
            raise _Refused(f"another process is writing {path}") from None
        file.close()  # between the two lines above another process was done, and has renamed or deleted it


def _receive(url: str, unfinished: Path, wanted: _Wanted, name: str, progress: bool) -> str:
    """Downloads what the file lacks and returns the hash of all of it."""
    with unfinished.open("a+b") as file:
        file.seek(0)
        digest = _hash(file, wanted.algorithm)
        if wanted.digits and digest.hexdigest().startswith(wanted.digits):
            return digest.hexdigest()  # an earlier attempt was cut after the last byte
        with _open_rest(url, file.tell(), unfinished) as response:
            if response.status != 206:  # the whole file, whatever was asked for
                file.truncate(0)
                digest = hashlib.new(wanted.algorithm)
            elif not response.headers.get("Content-Range", "").startswith(f"bytes {file.tell()}-"):
                raise _Refused("the server sent another part of the file than was asked for")
            return _copy(response, file, digest, name, progress)


def _open_rest(url: str, start: int, unfinished: Path) -> HTTPResponse:
    try:
        return _open(url, start)
    except HTTPError as error:
        if error.code != 416:  # range not satisfiable
            raise
        error.close()
        unfinished.unlink()
        raise _Refused("an earlier attempt left more than the file has; that is deleted now") from None


def _open(url: str, start: int = 0) -> HTTPResponse:
    """Asks for the bytes from `start` on. Follows redirects, but to http and https only: no handler here knows of files
    or ftp. Heeds proxy variables.
    """
    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler,
        request.HTTPHandler,
        request.HTTPSHandler,
        request.HTTPRedirectHandler,
        request.HTTPErrorProcessor,
        request.HTTPDefaultErrorHandler,
        request.UnknownHandler,
    ):
        opener.add_handler(handler())
    headers = {"User-Agent": "detzoo"} | ({"Range": f"bytes={start}-"} if start else {})
    return opener.open(request.Request(url, headers=headers), timeout=TIMEOUT)


def _copy(response: HTTPResponse, file: BinaryIO, digest: Any, name: str, progress: bool) -> str:
    """Appends all bytes and returns the hash of the file; refuses fewer than the server announced."""
    from tqdm import tqdm  # `import detzoo` stays free of it

    received = file.seek(0, os.SEEK_END)
    total = None if response.length is None else received + response.length  # as announced, if it was
    silent = not (progress and sys.stderr.isatty())
    shown = {"desc": name, "total": total, "initial": received, "disable": silent}
    with tqdm(unit="B", unit_scale=True, unit_divisor=1024, **shown) as bar:
        while block := response.read(CHUNK):
            file.write(block)
            digest.update(block)
            received += len(block)
            bar.update(len(block))
    if total is not None and received != total:
        raise _Refused(f"the connection was cut after {received} of {total} bytes")
    return digest.hexdigest()
