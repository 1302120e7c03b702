"""Many images in parts: what is finished is not done again, and processes need not talk to each other."""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from torch import nn

from ..files import replacing, sweep, write_json
from .overlap import batched
from .records import Record
from .sources import Item

FOLDER, OPTIONS = ".detzoo-shards", "options.json"  # a name that nobody else gives, and that no search goes into
FINISHED = f"[0-9]*-{'[0-9a-f]' * 16}.jsonl"  # what is not has a dot before it
SHOWN = 60  # letters of an option in a message


class Part(NamedTuple):
    """Which of how many processes this is: `index` in 0..count-1."""

    index: int
    count: int


def part_of(text: str | None, environment: Mapping[str, str] = os.environ) -> Part:
    """K/N, from 1 on, as a person says it; else what torchrun says; else the only one.

    Raises:
        ValueError: for another text, or both.
    """
    rank, world = int(environment.get("RANK", 0)), int(environment.get("WORLD_SIZE", 1))
    if text is None:
        return Part(rank, world)
    found = re.fullmatch(r"(\d+)/(\d+)", text, re.ASCII)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise ValueError(f"--shard {text}: expected K/N with K from 1 to N, such as 1/4")
    if world > 1:
        raise ValueError(f"--shard {text} and torchrun's {world} processes: say one of them")
    return Part(int(found[1]) - 1, int(found[2]))


def under_torchrun(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether something started this process that ends all others as soon as one of them ends with an error."""
    return "TORCHELASTIC_RUN_ID" in environment or int(environment.get("WORLD_SIZE", 1)) > 1


class Shard(NamedTuple):
    """So many images that follow one another, and the file of what was found in them."""

    path: Path
    items: list[Item]


class Shards:
    """The shards of a run in `<output>/.detzoo-shards`.

    A shard's name says its number and, as a hash, the paths of its images: where files came or went since an earlier
    start, their shards are done anew.

    Args:
        output: of the run.
        size: images in a shard.
        part: shard number k is of process k modulo their number.
    """

    def __init__(self, output: Path, size: int, part: Part) -> None:
        self.folder, self.size, self.part = output / FOLDER, size, part
        self.all: list[Path] = []

    def begin(self, options: dict[str, Any], *, resume: bool) -> None:
        """Note with which options shards are made.

        Raises:
            ValueError: if there are some already, and `resume` is not said, or they were made with other options.
        """
        if self._create(options):
            return
        if not resume:
            raise ValueError(
                f"{self.folder} holds a run that was not finished: --resume goes on with it, else delete this folder, "
                "or choose another --output"
            )
        theirs = self._options()
        different = sorted(name for name in options if theirs.get(name) != options[name])
        if different:
            told = "; ".join(f"{name} was {_shown(theirs.get(name))}, is {_shown(options[name])}" for name in different)
            raise ValueError(f"{self.folder} was begun with other options ({told}): choose another --output")

    def have_begun(self) -> bool:
        """Whether this or another process has noted its options here."""
        return (self.folder / OPTIONS).exists()

    def _create(self, options: dict[str, Any]) -> bool:
        """Make the folder with the options in it; False if there is one. Of processes that begin at the same time one
        makes it: a folder cannot be renamed to one that has something in it.
        """
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=self.folder.parent, prefix=f"{FOLDER}-") as unfinished:
            write_json(Path(unfinished) / FOLDER / OPTIONS, options)
            try:
                os.rename(Path(unfinished) / FOLDER, self.folder)
            except OSError:
                if not self.folder.is_dir():
                    raise
                return False
        return True

    def _options(self) -> dict[str, Any]:
        try:
            return json.loads((self.folder / OPTIONS).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(
                f"{self.folder} is there, but {OPTIONS} in it cannot be read ({error}): delete this folder, or choose "
                "another --output"
            ) from error

    def mine(self, items: Iterable[Item]) -> Iterator[Shard]:
        """The shards that this process has to do, those that are finished left out; afterwards `all` is known."""
        self.all = []
        for number, chunk in enumerate(batched(items, self.size)):
            digest = sha256("\0".join(item.path for item in chunk).encode(errors="surrogateescape")).hexdigest()
            path = self.folder / f"{number:06d}-{digest[:16]}.jsonl"
            self.all.append(path)
            if number % self.part.count == self.part.index and not path.exists():
                yield Shard(path, chunk)

    def are_finished(self) -> bool:
        """Whether all processes are done; of those that end at the same time at least one sees it."""
        return all(path.exists() for path in self.all)

    def clean(self) -> None:
        """Remove what does not belong to the run that is finished now."""
        sweep(self.folder)
        for path in set(self.folder.glob(FINISHED)).difference(self.all):
            path.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove what was written here, and the folder, unless somebody else put something into it."""
        sweep(self.folder)
        for path in (*self.folder.glob(FINISHED), self.folder / OPTIONS):
            path.unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()

    def remove_if_empty(self) -> None:
        """Remove all of it, unless there is a finished shard."""
        if self.folder.is_dir() and not any(self.folder.glob(FINISHED)):
            self.remove()


def write_shard(path: Path, records: Iterable[Record]) -> None:
    """Write a shard; it has its name when all is in it."""
    with replacing(path) as unfinished, unfinished.open("w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(record) + "\n")


def fingerprint(model: nn.Module, *facts: Any) -> str:
    """A hash of a model: its weights, the buffers that no state dict has, what its parts say of themselves, and facts
    (plain lists, dicts and numbers) that are in none of these.
    """
    digest = sha256(re.sub(r"0x[0-9a-fA-F]+", "", repr(model)).encode())  # where a part lies is no fact
    digest.update(json.dumps(facts, sort_keys=True).encode())
    for name, tensor in (*model.state_dict().items(), *model.named_buffers()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
