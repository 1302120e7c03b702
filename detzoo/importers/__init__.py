"""Foreign checkpoints: `readers` get names and tensors out of files of any kind, and one file per origin says what they
mean: state dict in, state dict under detzoo's names out.
"""

from . import torchvision

__all__ = ["torchvision"]
