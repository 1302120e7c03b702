"""Published weights: where they are, what they are, and how they get into a model."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torchvision
from torch import Tensor, nn

from ..backbones import Backbone, timm_weights
from ..backbones.from_timm import TimmBackbone
from ..categories import Categories
from ..components import LOSSES
from ..components.preprocess import ToRGB
from ..hub import fetch
from ..importers import torchvision as from_torchvision
from ..lookup import Part, split_part, suggest

logger = logging.getLogger("detzoo")

StateDict = dict[str, Tensor]
CLASS_HEAD = "head.classification."
_COUNTER = ".num_batches_tracked"  # in no file from before PyTorch 0.4.1, and of no account to a trained network


class Found(NamedTuple):
    """Weights under detzoo's names, what their labels mean (None where nobody says), and the loss they were trained
    with.
    """

    state: StateDict
    categories: Categories | None
    loss: Part = "multibox"


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
        url: where it is.
        sha256: its hash, or as many of the first digits as the publisher states.
        categories: what its labels mean.
        meta: metrics, recipe, origin, size and licence, as the publisher states them.
    """

    url: str
    sha256: str
    categories: Categories
    meta: Mapping[str, Any]


class WeightsEnum(Enum):
    """Weights of one model; members are `Weights`, and `DEFAULT` is the best of them."""

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
        return read_state_dict(fetch(self.url, self.value.sha256, progress=progress))

    def read(self, *, progress: bool = True) -> Found:
        """`get_state_dict` with the categories."""
        return Found(self.get_state_dict(progress=progress), self.categories)

    @classmethod
    def find(cls, name: str) -> "WeightsEnum":
        """The member called `name`; torchvision's "Enum.MEMBER" spelling is understood."""
        member = name.rpartition(".")[2]
        if member not in cls.__members__:
            raise ValueError(f"unknown weights {name!r}: {suggest(member, cls.__members__)}, or the path of a file")
        return cls[member]


def read_file(path: str | Path) -> Any:
    """The content of a PyTorch file, without running anything from it.

    Raises:
        FileNotFoundError: if it is not there.
        ValueError: if it is no PyTorch file, or holds more than plain data and tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no weights file at {path}")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # a damaged file makes the unpickler fail in a dozen ways (KeyError, struct.error, ...)
        reason = f"{type(error).__name__}: {error}".split("\n")[0]
        raise ValueError(
            f"{path} cannot be read as a file of tensors ({reason}): is it complete, and a checkpoint?"
        ) from error


def torchvision_architecture(path: str | Path) -> str | None:
    """The model of the zoo whose weights torchvision wrote to this file, or None if it is no such file."""
    content = read_file(path)
    if not isinstance(content, dict) or not from_torchvision.is_detector(content):
        return None
    return "ssd300_vgg16" if from_torchvision.is_vgg(content) else "ssdlite320_mobilenet_v3_large"


def read_state_dict(path: str | Path) -> StateDict:
    """Weights of a detector under detzoo's names, from a detzoo checkpoint or torchvision's file."""
    return state_dict_of(read_file(path), path)


def state_dict_of(content: Any, path: str | Path) -> StateDict:
    """The weights in what `read_file` gave; the path is for messages."""
    state = _tensors_in(content, path)
    with _naming(path):
        return from_torchvision.convert_detector(state) if from_torchvision.is_detector(state) else state


def _tensors_in(content: Any, path: str | Path) -> StateDict:
    state = content.get("model", content) if isinstance(content, dict) else content
    if not isinstance(state, dict) or not state or not all(map(_is_named_tensor, state.items())):
        raise ValueError(f"{path} holds no state dict: expected names and tensors, or a detzoo checkpoint")
    wrapped = all(name.startswith("module.") for name in state)  # saved from a DistributedDataParallel wrapper
    return {name.removeprefix("module.") if wrapped else name: tensor for name, tensor in state.items()}


def _is_named_tensor(item: tuple[Any, Any]) -> bool:
    return isinstance(item[0], str) and isinstance(item[1], Tensor)


@contextmanager
def _naming(path: str | Path) -> Iterator[None]:
    """Begin the message of a ValueError with the file that is to blame."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def num_classes_of(state: StateDict, boxes_per_cell: int) -> int:
    """How many classes a detector's weights tell apart, given the boxes per cell of its first level."""
    biases = [tensor for key, tensor in state.items() if key.startswith(f"{CLASS_HEAD}0.") and key.endswith("bias")]
    if not biases:
        raise ValueError(f"no class head in these weights: expected a tensor named {CLASS_HEAD}0...bias")
    return len(biases[-1]) // boxes_per_cell


def load_weights(model: nn.Module, state: StateDict, *, class_head: bool = True) -> list[str]:
    """Load a state dict; where only the number of classes differs, load all but the class head.

    Args:
        model: of the same network.
        state: names and tensors.
        class_head: whether the classes are the same ones; if not, the class head is left out even where it would fit.

    Returns:
        The names of the tensors that were left out (and logged), none where the number of classes is the same.

    Raises:
        ValueError: listing every tensor that is missing, unknown, or of another shape.
    """
    own = model.state_dict()
    misfits = {key for key in own.keys() & state.keys() if own[key].shape != state[key].shape}
    heads = own.keys() & state.keys() if not class_head else misfits
    skipped = sorted(key for key in heads if key.startswith(CLASS_HEAD))
    problems = [f"missing: {key}" for key in own if key not in state]
    problems += [f"unknown: {key}" for key in state if key not in own]
    problems += [
        f"{key}: expected {tuple(own[key].shape)}, got {tuple(state[key].shape)}"
        for key in sorted(misfits.difference(skipped))
    ]
    if problems:
        shown = problems[:10] + ([f"... and {len(problems) - 10} more"] if len(problems) > 10 else [])
        raise ValueError("\n  - ".join(["these weights are not of this model:", *shown]))
    model.load_state_dict({key: tensor for key, tensor in state.items() if key not in skipped}, strict=False)
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
    tensors = _tensors_in(read_file(path), path)
    with _naming(path):
        state = from_torchvision.convert_trunk(tensors, name)
    own = {key: tensor for key, tensor in backbone.state_dict().items() if key.startswith("trunk.")}
    wrong = [
        key
        for key in own.keys() | state.keys()
        if not key.endswith(_COUNTER) and (key not in own or key not in state or own[key].shape != state[key].shape)
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
    # torchvision's file names end in the first digits of their hash
    return fetch(weights.url, Path(weights.url).stem.rpartition("-")[2], progress=progress)
