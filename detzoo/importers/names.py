"""Renaming the tensors of a state dict by rules, and back."""

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

StateDict = dict[str, Tensor]
# What matches a whole key, and the new name: `{0}` is what the first group matched, `{0:+14}` that number plus 14. A
# rule without a name drops the tensor.
Rules = Mapping[str, str | None]


def rename(state: Mapping[str, Tensor], rules: Rules) -> StateDict:
    """Rename every key by the first rule that matches it whole.

    Raises:
        ValueError: naming the first tensor that no rule matches, or two that would get the same name.
    """
    renamed, before = {}, {}
    for key, tensor in state.items():
        rule = next((pattern for pattern in rules if re.fullmatch(pattern, key)), None)
        if rule is None:
            raise ValueError(f"unexpected tensor {key!r} {tuple(tensor.shape)}: not in the layout this importer reads")
        if rules[rule] is not None:
            name = _applied(rule, rules[rule], key)
            if name in renamed:
                raise ValueError(f"the tensors {before[name]!r} and {key!r} are the same one to this importer ({name})")
            renamed[name], before[name] = tensor, key
    return renamed


def rename_back(state: Mapping[str, Tensor], rules: Rules) -> StateDict:
    """The names from which `rename` makes those of `state`.

    Raises:
        ValueError: naming the first tensor to which no rule leads.
    """
    return {_origin_of(key, rules): tensor for key, tensor in state.items()}


def names_before(names: Iterable[str], rules: Rules) -> dict[str, str]:
    """What `rename` makes of these names, and which it makes it of; names that no rule matches, or that are dropped,
    are left out.
    """
    found = {}
    for name in names:
        rule = next((pattern for pattern in rules if re.fullmatch(pattern, name)), None)
        if rule is not None and rules[rule] is not None:
            found[_applied(rule, rules[rule], name)] = name
    return found


def name_before(key: str, rules: Rules) -> str | None:
    """A name from which `rename` makes this one; None where no rule leads to it, or does not say all of the name."""
    found = (_undone(pattern, name, key) for pattern, name in rules.items() if name is not None)
    return next((old for old in found if old is not None), None)


def _applied(pattern: str, name: str, key: str) -> str:
    return name.format(*map(_Piece, re.fullmatch(pattern, key).groups()))


def _origin_of(key: str, rules: Rules) -> str:
    old = name_before(key, rules)
    if old is None:
        raise ValueError(f"the other side has no place for the tensor {key!r}: its architecture is another one")
    return old


_HOLE = re.compile(r"\{(\d)(?::([+-]\d+))?\}")


def _undone(pattern: str, name: str, key: str) -> str | None:
    """The key that this rule renames to `key`, or None."""
    holes = [(int(index), int(offset or 0)) for index, offset in _HOLE.findall(name)]
    found = re.fullmatch("(.+?)".join(map(re.escape, _HOLE.split(name)[::3])), key)
    if found is None:
        return None
    pieces = {}
    for (index, offset), piece in zip(holes, found.groups(), strict=True):
        if offset and not piece.isdecimal():
            return None
        pieces[index] = str(int(piece) - offset) if offset else piece
    old = _filled(pattern, pieces)
    return old if re.fullmatch(pattern, old) and _applied(pattern, name, old) == key else None


def _filled(pattern: str, pieces: Mapping[int, str]) -> str:
    """The pattern without what may be left out, its groups replaced, its dots unescaped; groups are not nested."""
    parts = re.split(r"\([^()]*\)", re.sub(r"\(\?:[^()]*\)\?", "", pattern))
    filled = [part + pieces.get(index, "") for index, part in enumerate(parts)]
    return "".join(filled).replace("\\", "")


class _Piece(str):
    """A piece of a key that adds a number to itself when formatted as `:+number`."""

    def __format__(self, spec: str) -> str:
        return str(int(self) + int(spec)) if spec else str(self)
