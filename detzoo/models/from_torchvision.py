"""A detector that somebody built of torchvision's classes, as one of detzoo's: the same modules, other parts around."""

from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection.ssd import SSD as TorchvisionSSD

from ..categories import Categories
from ..components import (
    BoxCoder,
    DefaultBoxGenerator,
    MultiBoxLoss,
    Postprocess,
    Preprocess,
    SSDMatcher,
)
from .ssd import SSD


class _Maps(nn.Module):
    """torchvision's backbone, whose maps come in a dict, or alone."""

    def __init__(self, network: nn.Module, channels: list[int]) -> None:
        super().__init__()
        self.network = network
        self.channels = channels

    def forward(self, x: Tensor) -> list[Tensor]:
        return _listed(self.network(x))


class _Outputs(nn.Module):
    """torchvision's head, whose outputs come in a dict."""

    def __init__(self, network: nn.Module, num_classes: int) -> None:
        super().__init__()
        self.network = network
        self.num_classes = num_classes

    def forward(self, maps: list[Tensor]) -> tuple[Tensor, Tensor]:
        outputs = self.network(maps)
        return outputs["cls_logits"], outputs["bbox_regression"]


def _listed(maps: Any) -> list[Tensor]:
    return [maps] if isinstance(maps, Tensor) else list(maps.values())


def from_torchvision(detector: TorchvisionSSD, *, categories: Categories | None = None) -> SSD:
    """The same detector with detzoo's default boxes, matcher, loss, preprocessing and suppression around its network.

    It is in eval mode, and so is the network that the two share.

    For what was built of a backbone, default boxes or a head of one's own: a file of its weights does not say what they
    are of. (Files of `ssd300_vgg16` and `ssdlite320_mobilenet_v3_large` are read by `detzoo.load`.)

    Args:
        detector: with its weights; the modules are shared, not copied.
        categories: what its labels mean.

    Raises:
        ValueError: for another class of model, or a transform that keeps the aspect ratio.
    """
    if not isinstance(detector, TorchvisionSSD):
        raise ValueError(f"expected torchvision.models.detection.ssd.SSD, got {type(detector).__name__}")
    transform, anchors = detector.transform, detector.anchor_generator
    if transform.fixed_size is None:
        raise ValueError("the detector's transform has no fixed_size: an SSD takes images of one size")
    width, height = transform.fixed_size
    channels, num_classes = _measure(detector, (height, width))
    coder = BoxCoder(tuple(detector.box_coder.weights), detector.box_coder.bbox_xform_clip)
    return (
        SSD(
            backbone=_Maps(detector.backbone, channels),
            default_boxes=DefaultBoxGenerator(
                [pairs.tolist() for pairs in anchors._wh_pairs],
                steps=anchors.steps,
                clip="sizes" if anchors.clip else "none",
            ),
            head=_Outputs(detector.head, num_classes),
            matcher=SSDMatcher(detector.proposal_matcher.high_threshold),
            coder=coder,
            loss=MultiBoxLoss(negatives_per_positive=detector.neg_to_pos_ratio, coder=coder),
            preprocess=Preprocess((height, width), tuple(transform.image_mean), tuple(transform.image_std), "bilinear"),
            postprocess=Postprocess(
                detector.score_thresh, detector.nms_thresh, detector.topk_candidates, detector.detections_per_img
            ),
            categories=categories,
        )
        .to(next(detector.parameters()).device)
        .eval()
    )


@torch.no_grad()
def _measure(detector: TorchvisionSSD, size: tuple[int, int]) -> tuple[list[int], int]:
    """Channels of the maps, and the number of classes, from a pass of an empty image."""
    training = detector.training
    detector.eval()
    maps = _listed(detector.backbone(next(detector.parameters()).new_zeros(1, 3, *size)))
    logits = detector.head(maps)["cls_logits"]
    detector.train(training)
    return [x.shape[1] for x in maps], logits.shape[-1]
