"""Parts of a detector that come after the feature maps, and the tables from which a config picks them.

A new part is a class in a file here, a line in a table, and a test.
"""

from .coder import BoxCoder
from .default_boxes import DefaultBoxGenerator
from .heads import BiasedSSDLiteHead, SSDHead, SSDLiteHead
from .losses import MultiBoxLoss, foreground_softmax
from .matcher import SSDMatcher
from .necks import FPN
from .postprocess import Postprocess
from .preprocess import RESIZES, Preprocess
from .suppression import nms_mask
from .targets import assign_targets

DEFAULT_BOXES = {
    "scales": DefaultBoxGenerator.from_scales,
    "sizes": DefaultBoxGenerator.from_sizes,
    "shapes": DefaultBoxGenerator,
}
MATCHERS = {"ssd": SSDMatcher}
CODERS = {"centre_size": BoxCoder}
HEADS = {"ssd": SSDHead, "ssdlite": SSDLiteHead, "ssdlite_biased": BiasedSSDLiteHead}
NECKS = {"fpn": FPN}
LOSSES = {"multibox": MultiBoxLoss}
PREPROCESSES = {"warp": Preprocess}
POSTPROCESSES = {"nms": Postprocess}

__all__ = [
    "CODERS",
    "DEFAULT_BOXES",
    "HEADS",
    "LOSSES",
    "MATCHERS",
    "NECKS",
    "POSTPROCESSES",
    "PREPROCESSES",
    "RESIZES",
    "BiasedSSDLiteHead",
    "FPN",
    "BoxCoder",
    "DefaultBoxGenerator",
    "MultiBoxLoss",
    "Postprocess",
    "Preprocess",
    "SSDHead",
    "SSDLiteHead",
    "SSDMatcher",
    "assign_targets",
    "foreground_softmax",
    "nms_mask",
]
