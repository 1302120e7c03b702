"""Parts of a config in a line."""

from collections.abc import Mapping
from typing import Any


def compact(part: Any) -> str:
    """A part on one line: its name, then its options."""
    if not isinstance(part, Mapping):
        return str(part)
    options = ", ".join(f"{key}={rounded(value)}" for key, value in part.items() if key != "name")
    return f"{part['name']}({options})"


def rounded(value: Any) -> Any:
    """Numbers with as many digits as mean something in them."""
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value
