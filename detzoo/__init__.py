"""detzoo: a pluggable zoo of single-shot detectors. Importing it costs torch and torchvision, nothing else."""

from typing import Any

from . import models
from .models import SSD, SSDConfig, build_ssd, get_model, list_models, load
from .version import __version__

__all__ = ["SSD", "Detector", "SSDConfig", "__version__", "build_ssd", "get_model", "list_models", "load", "models"]


def __getattr__(name: str) -> Any:
    """`detzoo.Detector`, imported when it is asked for."""
    if name != "Detector":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .predict import Detector

    return Detector
