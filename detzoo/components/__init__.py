"""Parts of a detector that come after the feature maps, and the tables from which a config picks them.

A new part is a class in a file here, a line in a table, and a test.
"""

from .atss import ATSSMatcher
from .box_losses import BOX_LOSSES
from .coder import BoxCoder
from .default_boxes import DefaultBoxGenerator
from .focal import FocalLoss, QualityFocalLoss, foreground_sigmoid
from .heads import BiasedSSDLiteHead, SSDHead, SSDLiteHead
from .losses import DetectionLoss, MultiBoxLoss, foreground_softmax
from .matcher import SSDMatcher
from .necks import FPN
from .postprocess import DIoUNMS, Postprocess
from .preprocess import Preprocess
from .resizes import RESIZES
from .sim_ota import SimOTAMatcher
from .soft_postprocess import MatrixNMS, SoftNMS
from .suppression import nms_mask
from .targets import assign_targets
from .task_aligned import TaskAlignedMatcher

DEFAULT_BOXES = {
    "scales": DefaultBoxGenerator.from_scales,
    "linear": DefaultBoxGenerator.from_linear,
    "sizes": DefaultBoxGenerator.from_sizes,
    "shapes": DefaultBoxGenerator,
}
MATCHERS = {"ssd": SSDMatcher, "atss": ATSSMatcher, "sim_ota": SimOTAMatcher, "task_aligned": TaskAlignedMatcher}
CODERS = {"centre_size": BoxCoder}
HEADS = {"ssd": SSDHead, "ssdlite": SSDLiteHead, "ssdlite_biased": BiasedSSDLiteHead}
NECKS = {"fpn": FPN}
LOSSES = {"multibox": MultiBoxLoss, "focal": FocalLoss, "quality_focal": QualityFocalLoss}
PREPROCESSES = {"warp": Preprocess}
POSTPROCESSES = {"nms": Postprocess, "soft_nms": SoftNMS, "diou_nms": DIoUNMS, "matrix_nms": MatrixNMS}

__all__ = [
    "BOX_LOSSES",
    "CODERS",
    "DEFAULT_BOXES",
    "HEADS",
    "LOSSES",
    "MATCHERS",
    "NECKS",
    "POSTPROCESSES",
    "PREPROCESSES",
    "RESIZES",
    "ATSSMatcher",
    "BiasedSSDLiteHead",
    "FPN",
    "BoxCoder",
    "DIoUNMS",
    "DefaultBoxGenerator",
    "DetectionLoss",
    "FocalLoss",
    "MatrixNMS",
    "MultiBoxLoss",
    "Postprocess",
    "Preprocess",
    "QualityFocalLoss",
    "SSDHead",
    "SSDLiteHead",
    "SSDMatcher",
    "SimOTAMatcher",
    "SoftNMS",
    "TaskAlignedMatcher",
    "assign_targets",
    "foreground_sigmoid",
    "foreground_softmax",
    "nms_mask",
]
