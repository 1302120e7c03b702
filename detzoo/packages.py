"""Packages that only some users need: extras, imported where they are used."""

from importlib import import_module
from types import ModuleType


def package(name: str, extra: str) -> ModuleType:
    """A module of a package that may not be installed.

    Args:
        name: of the module.
        extra: of detzoo, which brings it.

    Raises:
        ValueError: that says how to install it.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name.partition(".")[0]:  # it is there, and something it needs is not
            raise
        raise ValueError(f"this needs the package {error.name}: pip install 'detzoo[{extra}]'") from error
