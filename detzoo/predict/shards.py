"""Many images in parts: what is finished is not done again, and processes need not talk to each other."""

import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from ..files import replacing, sweep, write_json
from .overlap import batched
from .records import Record
from .sources import Item

FOLDER, OPTIONS = "shards", "options.json"
FINISHED = "[0-9]*.jsonl"  # what is not has a dot before it


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


class Shard(NamedTuple):
    """So many images that follow one another, and the file of what was found in them."""

    path: Path
    items: list[Item]


class Shards:
    """The shards of a run in `<output>/shards`.

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
        path = self.folder / OPTIONS
        if not path.exists():
            write_json(path, options)
            return
        if not resume:
            raise ValueError(
                f"{self.folder} holds a run that was not finished: --resume goes on with it, else delete this folder, "
                "or choose another --output"
            )
        theirs = json.loads(path.read_text(encoding="utf-8"))
        different = sorted(name for name in options if theirs.get(name) != options[name])
        if different:
            told = "; ".join(f"{name} was {theirs.get(name)}, is {options[name]}" for name in different)
            raise ValueError(f"{self.folder} was begun with other options ({told}): choose another --output")

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
        """Remove all of it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def remove_if_empty(self) -> None:
        """Remove all of it, unless there is a finished shard."""
        if self.folder.is_dir() and not any(self.folder.glob(FINISHED)):
            self.remove()


def write_shard(path: Path, records: Iterable[Record]) -> None:
    """Write a shard; it has its name when all is in it."""
    with replacing(path) as unfinished, unfinished.open("w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(record) + "\n")


def fingerprint(model: nn.Module) -> str:
    """A hash of a model's weights."""
    digest = sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:16]
