"""Files of the safetensors package: a header in JSON, then the numbers."""

from typing import Any

from torch import Tensor

from .source import AGAIN, Source


def read_safetensors(source: Source) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors, mapped, and the metadata (see `Container`)."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(source.path, framework="pt") as file:
            content = dict(file.metadata() or {})
            names = file.keys()
            return {name: file.get_tensor(name) for name in names}, {"format": "safetensors", "content": content}
    except SafetensorError as error:
        raise ValueError(f"a safetensors file that cannot be read ({error}): {AGAIN}") from error
