"""From a word to a thing: names in plain tables, dotted paths to anything else, and options checked against a
signature.

A *part* in a config is a name (`"multibox"`), a dotted path (`"my_package.losses.MyLoss"`), or a mapping of `name` and
options (`{"name": "multibox", "negatives_per_positive": 2}`). The signature of the class is the schema of its options.
"""

import difflib
import importlib
import inspect
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal, Union

Part = str | Mapping[str, Any]


class ConfigError(ValueError):
    """One or more things wrong with a config; the message lists them all."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        head = (
            "the config has a problem" if len(self.problems) == 1 else f"the config has {len(self.problems)} problems"
        )
        super().__init__("\n  - ".join([head + ":", *self.problems]))


def suggest(word: str, known: Collection[str]) -> str:
    """The tail of an error message: the nearest known word, or all of them where none is near."""
    near = _nearest(word, known, 0.5)
    return f"did you mean {near!r}?" if near else f"expected one of: {', '.join(sorted(known)) or '(none)'}"


def _nearest(word: str, known: Collection[str], alike: float) -> str | None:
    """The known word that is most like this one, from 0 for not at all to 1, if any is as much as that."""
    return next(iter(difflib.get_close_matches(str(word), known, n=1, cutoff=alike)), None)  # YAML's keys: numbers, too


def lookup(table: Mapping[str, Any], name: str, what: str) -> Any:
    """`table[name]`, or whatever a dotted path names.

    Raises:
        ValueError: for a name that is neither, with the nearest right word.
    """
    if name in table:
        return table[name]
    if "." in name:
        return import_path(name, what)
    raise ValueError(f"unknown {what} {name!r}: {suggest(name, table)}")


def import_path(path: str, what: str) -> Any:
    """The object behind a dotted path such as `my_package.losses.MyLoss`."""
    module_path, _, attribute = path.rpartition(".")
    try:
        module = importlib.import_module(module_path)
    except (ImportError, TypeError, ValueError) as error:  # the latter two: an empty or relative module name
        raise ValueError(f"{what} {path!r}: cannot import {module_path!r} ({error})") from error
    if not hasattr(module, attribute):
        raise ValueError(
            f"{what} {path!r}: module {module_path!r} has no {attribute!r}; {suggest(attribute, dir(module))}"
        )
    return getattr(module, attribute)


def split_part(part: Part, what: str) -> tuple[str, dict[str, Any]]:
    """Name and options of a part, or a ValueError that shows the two ways to write one."""
    if isinstance(part, str):
        return part, {}
    if isinstance(part, Mapping) and isinstance(part.get("name"), str):
        return part["name"], {key: value for key, value in part.items() if key != "name"}
    advice = f": say {what}.name=NAME as well, since options take the place of a name that stands alone"
    unnamed = isinstance(part, Mapping) and part and "name" not in part
    raise ValueError(
        f"{what}: expected a name or a mapping with a 'name' and options, got {part!r}{advice if unnamed else ''}"
    )


def resolve_part(
    table: Mapping[str, Any], part: Part, what: str, derived: Collection[str] = (), path: str | None = None
) -> tuple[Callable, dict[str, Any]]:
    """The builder of a part and its options, checked against the builder's signature.

    Args:
        table: of builders.
        part: what to look up in it.
        what: the part's name in messages.
        derived: parameters that the caller fills in itself and that a config must not name.
        path: the part's place on a command line that can empty it first; None in Python, and where none can.

    Raises:
        ConfigError: listing every unknown, missing or ill-typed option.
    """
    try:
        name, options = split_part(part, what)
        builder = lookup(table, name, what)
    except ValueError as error:
        raise ConfigError([str(error)]) from error
    if not _says_its_options(builder):
        raise ConfigError([f"{what} {name!r} is {builder!r}: expected a class, or a function that makes the part"])
    owners = {option: owner for option in options if (owner := _owner(table, builder, option, derived))}
    own = {option: value for option, value in options.items() if option not in owners}
    problems = option_problems(builder, own, what, derived)
    if owners:
        own_names = [option for option in inspect.signature(builder).parameters if option not in derived]
        problems.append(_leftover(name, what, path, owners) + _misspelt(owners, own_names))
    if problems:
        raise ConfigError(problems)
    return builder, options


def _says_its_options(builder: Any) -> bool:
    """Whether this can be called, and has a signature: some of Python's own classes have none."""
    try:
        inspect.signature(builder)
    except (TypeError, ValueError):
        return False
    return True


def _owner(table: Mapping[str, Any], builder: Callable, option: str, derived: Collection[str]) -> str | None:
    """The name of another part of the table that has this option, which the builder has not."""
    if option in derived or taken_by(builder, [option]):
        return None
    families = getattr(table, "families", {})  # of names that a table knows without listing them
    return next((name for name, other in {**table, **families}.items() if taken_by(other, [option])), None)


def _leftover(name: str, what: str, path: str | None, owners: Mapping[str, str]) -> str:
    """What to say of options that another part has: mostly the name was exchanged and they stayed."""
    theirs = ", ".join(f"{option!r} (of {owner!r})" for option, owner in owners.items())
    start = f"{what} {name!r} has no option {theirs}: what is left over from another part goes "
    if path is None:
        return f"{start}where the part is replaced as a whole: {what}={{'name': {name!r}, ...}}"
    return (
        f"{start}with {path}={name}, which replaces that part as a whole; to set options of it, say {path}=null "
        f"{path}.name={name} {path}.OPTION=VALUE"
    )


def _misspelt(options: Collection[str], known: Collection[str]) -> str:
    """What to add of options of another part that are so near to known ones that these may be meant."""
    near = {option: _nearest(option, known, 0.75) for option in options}
    return "".join(f"; instead of {option!r}, did you mean {meant!r}?" for option, meant in near.items() if meant)


def build_part(table: Mapping[str, Any], part: Part, what: str, **derived: Any) -> Any:
    """Build a part by name or dotted path; the keywords given here are those of `derived` that the builder takes."""
    builder, options = resolve_part(table, part, what, derived)
    return builder(**{name: derived[name] for name in taken_by(builder, derived)}, **options)


def taken_by(builder: Callable, names: Collection[str]) -> list[str]:
    """Which of the names are parameters of the builder."""
    parameters = inspect.signature(builder).parameters
    return [name for name in names if name in parameters]


def option_problems(
    builder: Callable, options: Mapping[str, Any], what: str, derived: Collection[str] = ()
) -> list[str]:
    """What is wrong with `options` as keyword arguments of `builder`: unknown, derived, ill-typed and missing ones."""
    parameters = {
        name: parameter
        for name, parameter in inspect.signature(builder).parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    open_names = [name for name in parameters if name not in derived]
    hints = _type_hints(builder)
    problems = []
    for name, value in options.items():
        if name in derived and name in parameters:
            problems.append(f"{what}.{name} is derived from the other parts and cannot be set: remove it")
        elif name not in parameters:
            problems.append(f"{what} has no option {name!r}: {suggest(name, open_names)}")
        elif name in hints and not fits(value, hints[name]):
            problems.append(f"{what}.{name} = {value!r} ({type(value).__name__}): expected {_spell(hints[name])}")
    for name in open_names:
        if parameters[name].default is inspect.Parameter.empty and name not in options:
            problems.append(f"{what} needs the option {name!r}{_expected(hints.get(name, Any))}")
    return problems


def fits(value: Any, hint: Any) -> bool:
    """Whether a plain value (as YAML gives it: lists for tuples, ints for floats) fits a type annotation."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any or isinstance(hint, typing.TypeVar):
        return True
    if hint is None or hint is type(None):
        return value is None
    if origin in (Union, types.UnionType):
        return any(fits(value, option) for option in arguments)
    if origin is Literal:
        return any(value == option and type(value) is type(option) for option in arguments)
    if hint in (int, float):
        numbers = (int,) if hint is int else (int, float)
        return isinstance(value, numbers) and not isinstance(value, bool)
    if origin is tuple and Ellipsis not in arguments:
        return _is_list(value) and len(value) == len(arguments) and all(map(fits, value, arguments))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return isinstance(value, Mapping) and all(fits(item, arguments[1]) for item in value.values())
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return _is_list(value) and all(fits(item, arguments[0]) for item in value)
    target = origin or hint
    return isinstance(value, target) if isinstance(target, type) else True


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def _type_hints(builder: Callable) -> dict[str, Any]:
    return typing.get_type_hints(builder.__init__ if inspect.isclass(builder) else builder)


def _expected(hint: Any) -> str:
    return "" if hint is Any else f" ({_spell(hint)})"


def _spell(hint: Any) -> str:
    if typing.get_origin(hint) is Literal:
        return "one of " + ", ".join(repr(option) for option in typing.get_args(hint))
    return hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint).replace("typing.", "")
