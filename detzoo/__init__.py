"""detzoo: a pluggable zoo of single-shot detectors. Importing it costs torch and torchvision, nothing else."""

from . import models
from .models import SSD, SSDConfig, build_ssd, get_model, list_models, load
from .version import __version__

__all__ = ["SSD", "SSDConfig", "__version__", "build_ssd", "get_model", "list_models", "load", "models"]
