"""SSD with VGG-16 (arXiv:1512.02325): numbers, weights, entry points."""

from dataclasses import replace
from typing import Any

from .catalogue import SSD300_VGG16_Weights, SSD512_VGG16_Weights
from .config import SSDConfig
from .entry import WeightsLike, make_model
from .ssd import SSD

FINETUNED_LAYERS = 4  # of 5: the first VGG stage keeps its ImageNet weights, as in torchvision; Caffe trains all

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
    matcher={"name": "ssd", "iou_threshold": 0.5},
    coder={"name": "centre_size"},
    loss={
        "name": "multibox",
        "negatives_per_positive": 3.0,
        "minimum_negatives": 0,
        "box": "smooth_l1",
        "box_weight": 1.0,
    },
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


def ssd300_vgg16(
    *,
    pretrained: bool = False,
    weights: WeightsLike = None,
    weights_backbone: Any = None,
    num_classes: int | None = None,
    trainable_layers: int | None = None,
    progress: bool = True,
) -> SSD:
    """SSD300 with VGG-16: 8732 default boxes on maps of 38, 19, 10, 5, 3 and 1 cells a side (SSD, figure 2).

    Args:
        pretrained: the same as `weights="DEFAULT"`: torchvision's COCO weights, 25.1 AP.
        weights: a member of `SSD300_VGG16_Weights`, its name, or the path of a checkpoint.
        weights_backbone: ImageNet weights for the trunk: torchvision's "IMAGENET1K_FEATURES", or the path of a file.
        num_classes: classes with background. Another number than that of the weights keeps all but the class head.
        trainable_layers: stages of the trunk that are trained, of 5; 4 with any weights, else 5.
        progress: show a bar while downloading.
    """
    return make_model(
        SSD300_VGG16,
        SSD300_VGG16_Weights,
        pretrained=pretrained,
        weights=weights,
        weights_backbone=weights_backbone,
        num_classes=num_classes,
        trainable_layers=trainable_layers,
        finetuned_layers=FINETUNED_LAYERS,
        progress=progress,
    )


def ssd512_vgg16(
    *,
    pretrained: bool = False,
    weights: WeightsLike = None,
    weights_backbone: Any = None,
    num_classes: int | None = None,
    trainable_layers: int | None = None,
    progress: bool = True,
) -> SSD:
    """SSD512 with VGG-16 as published: 24564 default boxes on maps of 64, 32, 16, 8, 4, 2 and 1 cells a side.

    Arguments are those of `ssd300_vgg16`; `pretrained` weights are MMDetection's for COCO, 29.5 AP, with the numbers
    that belong to them.
    """
    return make_model(
        SSD512_VGG16,
        SSD512_VGG16_Weights,
        pretrained=pretrained,
        weights=weights,
        weights_backbone=weights_backbone,
        num_classes=num_classes,
        trainable_layers=trainable_layers,
        finetuned_layers=FINETUNED_LAYERS,
        progress=progress,
    )
