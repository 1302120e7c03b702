"""From nested content to names and tensors."""

from typing import Any

from .inert import Array, DataType, Global, Inert, Storage, TensorRecord

DEEPEST = 60  # levels of dicts, lists and submodules
LONGEST_NAME = 1000  # characters
Leaf = TensorRecord | Array
_SCALARS = str | int | float | bytes | None
_NOTHING = object()


class Flat:
    """Walks through content once.

    Attributes:
        leaves: names and records of the tensors and arrays, a nested one's keys joined by `/`, a submodule's by a dot.
        left: how many more things may be looked at. References to the same thing can make a small file unfold without
            end, so there is a bound.
    """

    def __init__(self, most: int) -> None:
        self.leaves: dict[str, Leaf] = {}
        self.left = most

    def walk(self, thing: Any, name: str = "", depth: int = 0) -> Any:
        """Note the tensors in `thing`, and give the rest of it as plain data."""
        self.left -= 1
        if self.left < 0 or depth > DEEPEST:
            raise ValueError(
                f"its content is nested deeper than {DEEPEST} levels, or repeats itself beyond measure: expected a "
                "dict of names and tensors; have its maker save the state dict only"
            )
        if isinstance(thing, Leaf):
            self._note(name, thing)
            return _NOTHING
        if isinstance(thing, Storage):
            return _NOTHING
        if isinstance(thing, dict):
            return self._walk_dict(thing, name, depth)
        if isinstance(thing, list | tuple):
            walked = [self.walk(value, _join(name, index), depth + 1) for index, value in enumerate(thing)]
            return type(thing)(value for value in walked if value is not _NOTHING)
        if isinstance(thing, Inert):
            return self._walk_module(thing, name, depth) if _is_module(thing) else self._walk_object(thing, name, depth)
        return _scalar(thing)

    def _walk_dict(self, thing: dict[Any, Any], name: str, depth: int) -> dict[Any, Any]:
        walked = {key: self.walk(value, _join(name, key), depth + 1) for key, value in thing.items()}
        return {key: value for key, value in walked.items() if value is not _NOTHING}

    def _walk_object(self, thing: Inert, name: str, depth: int) -> dict[Any, Any]:
        found: dict[Any, Any] = {"__class__": thing.name}
        parts = {"__args__": thing.args, "__state__": thing.state, "__values__": thing.values}
        if isinstance(thing.state, dict):
            found |= self._walk_dict(thing.state, name, depth)
            del parts["__state__"]
        found |= self._walk_dict(thing.items, name, depth)
        return found | self._walk_dict({key: part for key, part in parts.items() if part}, name, depth)

    def _walk_module(self, thing: Inert, name: str, depth: int) -> dict[str, Any]:
        """The state dict of a pickled module, and the numbers among its attributes."""
        self._walk_parts(thing, f"{name}/" if name else "", depth)
        plain = {key: value for key, value in thing.state.items() if not str(key).startswith("_")}
        return {"__class__": thing.name, **{key: value for key, value in plain.items() if _is_plain(value)}}

    def _walk_parts(self, module: Inert, prefix: str, depth: int) -> None:
        hidden = module.state.get("_non_persistent_buffers_set")
        hidden = hidden if isinstance(hidden, list) else []  # sets are lists here; older modules have none
        for part in ("_parameters", "_buffers"):
            for key, tensor in module.state[part].items():
                if isinstance(tensor, Leaf) and key not in hidden:
                    self._note(f"{prefix}{key}", tensor)
        self.left -= 1
        for key, child in module.state["_modules"].items():
            if child is None:
                continue
            if not isinstance(child, Inert) or not _is_module(child) or depth > DEEPEST or self.left < 0:
                raise ValueError(f"submodule {prefix}{key} is no module, or nested without end")
            self._walk_parts(child, f"{prefix}{key}.", depth + 1)

    def _note(self, name: str, leaf: Leaf) -> None:
        if len(name) > LONGEST_NAME:
            raise ValueError(f"a tensor has a name of {len(name)} characters, {name[:40]!r}...")
        if name in self.leaves:
            raise ValueError(f"two tensors are called {name!r}")
        self.leaves[name] = leaf


def _join(name: str, key: Any) -> str:
    return f"{name}/{key}" if name else str(key)


def _is_module(thing: Inert) -> bool:
    """Whether an object has what every torch.nn.Module has."""
    state = thing.state
    return isinstance(state, dict) and all(
        isinstance(state.get(part), dict) for part in ("_parameters", "_buffers", "_modules")
    )


def _is_plain(value: Any) -> bool:
    values = value if isinstance(value, list | tuple) else [value]
    return all(isinstance(one, _SCALARS) for one in values)


def _scalar(thing: Any) -> Any:
    if isinstance(thing, Global):
        return thing.name
    if isinstance(thing, DataType):
        return f"numpy {thing.order}{thing.code}"
    if not isinstance(thing, _SCALARS):
        raise ValueError(f"{type(thing).__name__} in its content: expected plain data")
    return thing
