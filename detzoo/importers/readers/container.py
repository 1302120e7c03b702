"""What every reader gives, and the weights in it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

KINDS = ("torch", "safetensors", "caffe", "tensorflow-bundle", "tensorflow-graph")

# Under these keys training scripts keep the weights. What lies elsewhere is of an optimiser, a scheduler, an average.
NESTS = ("state_dict", "model_state_dict", "model", "network", "net", "weights")
LONGEST_NAME = 1000  # characters
# Wrappers put these before every name: torch.compile, DataParallel and DistributedDataParallel; NVIDIA's SSD wrapped
# its module twice, in a Sequential as well.
PREFIXES = ("_orig_mod.", "module.1.", "module.")


class Container(NamedTuple):
    """A checkpoint file that was read.

    Attributes:
        kind: one of `KINDS`.
        tensors: under the names in the file, with its dtypes and layouts. Nested dicts and lists of a PyTorch file
            join their keys with `/` (`model/vgg.0.weight`), submodules of a pickled module with a dot as in a state
            dict; Caffe's blobs are `layer.0`, `layer.1`, ...
        metadata: plain data. `format` says which form of the kind it is; further

            - torch: `content`, what the file holds besides tensors, nested as there (an object is a dict with its
              class under `__class__`); `inert`, the names of the classes and functions that it asked for, sorted: none
              was loaded;
            - safetensors: `content`, its string pairs;
            - caffe: `name` of the net; `layers`, a dict per layer as in a prototxt, with the shapes of its `blobs`;
              `prototxt`, what is in the prototxt, and `prototxt_path`, both None without one;
            - tensorflow-bundle: `shards`, how many data files; `skipped`, why which tensors were not read;
            - tensorflow-graph: `ops`, how many nodes there are of each op; `inputs`, the names of the placeholders;
              `skipped`.
        path: of the file; of a TensorFlow bundle, its index.
        forget: gives the memory of tensors that lie in the file back, until they are used again. What was written to
            them is lost.
    """

    kind: str
    tensors: dict[str, Tensor]
    metadata: dict[str, Any]
    path: Path
    forget: Callable[[], None] = lambda: None


class Unwrapped(NamedTuple):
    """Names and tensors of a network, and what was unwrapped to get at them: keys, then prefixes ending in a dot."""

    tensors: dict[str, Tensor]
    unwrapped: tuple[str, ...]


def state_dict_in(container: Container) -> Unwrapped:
    """The weights in a container, without the dicts and prefixes that training scripts put around them.

    Raises:
        ValueError: if a PyTorch file holds none, or holds several and nothing says which is meant.
    """
    tensors, unwrapped = container.tensors, ()
    if container.kind == "torch":
        tensors, unwrapped = _opened(container)
    stripped = []
    while prefix := next((p for p in PREFIXES if tensors and all(name.startswith(p) for name in tensors)), None):
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
        stripped.append(prefix)
    if not tensors:
        raise ValueError(f"{container.path} holds no tensor: expected the weights of a network")
    return Unwrapped(tensors, (*unwrapped, *stripped))


def _opened(container: Container) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Go down into nested dicts until the tensors lie on top."""
    tensors, content, unwrapped = container.tensors, container.metadata["content"], ()
    while True:
        here, nests = _on_top(tensors, content), _nests(tensors, content)
        if here and not (nests and _only_numbers(here)):
            return here, unwrapped
        if len(nests) != 1:
            raise ValueError(_no_nest(container.path, tensors, nests))
        (key,) = nests
        tensors = {name.removeprefix(f"{key}/"): tensor for name, tensor in tensors.items() if _below(name, key)}
        content = content[key]
        unwrapped = (*unwrapped, key)


def _nests(tensors: dict[str, Tensor], content: dict[Any, Any]) -> list[str]:
    """Where weights may be, among the dicts of this level."""
    return [key for key in NESTS if isinstance(content.get(key), dict) and any(_below(name, key) for name in tensors)]


def _only_numbers(tensors: dict[str, Tensor]) -> bool:
    """Whether there is nothing but what a training script notes beside the weights, such as its best loss."""
    return all(tensor.ndim == 0 for tensor in tensors.values())


def _on_top(tensors: dict[str, Tensor], content: dict[Any, Any]) -> dict[str, Tensor]:
    """The tensors that lie in no dict or list of this level: their names may well have a slash of their own."""
    nested = _nested(content)
    return {name: tensor for name, tensor in tensors.items() if not any(_below(name, key) for key in nested)}


def _nested(content: dict[Any, Any]) -> list[Any]:
    return [key for key, value in content.items() if isinstance(value, dict | list | tuple)]


def _below(name: str, key: Any) -> bool:
    return name.startswith(f"{key}/")


def _no_nest(path: Path, tensors: dict[str, Tensor], nests: list[str]) -> str:
    if nests:
        return (
            f"{path} holds more than one set of weights, under {' and '.join(map(repr, nests))}: save the one that "
            "is meant to a file of its own"
        )
    found = ", ".join(sorted({repr(name.split("/")[0]) for name in tensors})[:10]) or "no tensor at all"
    return f"{path} holds no state dict: expected names and tensors, or these under one of {NESTS}; found {found}"


def check_names(container: Container) -> Container:
    """Raise a ValueError for a tensor whose name is longer than any module's: names are taken apart piece by piece."""
    if longest := next((name for name in container.tensors if len(name) > LONGEST_NAME), None):
        raise ValueError(
            f"a tensor has a name of {len(longest):,} characters, {longest[:40]!r}...: expected {LONGEST_NAME} at most"
        )
    return container


def check_finite(container: Container) -> Container:
    """Raise a ValueError that names the weight tensors with values that are NaN or infinite; integers are let be.

    Left alone are what lies beside the weights in a PyTorch file (an optimiser in mixed precision may hold
    infinities) and, in a TensorFlow graph, single numbers (a threshold may be infinite).

    """
    beside = set(_nested(container.metadata["content"])).difference(NESTS) if container.kind == "torch" else set()
    bad = []
    for name, tensor in container.tensors.items():
        if not any(_below(name, key) for key in beside) and _broken(tensor, container.kind):
            bad.append(name)
        container.forget()
    if bad:
        shown = ", ".join(bad[:5]) + (f" and {len(bad) - 5} more" if len(bad) > 5 else "")
        raise ValueError(
            f"NaN or infinity in {len(bad)} of {len(container.tensors)} tensors: {shown}. Finite weights were "
            "expected: the file is damaged, or its training diverged; fetch it again, or take an earlier checkpoint"
        )
    return container


def _broken(tensor: Tensor, kind: str) -> bool:
    """Without a temporary of the tensor's size, which `isfinite` would take."""
    if not tensor.is_floating_point() or tensor.numel() <= (kind == "tensorflow-graph"):
        return False
    if tensor.itemsize == 1:  # torch has no minimum of 8-bit floats
        tensor = tensor.float()
    return not all(map(torch.isfinite, tensor.detach().aminmax()))
