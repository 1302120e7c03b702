"""Foreign checkpoints: one file per origin, state dict in, state dict under detzoo's names out."""

from . import torchvision

__all__ = ["torchvision"]
