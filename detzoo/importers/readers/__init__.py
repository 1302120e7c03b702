"""Checkpoint files of any origin: names and tensors out of them, and nothing that they contain is ever run.

What the names mean is the business of the importers.
"""

from .container import KINDS, Container, Unwrapped, state_dict_in
from .prototxt import read_prototxt
from .read import read_container
from .tensorflow_bundle import index_of
from .words import shown, shown_name

__all__ = [
    "KINDS",
    "Container",
    "Unwrapped",
    "index_of",
    "read_container",
    "read_prototxt",
    "shown",
    "shown_name",
    "state_dict_in",
]
