"""Files from the network: checked against their sha256, kept in a cache, never there half-written."""

import hashlib
import re
import sys
from http.client import HTTPException, HTTPResponse
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from urllib import request
from urllib.error import HTTPError
from urllib.parse import urlsplit

import torch

from .files import replacing

TIMEOUT = 30.0  # seconds without an answer, or without another byte
CHUNK = 1 << 20  # bytes


class DownloadError(RuntimeError):
    """A file could not be had; the message names the address, the reason and the two other ways to get it."""

    def __init__(self, url: str, reason: str, target: Path) -> None:
        super().__init__(
            f"cannot get {url}: {reason}. You can put the file at {target} by hand, "
            "or name a file of your own with weights=PATH (weights_backbone=PATH, detzoo predict --model PATH)."
        )
        self.url, self.target = url, target


def fetch(url: str, sha256: str | None = None, *, cache_dir: str | Path | None = None, progress: bool = True) -> Path:
    """The local copy of `url`, downloaded unless the cache has it.

    Args:
        url: http or https; its last part is the file's name in the cache.
        sha256: hexadecimal, all 64 digits or the first 8 or more, as torchvision's file names carry them. It is checked
            on every call, for cached files too. Without it nothing is known of the file but its length.
        cache_dir: by default `checkpoints` in `torch.hub.get_dir()`, which torchvision fills and reads too.
        progress: show a bar, if standard error is a terminal.

    Raises:
        DownloadError: no network, no such file, a cut connection, or contents that do not have the sha256.
        ValueError: for another kind of address, or a sha256 that is none.
    """
    folder = Path(torch.hub.get_dir()) / "checkpoints" if cache_dir is None else Path(cache_dir).expanduser()
    target = folder / _file_name(url)
    wanted = _digits(sha256)
    if target.exists():
        _check_cached(url, target, wanted)
    else:
        _download(url, target, wanted, progress)
    return target


def _file_name(url: str) -> str:
    parts = urlsplit(url)
    name = PurePosixPath(parts.path).name
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ValueError(f"cannot fetch {url!r}: expected an address that begins with http:// or https://")
    if name in ("", "..") or "\\" in name:
        raise ValueError(f"cannot fetch {url!r}: expected an address that ends in a file name")
    return name


def _digits(sha256: str | None) -> str:
    if sha256 is None:
        return ""
    if not re.fullmatch(r"[0-9a-fA-F]{8,64}", sha256):
        raise ValueError(f"sha256 is {sha256!r}: expected its 64 hexadecimal digits, or the first 8 or more of them")
    return sha256.lower()


def _check_cached(url: str, target: Path, wanted: str) -> None:
    if not wanted:
        return
    digest = _sha256(target)
    if not digest.startswith(wanted):
        raise DownloadError(
            url,
            f"{target} is in the cache already, but its sha256 is {digest} and not {wanted}: it is damaged or another "
            "file. Delete it to have it downloaded again",
            target,
        )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(CHUNK):
            digest.update(block)
    return digest.hexdigest()


def _download(url: str, target: Path, wanted: str, progress: bool) -> None:
    try:
        with replacing(target) as unfinished, unfinished.open("xb") as file, _open(url) as response:
            digest = _copy(response, file, target.name, progress)
            if not digest.startswith(wanted):
                raise _Refused(f"what came has the sha256 {digest} and not {wanted}")
    except HTTPError as error:
        error.close()
        raise DownloadError(url, f"the server answered {error.code} {error.reason}", target) from error
    except (OSError, HTTPException, _Refused) as error:
        raise DownloadError(url, str(error) or type(error).__name__, target) from error


class _Refused(Exception):
    """What came is not what was promised."""


def _open(url: str) -> HTTPResponse:
    """Follows redirects, but to http and https only: no handler here knows of files or ftp. Heeds proxy variables."""
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
    return opener.open(request.Request(url, headers={"User-Agent": "detzoo"}), timeout=TIMEOUT)


def _copy(response: HTTPResponse, file: BinaryIO, name: str, progress: bool) -> str:
    """Copies all bytes and returns their sha256; refuses fewer than the server announced."""
    from tqdm import tqdm  # `import detzoo` stays free of it

    total = response.length  # as announced; None if it was not
    digest, received = hashlib.sha256(), 0
    silent = not (progress and sys.stderr.isatty())
    with tqdm(desc=name, total=total, unit="B", unit_scale=True, unit_divisor=1024, disable=silent) as bar:
        while block := response.read(CHUNK):
            file.write(block)
            digest.update(block)
            received += len(block)
            bar.update(len(block))
    if total is not None and received != total:
        raise _Refused(f"the connection was cut after {received} of {total} bytes")
    return digest.hexdigest()
