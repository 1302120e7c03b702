"""The numbers of the zoo: a config for each of its models."""

import math
from dataclasses import replace

from ..importers import Imported
from .config import SSDConfig

# How all of them are trained (SSD, section 2.2). Every option that a command line may want to override is spelt out.
MATCHING = {"name": "ssd", "iou_threshold": 0.5}
MULTIBOX = {
    "name": "multibox",
    "negatives_per_positive": 3.0,
    "minimum_negatives": 0,
    "box": "smooth_l1",
    "box_weight": 1.0,
}

# VGG-16 (arXiv:1512.02325)

# VGG's published "features" weights want RGB - mean in 0..255 (the Caffe model's input scaling).
CAFFE_MEAN, CAFFE_STD = (0.48235, 0.45882, 0.40784), (1 / 255, 1 / 255, 1 / 255)

SSD300_VGG16 = SSDConfig(
    backbone={"name": "vgg16", "extras": "ssd300"},
    default_boxes={
        "name": "scales",
        "scales": (0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05),  # section 3.4, COCO: smaller boxes than for VOC
        "aspect_ratios": ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,)),
        "steps": (8, 16, 32, 64, 100, 300),
        "clip": "sizes",
    },
    size=(300, 300),
    num_classes=91,
    head={"name": "ssd"},
    matcher=MATCHING,
    coder={"name": "centre_size"},
    loss=MULTIBOX,
    preprocess={"name": "warp", "mean": CAFFE_MEAN, "std": CAFFE_STD, "resize": "bilinear"},
    # Section 3.1: 0.01 confidence, 0.45 overlap, 200 detections an image; 400 per class are Caffe's and torchvision's.
    postprocess={
        "name": "nms",
        "score_threshold": 0.01,
        "iou_threshold": 0.45,
        "top_k": 400,
        "detections_per_image": 200,
    },
)

SSD512_VGG16 = replace(
    SSD300_VGG16,
    backbone={"name": "vgg16", "extras": "ssd512"},
    default_boxes={
        "name": "sizes",  # Caffe's ssd_coco_512: 4 % of the side, then 10 to 90 % in steps of 16
        "min_sizes": (20.48, 51.2, 133.12, 215.04, 296.96, 378.88, 460.8),
        "max_sizes": (51.2, 133.12, 215.04, 296.96, 378.88, 460.8, 542.72),
        "aspect_ratios": ((2,), (2, 3), (2, 3), (2, 3), (2, 3), (2,), (2,)),
        "steps": (8, 16, 32, 64, 128, 256, 512),
        "clip": "none",
    },
    size=(512, 512),
)

# ResNets as NVIDIA trains them ("SSD300 v1.1", DeepLearningExamples, PyTorch/Detection/SSD)

SSD300_RESNET50 = SSDConfig(
    backbone={"name": "resnet50"},
    default_boxes={
        "name": "sizes",  # the SSD paper's for COCO
        "min_sizes": (21, 45, 99, 153, 207, 261),
        "max_sizes": (45, 99, 153, 207, 261, 315),
        "aspect_ratios": ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,)),
        "steps": (8, 16, 32, 64, 100, 300),
        "clip": "centres_and_sizes",
    },
    size=(300, 300),
    num_classes=81,
    head={"name": "ssd"},
    matcher=MATCHING,
    coder={"name": "centre_size", "max_log_size": None},
    loss=MULTIBOX,
    preprocess={
        "name": "warp",
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
        "resize": "bilinear_antialias",  # Pillow's, in its training and evaluation
    },
    postprocess={  # those of its COCO evaluation; the score threshold is fixed in its code
        "name": "nms",
        "score_threshold": 0.05,
        "iou_threshold": 0.5,
        "top_k": 200,
        "detections_per_image": 200,
    },
)

SSD300_RESNET18 = replace(SSD300_RESNET50, backbone={"name": "resnet18"})

SSD300_RESNET34 = replace(SSD300_RESNET50, backbone={"name": "resnet34"})

SSD300_RESNET101 = replace(SSD300_RESNET50, backbone={"name": "resnet101"})

# The same cut at the size and with the maps of VGG's SSD512; NVIDIA has no such model, and GluonCV's keeps conv5_x.
SSD512_RESNET50 = replace(
    SSD300_RESNET50,
    backbone={"name": "resnet50", "extras": "ssd512"},
    default_boxes=SSD512_VGG16.default_boxes,
    size=SSD512_VGG16.size,
)

# MobileNetV1 and V2, as pytorch-ssd has them (github.com/qfgaohao/pytorch-ssd)

SSD300_MOBILENET_V1 = SSDConfig(
    backbone={"name": "mobilenet_v1", "extras": "ssd", "width": 1.0},
    default_boxes={
        "name": "sizes",
        "min_sizes": (60, 105, 150, 195, 240, 285),
        "max_sizes": (105, 150, 195, 240, 285, 330),
        "aspect_ratios": ((2, 3),) * 6,
        "steps": (16, 32, 64, 100, 150, 300),
        "clip": "centres_and_sizes",
    },
    size=(300, 300),
    num_classes=21,
    head={"name": "ssd"},
    matcher=MATCHING,
    coder={"name": "centre_size", "max_log_size": None},
    loss=MULTIBOX,
    preprocess={
        "name": "warp",  # (x - 127) / 128 of bytes
        "mean": (127 / 255, 127 / 255, 127 / 255),
        "std": (128 / 255, 128 / 255, 128 / 255),
        "resize": "bilinear",
    },
    postprocess={
        "name": "nms",
        "score_threshold": 0.01,
        "iou_threshold": 0.45,
        "top_k": 200,
        "detections_per_image": 4000,  # no limit there: 200 of each of VOC's 20 classes
    },
)

SSDLITE300_MOBILENET_V1 = replace(
    SSD300_MOBILENET_V1,
    backbone={"name": "mobilenet_v1", "extras": "ssdlite", "width": 1.0},
    head={"name": "ssdlite_biased", "norm": False},
)

SSDLITE300_MOBILENET_V2 = replace(
    SSD300_MOBILENET_V1,
    backbone={"name": "mobilenet_v2", "width": 1.0},
    head={"name": "ssdlite_biased", "norm": True},
)

# SqueezeNet, from the same

# Default boxes and all else are those of its MobileNetV1, the step of 16 pixels on a map of 17 cells a side included.
SSDLITE300_SQUEEZENET1_1 = replace(SSDLITE300_MOBILENET_V1, backbone={"name": "squeezenet1_1"})

# EfficientNet-B3, as lufficc/SSD has it (github.com/lufficc/SSD): all but the trunk is the VGG's for VOC
SSD300_EFFICIENTNET_B3 = replace(
    SSD300_VGG16,
    backbone={"name": "efficientnet_b3"},
    default_boxes={
        "name": "sizes",
        "min_sizes": (30, 60, 111, 162, 213, 264),
        "max_sizes": (60, 111, 162, 213, 264, 315),
        "aspect_ratios": ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,)),
        "steps": (8, 16, 32, 64, 100, 300),
        "clip": "centres_and_sizes",
    },
    num_classes=21,
)

# SSDlite (arXiv:1801.04381, arXiv:1905.02244)

SSDLITE320_MOBILENET_V3_LARGE = SSDConfig(
    backbone={"name": "mobilenet_v3_large", "reduced_tail": True},
    default_boxes={
        "name": "scales",
        "scales": (0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.0),  # linear from 0.2 to 0.95 (SSD, equation 4)
        "aspect_ratios": ((2, 3),) * 6,
        "steps": None,
        "clip": "sizes",
    },
    size=(320, 320),
    num_classes=91,
    head={"name": "ssdlite"},
    matcher=MATCHING,
    coder={"name": "centre_size"},
    loss=MULTIBOX,
    preprocess={"name": "warp", "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5), "resize": "bilinear"},
    postprocess={
        "name": "nms",
        "score_threshold": 0.001,
        "iou_threshold": 0.55,
        "top_k": 300,
        "detections_per_image": 300,
    },
)

SSDLITE320_MOBILENET_V3_SMALL = replace(
    SSDLITE320_MOBILENET_V3_LARGE, backbone={"name": "mobilenet_v3_small", "reduced_tail": True, "width": 1.0}
)

# The paper's taps, TensorFlow's extra blocks and constants, and torchvision's default boxes, six a cell on every level.
# MMDetection's first map leaves before the expansion, and its boxes are others.
SSDLITE320_MOBILENET_V2 = replace(
    SSDLITE320_MOBILENET_V3_LARGE,
    backbone={"name": "mobilenet_v2", "width": 1.0, "extras": "ssdlite", "first_map": "expansion"},
)

# Any trunk of timm's

SSDLITE320_TIMM = replace(
    SSDLITE320_MOBILENET_V3_LARGE,
    backbone={"name": "timm/mobilenetv4_conv_small", "levels": 6, "first_stride": 16, "extras": "ssdlite"},
    default_boxes={"name": "linear", "aspect_ratios": (2, 3)},  # scales follow from the trunk's levels and stride
    preprocess={  # for most of timm's weights
        "name": "warp",
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
        "resize": "bilinear",
    },
)

# Dive into Deep Learning

# sides of the two squares of each level, as fractions of the image; the ratios 2 and 1/2 have the first one's area
SQUARES = ((0.2, 0.272), (0.37, 0.447), (0.54, 0.619), (0.71, 0.79), (0.88, 0.961))

ROOT = math.sqrt(2)

TINY_SSD = SSDConfig(
    backbone={"name": "tiny_ssd"},
    default_boxes={
        "name": "shapes",
        "shapes": tuple(
            ((low, low), (high, high), (low * ROOT, low / ROOT), (low / ROOT, low * ROOT)) for low, high in SQUARES
        ),
        "steps": None,
        "clip": "none",
    },
    size=(256, 256),
    num_classes=2,
    head={"name": "ssd"},
    matcher=MATCHING,
    coder={"name": "centre_size", "max_log_size": None},
    loss=MULTIBOX,
    preprocess={  # bytes as they are
        "name": "warp",
        "mean": (0.0, 0.0, 0.0),
        "std": (1 / 255, 1 / 255, 1 / 255),
        "resize": "bilinear_antialias",
    },
    # Overlap and score are the book's, which suppresses across classes and without limits; it has one class.
    postprocess={
        "name": "nms",
        "score_threshold": 0.01,
        "iou_threshold": 0.5,
        "top_k": 400,
        "detections_per_image": 200,
    },
)

PRESETS = {
    "ssd300_efficientnet_b3": SSD300_EFFICIENTNET_B3,
    "ssd300_mobilenet_v1": SSD300_MOBILENET_V1,
    "ssd300_resnet101": SSD300_RESNET101,
    "ssd300_resnet18": SSD300_RESNET18,
    "ssd300_resnet34": SSD300_RESNET34,
    "ssd300_resnet50": SSD300_RESNET50,
    "ssd300_vgg16": SSD300_VGG16,
    "ssd512_resnet50": SSD512_RESNET50,
    "ssd512_vgg16": SSD512_VGG16,
    "ssdlite300_mobilenet_v1": SSDLITE300_MOBILENET_V1,
    "ssdlite300_mobilenet_v2": SSDLITE300_MOBILENET_V2,
    "ssdlite300_squeezenet1_1": SSDLITE300_SQUEEZENET1_1,
    "ssdlite320_mobilenet_v2": SSDLITE320_MOBILENET_V2,
    "ssdlite320_mobilenet_v3_large": SSDLITE320_MOBILENET_V3_LARGE,
    "ssdlite320_mobilenet_v3_small": SSDLITE320_MOBILENET_V3_SMALL,
    "ssdlite320_timm": SSDLITE320_TIMM,
    "tiny_ssd": TINY_SSD,
}


def config_of(imported: Imported) -> SSDConfig:
    """The config of a detector of another project: the preset, with the numbers that its origin has instead."""
    return replace(PRESETS[imported.model], **imported.config)
