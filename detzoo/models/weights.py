"""Published weights: where they are, what they are, and how they get into a model."""

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
import torchvision
from torch import Tensor, nn

from ..backbones import Backbone, timm_weights
from ..backbones.from_timm import TimmBackbone
from ..categories import Categories
from ..components import LOSSES
from ..components.preprocess import ToRGB
from ..files import unpack
from ..hub import fetch, found_by_hand, place_by_hand, place_of
from ..importers import Imported, choose, convert, foreign_in
from ..importers import torchvision as from_torchvision
from ..importers.readers import Container, index_of, read_container, state_dict_in
from ..lookup import Part, split_part, suggest
from .config import SSDConfig
from .misfits import COUNTER, NotOfThisModel, misfits, naming
from .presets import config_of

logger = logging.getLogger("detzoo")

StateDict = dict[str, Tensor]
CLASS_HEAD = "head.classification."
SUFFIXES = (".pth", ".pt", ".safetensors", ".caffemodel", ".pb", ".ckpt", ".params")  # of files of weights
BY_OPTION = "or name a file of your own with weights=PATH"  # for whoever could not fetch what that option names


class Found(NamedTuple):
    """Weights under detzoo's names.

    Attributes:
        state: names and tensors.
        categories: what their labels mean; None where nobody says.
        loss: that they were trained with.
        config: of the detector that they are; None for weights under detzoo's names without any numbers.
        own: whether they were trained by detzoo, for the network of that config; those of another project bring the
            numbers that belong to them.
    """

    state: StateDict
    categories: Categories | None
    loss: Part = "multibox"
    config: SSDConfig | None = None
    own: bool = False


def is_file(weights: str) -> bool:
    """Whether this is the path of a file, and no name of weights: it is there, or looks like one that should be."""
    path = Path(weights)
    return "/" in weights or "\\" in weights or path.suffix in SUFFIXES or path.exists() or index_of(path) is not None


def is_address(source: str | Path) -> bool:
    """Whether this is to be fetched."""
    return isinstance(source, str) and source.startswith(("http://", "https://"))


def logits_mean_the_same(loss: Part, other: Part) -> bool:
    """Whether two losses take logits for the same thing, such as what softmax makes scores of."""
    return _meaning(loss) == _meaning(other)


def _meaning(loss: Part) -> Any:
    name, _ = split_part(loss, "loss")
    return LOSSES[name].scores if name in LOSSES else name


@dataclass(frozen=True)
class Weights:
    """A published file.

    Attributes:
        url: where it is; where `file` is given, of the page on which a person finds it.
        sha256: its hash, or as many of the first digits as the publisher states.
        categories: what its labels mean.
        meta: metrics, recipe, origin, size and licence, as the publisher states them.
        reading: how `detzoo.importers` has to understand it, where that is not torchvision's.
        sha1: its hash, where the publisher states that one.
        file: the name of a file that nobody but a person can fetch, and puts into the cache, out of its archive if it
            comes in one, with the prototxt or the other files that come with it.
        member: what is meant inside of an archive: a folder and a name in it.
    """

    url: str
    sha256: str | None
    categories: Categories
    meta: Mapping[str, Any]
    reading: str = "torchvision"
    sha1: str | None = None
    file: str | None = None
    member: str | None = None

    @property
    def place(self) -> Path:
        """Where in the cache the file, or its archive, is to be; if it is there, `fetch` needs no network."""
        if self.file is not None:
            return place_by_hand(self.file)
        return place_of(self.url, self.sha256, sha1=self.sha1)

    def fetch(self, *, progress: bool = True, otherwise: str = BY_OPTION) -> Path:
        """The local file, fetched and unpacked once.

        Args:
            progress: show a bar while downloading.
            otherwise: what the caller takes in place of a name, for the message of an error.

        Raises:
            DownloadError: with the address and the place where a file fetched by hand may be put.
        """
        if self.file is not None:
            return found_by_hand(self.file, self.url, self.sha256, sha1=self.sha1, otherwise=otherwise)
        path = fetch(self.url, self.sha256, sha1=self.sha1, progress=progress, otherwise=otherwise)
        return path if self.member is None else _unpacked(path, self.member)


def _unpacked(archive: Path, member: str) -> Path:
    """A file in an archive, whose folder is unpacked beside it once. Processes that do so at the same time have a place
    of their own each, and what the first one makes is everybody's.
    """
    name, _, _ = member.partition("/")
    folder = archive.with_name(name)
    if not folder.is_dir():
        with TemporaryDirectory(prefix=f".{name}.", suffix=".part", dir=archive.parent) as own:
            unpack([archive], Path(own), name)
            try:
                os.rename(Path(own) / name, folder)
            except OSError:
                if not folder.is_dir():  # else another process was faster
                    raise
    return archive.parent / member


class WeightsEnum(Enum):
    """Weights of one model; members are `Weights`, and `DEFAULT` is what `pretrained=True` means."""

    @property
    def url(self) -> str:
        return self.value.url

    @property
    def categories(self) -> Categories:
        return self.value.categories

    @property
    def meta(self) -> dict[str, Any]:
        """What the publisher states, with `categories` as torchvision lists them: background first."""
        return {"categories": ["__background__", *self.categories.names], **self.value.meta}

    def transforms(self) -> ToRGB:
        """What makes any image (Pillow, NumPy, tensor) an input of the model; resizing is the model's own business."""
        return ToRGB()

    def get_state_dict(self, *, progress: bool = True) -> StateDict:
        """Fetch the file (once), check its hash and read it, under detzoo's names.

        Raises:
            DownloadError: with the URL and the place where a file fetched by hand may be put.
        """
        return self.read(progress=progress).state

    def read(self, *, progress: bool = True) -> Found:
        """`get_state_dict` with the categories, and the numbers that belong to the weights."""
        foreign = foreign_in(read_container(self.value.fetch(progress=progress), own_only=True))  # a shared folder
        return _found(convert(foreign, choose(foreign, self.value.reading)), self.categories)

    @classmethod
    def find(cls, name: str) -> "WeightsEnum":
        """The member called `name`; torchvision's "Enum.MEMBER" spelling is understood, of this enum."""
        enum, _, member = name.rpartition(".")
        if enum not in ("", cls.__name__):
            raise ValueError(f"{name!r} are weights of another model: expected one of {cls.__name__}, or a file's path")
        if member not in cls.__members__:
            raise ValueError(f"unknown weights {name!r}: {suggest(member, cls.__members__)}, or the path of a file")
        return cls[member]


def found_in(container: Container) -> Found:
    """Weights of a detector in a file that is no checkpoint of detzoo's.

    Raises:
        ValueError: for a file that is no detector's, or could be of several origins.
    """
    foreign = foreign_in(container)
    if any(key.startswith(CLASS_HEAD) for key in foreign.state):
        return Found(foreign.state, None)  # detzoo's own names
    imported = convert(foreign, choose(foreign))
    return _found(imported, imported.categories)


def _found(imported: Imported, categories: Categories | None) -> Found:
    config = config_of(imported)
    return Found(imported.state, categories, config.loss, config)


def num_classes_of(state: StateDict, boxes_per_cell: int) -> int:
    """How many classes a detector's weights tell apart, given the boxes per cell of its first level."""
    biases = [tensor for key, tensor in state.items() if key.startswith(f"{CLASS_HEAD}0.") and key.endswith("bias")]
    if not biases:
        raise ValueError(f"no class head in these weights: expected a tensor named {CLASS_HEAD}0...bias")
    return len(biases[-1]) // boxes_per_cell


def load_weights(
    model: nn.Module, state: StateDict, *, class_head: bool = True, after_each: Callable[[], None] | None = None
) -> list[str]:
    """Load a state dict; where only the number of classes differs, load all but the class head.

    Args:
        model: of the same network.
        state: names and tensors.
        class_head: whether the classes are the same ones; if not, the class head is left out even where it would fit.
        after_each: called when a tensor has been copied, such as to give memory back.

    Returns:
        The names of the tensors that were left out (and logged), none where the number of classes is the same.

    Raises:
        ValueError: listing every tensor that is missing, unknown, or of another shape.
    """
    own = model.state_dict()
    others = {key for key in own.keys() & state.keys() if not class_head or own[key].shape != state[key].shape}
    skipped = sorted(key for key in others if key.startswith(CLASS_HEAD))
    if problems := misfits(own, state, but=skipped):
        raise NotOfThisModel(problems)
    with torch.no_grad():
        for key in state.keys() - set(skipped):
            own[key].copy_(state[key])
            if after_each is not None:
                after_each()
    if skipped:
        logger.warning(
            "other classes: %d tensors of the class head start from scratch: %s",
            len(skipped),
            ", ".join(skipped),
        )
    return skipped


def load_backbone_weights(backbone: Backbone, name: str, weights: Any, *, progress: bool = True) -> None:
    """Put torchvision's classification weights into the trunk of the backbone called `name`, or timm's into one of its.

    Args:
        backbone: what `BACKBONES[name]` built.
        name: the architecture, under which torchvision, or timm, knows its weights as well.
        weights: a member of torchvision's enum, its name ("IMAGENET1K_V1"), or the path of a file; for a trunk of
            timm's "DEFAULT", the weights of the tag in its name, or timm's first ones without a tag.
        progress: show a bar while downloading; timm shows its own.
    """
    if isinstance(backbone, TimmBackbone):
        _load_timm_weights(backbone, name, weights)
        return
    from_torchvision.check_trunk(name)
    path = _trunk_file(name, weights, progress)
    tensors = state_dict_in(read_container(path)).tensors
    with naming(path):
        state = from_torchvision.convert_trunk(tensors, name)
    own = {key: tensor for key, tensor in backbone.state_dict().items() if key.startswith("trunk.")}
    wrong = [
        key
        for key in own.keys() | state.keys()
        if not key.endswith(COUNTER) and (key not in own or key not in state or own[key].shape != state[key].shape)
    ]
    if wrong:
        raise ValueError(
            f"weights_backbone={weights!r} do not fit the trunk of {name!r}: {len(wrong)} tensors, {min(wrong)} "
            "first. ImageNet weights fit the full network: width 1, and for mobilenet_v3 reduced_tail=false"
        )
    backbone.load_state_dict(state, strict=False)


def _load_timm_weights(backbone: TimmBackbone, name: str, weights: Any) -> None:
    if weights != "DEFAULT":
        tagged = f"{name.partition('.')[0]}.a1_in1k"
        raise ValueError(
            f"weights_backbone={weights!r}: expected 'DEFAULT' for the trunk {name!r}; other weights of timm's are "
            f"chosen by a tag in the trunk's name, such as {tagged!r}"
        )
    backbone.network.load_state_dict(timm_weights(name))


def _trunk_file(name: str, weights: Any, progress: bool) -> Path:
    if isinstance(weights, Path) or (isinstance(weights, str) and Path(weights).is_file()):
        return Path(weights)
    if isinstance(weights, str):
        known = torchvision.models.get_model_weights(name).__members__
        if weights not in known:
            raise ValueError(f"unknown weights_backbone {weights!r}: {suggest(weights, known)}, or the path of a file")
        weights = known[weights]
    digits = Path(weights.url).stem.rpartition("-")[2]  # torchvision's file names end in the first ones of their hash
    otherwise = "or name a file of your own with weights_backbone=PATH"
    return fetch(weights.url, digits, progress=progress, otherwise=otherwise)
