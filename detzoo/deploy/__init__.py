"""Detectors outside of PyTorch: export, and the check that it says the same. Heavy packages are imported where used."""

from .check import ExportError
from .export import TARGETS, Exported, export
from .inputs import INPUTS
from .levels import LEVELS

__all__ = ["INPUTS", "LEVELS", "TARGETS", "ExportError", "Exported", "export"]
