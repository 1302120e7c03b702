"""Why weights are not those of a model, in the words of whoever made them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor

from ..importers.readers import shown, shown_name

COUNTER = ".num_batches_tracked"  # in no file from before PyTorch 0.4.1, and of no account to a trained network


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Begin the message of a ValueError with the file that is to blame."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}: {shown(str(error))}") from error


class NotOfThisModel(ValueError):
    """Weights that do not fit; the message lists the first ten tensors."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n  - ".join(["these weights are not of this model:", *first(problems)]))


def first(lines: Sequence[str], most: int = 10) -> list[str]:
    """As many lines, and how many there are besides."""
    return [*lines[:most], *([f"... and {len(lines) - most} more"] if len(lines) > most else [])]


def misfits(
    own: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    *,
    named: Callable[[str], str] = str,
    but: Sequence[str] = (),
) -> list[str]:
    """A line for each tensor that is missing, unknown, of another shape, or of integers in place of floats.

    Args:
        own: those of a model, of which shapes are looked at.
        state: those that it is to have.
        named: what to call a tensor.
        but: whose shape may be another.
    """
    other = sorted(key for key in own.keys() & state.keys() - set(but) if own[key].shape != state[key].shape)
    whole = [key for key in own.keys() & state.keys() if own[key].is_floating_point() > state[key].is_floating_point()]
    lines = [
        *(f"missing: {named(key)}" for key in own if key not in state and not key.endswith(COUNTER)),
        *(f"unknown: {named(key)}" for key in state if key not in own),
        *(f"{named(key)}: expected {tuple(own[key].shape)}, got {tuple(state[key].shape)}" for key in other),
        *(
            f"{named(key)}: expected floats, got {str(state[key].dtype).removeprefix('torch.')}"
            for key in sorted(whole)
        ),
    ]
    return [shown_name(line) for line in lines]
