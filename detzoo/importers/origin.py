"""The words of importing: a file nobody has named yet, a way to read it, and what came of it."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from torch import Tensor

from ..categories import COCO, COCO_91, VOC, Categories
from .names import Rules, StateDict
from .readers import Container, state_dict_in


@dataclass(frozen=True)
class Foreign:
    """A checkpoint of another project.

    Attributes:
        container: what was read from the file.
        state: its weights, without the dicts and prefixes that training scripts put around them.
        prefix: what was taken off all their names besides, because somebody knows what is left.
        wrapped: the prefixes of training scripts, which come before that one in the file.
    """

    container: Container
    state: StateDict
    prefix: str = ""
    wrapped: str = ""

    @classmethod
    def of(cls, container: Container) -> "Foreign":
        """Unwrap the weights.

        Raises:
            ValueError: if there are none.
        """
        tensors, unwrapped = state_dict_in(container)
        return cls(container, tensors, wrapped="".join(piece for piece in unwrapped if piece.endswith(".")))

    @property
    def file_name(self) -> str:
        """In small letters."""
        return self.container.path.name.lower()

    @cached_property
    def sha256(self) -> str:
        """Of the file, in hexadecimal; empty where there is none any more."""
        if not self.container.path.is_file():
            return ""
        digest = hashlib.sha256()
        with self.container.path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()

    def has(self, *names: str) -> bool:
        """Whether there are tensors of all these names."""
        return all(name in self.state for name in names)

    def shape(self, name: str) -> tuple[int, ...]:
        """Of a tensor; empty where there is none of this name."""
        return tuple(self.state[name].shape) if name in self.state else ()


@dataclass(frozen=True)
class Imported:
    """A detector of another project in detzoo's words.

    Attributes:
        model: the name in the zoo of what it is a kind of.
        config: the fields of `SSDConfig` in which it differs from that preset, `num_classes` always among them.
        state: weights under detzoo's names, ready to load.
        categories: what its labels mean; None where neither the file nor its origin says so.
        changes: what was done to the tensors besides renaming them, a line each.
        assumed: what the file does not say, a line each.
        rules: by which its tensors were renamed.
    """

    model: str
    config: dict[str, Any]
    state: StateDict
    categories: Categories | None = None
    changes: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    rules: Rules = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Reading:
    """One way to understand a file.

    Attributes:
        name: as `origin=` takes it: the project, and after a slash which of its models where shapes do not tell.
        about: what that would be, in a line.
        convert: does it.
        hinted: whether the file's name says that this is the one.
        sha256: of a file that is known to be the one; no file is read for it unless there is a choice.
    """

    name: str
    about: str
    convert: Callable[[Foreign], Imported] = field(repr=False)
    hinted: bool = False
    sha256: str = ""


# What an origin is: all readings that the names and shapes in a file allow, none for a file of another project.
Origin = Callable[[Foreign], list[Reading]]


def usual_categories(num_classes: int) -> tuple[Categories | None, tuple[str, ...]]:
    """What as many labels mean by custom, and a line that says that it is an assumption."""
    known = {VOC.num_classes: (VOC, "VOC's"), COCO.num_classes: (COCO, "COCO's"), COCO_91.num_classes: (COCO_91, None)}
    categories, whose = known.get(num_classes, (None, None))
    if categories is None:
        return None, (f"the names of the {num_classes - 1} classes: labels are numbers",)
    return categories, (f"the {num_classes - 1} classes are {whose or 'those of COCO, with its holes'}",)


def split_classes(bias: Tensor, boxes: int, where: str) -> int:
    """How many classes, background counted, the bias of a class head is for.

    Raises:
        ValueError: if it does not go with so many boxes a cell.
    """
    if bias.ndim != 1 or not len(bias) or len(bias) % boxes:
        raise ValueError(f"{where}: the shape {tuple(bias.shape)} cannot be that of {boxes} boxes of a cell")
    return len(bias) // boxes


def count_classes(
    state: Mapping[str, Tensor], class_heads: Sequence[str], box_heads: Sequence[str], boxes: Sequence[int]
) -> int:
    """How many classes, background counted, the convolutions of these heads are for.

    Args:
        state: the origin's.
        class_heads: names of the convolutions, one a level.
        box_heads: the same.
        boxes: per level, of a cell.

    Raises:
        ValueError: naming the first tensor that is missing, or has not as many channels as the boxes need.
    """
    first = f"{class_heads[0]}.bias"
    num_classes = split_classes(_present(state, first), boxes[0], first)
    for heads, what, width in ((class_heads, "classes", num_classes), (box_heads, "coordinates", 4)):
        for head, count in zip(heads, boxes, strict=True):
            for name in (f"{head}.weight", f"{head}.bias"):
                if (found := tuple(_present(state, name).shape))[:1] != (count * width,):
                    raise ValueError(
                        f"{name} has the shape {found}: expected {count * width} channels, of {count} boxes of a cell "
                        f"and {width} {what}"
                    )
    return num_classes


def _present(state: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in state:
        raise ValueError(f"there is no tensor {name!r}: the file holds no whole detector, or another one")
    return state[name]
