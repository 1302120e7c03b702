"""What files of TensorFlow 1 have in common: names of variables, order of a kernel's axes, heads."""

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from .layouts import from_depthwise, from_tensorflow
from .names import StateDict, rename
from .origin import Foreign, split_classes

KINDS = ("tensorflow-bundle", "tensorflow-graph")
# A variable of tf.contrib.slim's layers; in a frozen graph it is a constant of the same name, and there are others.
VARIABLE = re.compile(
    r".+/(weights|depthwise_weights|biases|BatchNorm/(gamma|beta|moving_mean|moving_variance)|L2Normalization/gamma)"
)
DEPTHWISE = "depthwise_weights"
NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}


def is_tensorflow(foreign: Foreign) -> bool:
    """Whether this is a checkpoint or a frozen graph of TensorFlow."""
    return foreign.container.kind in KINDS


def converted(foreign: Foreign, scopes: str, rules: Mapping[str, str | None]) -> tuple[StateDict, tuple[str, ...]]:
    """The variables of a network under detzoo's names, their kernels as torch has them, and what was changed on the
    way.

    Args:
        foreign: the file.
        scopes: what the names of the network's variables begin with, a regular expression.
        rules: how to rename these.

    Raises:
        ValueError: naming a variable in these scopes that no rule matches.
    """
    variables = {
        name: tensor
        for name, tensor in foreign.state.items()
        if re.match(scopes, name) and VARIABLE.fullmatch(name) and tensor.is_floating_point()
    }
    state = rename({name: _as_torch(name, tensor) for name, tensor in variables.items()}, rules)
    changes = ["kernels: height, width, inputs, outputs to outputs, inputs, height, width"]
    left = len(foreign.state) - len(variables)
    if left and foreign.container.kind == "tensorflow-bundle":
        changes.append(f"{left} variables of training, such as {_first_other(foreign, variables)!r}: left out")
    return state, tuple(changes)


def _first_other(foreign: Foreign, variables: Mapping[str, Tensor]) -> str:
    return next(name for name in foreign.state if name not in variables)


def _as_torch(name: str, tensor: Tensor) -> Tensor:
    """Views, so that nothing is in memory twice."""
    if tensor.ndim != 4:
        return tensor
    return from_depthwise(tensor) if name.endswith(DEPTHWISE) else from_tensorflow(tensor)


def biased(layer: str, place: str) -> dict[str, str]:
    """Rules for a convolution with a bias, from a scope to a module."""
    return {f"{layer}/weights": f"{place}.weight", f"{layer}/biases": f"{place}.bias"}


def normed(layer: str, convolution: str, norm: str) -> dict[str, str]:
    """Rules for a convolution with batch norm, from a scope to two modules."""
    norms = {f"{layer}/BatchNorm/{theirs}": f"{norm}.{ours}" for theirs, ours in NORM.items()}
    return {f"{layer}/(?:depthwise_)?weights": f"{convolution}.weight", **norms}


def check_heads(foreign: Foreign, levels: Iterable[tuple[str, str, int]]) -> int:
    """How many classes, background counted, the heads of a net tell apart.

    Args:
        foreign: the file.
        levels: for each, the scopes of box head and class head, and how many default boxes a cell has.

    Raises:
        ValueError: naming the first variable that is missing or of another size.
    """
    counts = {}
    for box, label, boxes in levels:
        names = [f"{scope}/{what}" for scope in (box, label) for what in ("weights", "biases")]
        if missing := [name for name in names if name not in foreign.state]:
            raise ValueError(f"no variable {missing[0]!r}: the file is not complete, or of a net with other levels")
        if (found := len(foreign.state[names[1]])) != 4 * boxes:
            raise ValueError(f"{names[1]}: {found} numbers, expected 4 for each of {boxes} default boxes of a cell")
        counts[names[3]] = split_classes(foreign.state[names[3]], boxes, names[3])
    if len(set(counts.values())) > 1:
        raise ValueError(f"the heads tell different numbers of classes apart: {counts}")
    return next(iter(counts.values()))
