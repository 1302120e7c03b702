"""From scores and boxes to detections by lowering scores instead of removing boxes."""

from typing import Literal

import torch
from torch import Tensor

from .decay import gaussian_decay, linear_decay, matrix_nms, soft_nms
from .postprocess import Candidates, Postprocess, check_fractions
from .suppression import rank_in_group

METHODS = ("linear", "gaussian")
PAPER_SIGMA = 0.5  # Bodla et al., section 5; SOLOv2's released exp(-2 IoU^2) is the same


class DecayNMS(Postprocess):
    """Suppression that lowers the scores of boxes that overlap better ones; scores come out as float32.

    Args:
        score_threshold: scores must be above it before suppression.
        iou_threshold: boxes that overlap by no more leave one another alone, in whatever `method`. None is the paper's:
            `PAPER_IOU_THRESHOLD` of the class for `"linear"`, 0 for `"gaussian"`.
        top_k: see `Postprocess`.
        detections_per_image: see `Postprocess`.
        class_agnostic: see `Postprocess`.
        clip: see `Postprocess`.
        method: what is left of a score: `"linear"`, 1 - IoU of it; `"gaussian"`, exp(-IoU^2 / sigma).
        sigma: of `"gaussian"`, and only there; 0.5, the papers', by default.
        final_threshold: scores must be above it after suppression; 0.001 is that of soft-NMS as it was released.
        top_k_per: see `Postprocess`.
        union_margin: see `Postprocess`.
        best_class_only: see `Postprocess`.
        drop_empty: see `Postprocess`.
    """

    PAPER_IOU_THRESHOLD = 0.0

    def __init__(
        self,
        score_threshold: float = 0.01,
        iou_threshold: float | None = None,
        top_k: int | None = 400,
        detections_per_image: int | None = 200,
        class_agnostic: bool = False,
        clip: bool = True,
        method: Literal["linear", "gaussian"] = "linear",
        sigma: float | None = None,
        final_threshold: float = 0.001,
        top_k_per: Literal["class", "level", "image"] = "class",
        union_margin: float = 0.0,
        best_class_only: bool = False,
        drop_empty: bool = False,
    ) -> None:
        if method not in METHODS:
            raise ValueError(f"postprocess: method must be one of {METHODS}, got {method!r}")
        if iou_threshold is None:
            iou_threshold = self.PAPER_IOU_THRESHOLD if method == "linear" else 0.0
        super().__init__(
            score_threshold,
            iou_threshold,
            top_k,
            detections_per_image,
            class_agnostic,
            clip,
            top_k_per,
            union_margin,
            best_class_only,
            drop_empty,
        )
        check_fractions(final_threshold=final_threshold)
        if sigma is not None and method != "gaussian":
            raise ValueError(f"postprocess: sigma={sigma} belongs to method='gaussian', and method is {method!r}")
        if sigma is not None and not sigma > 0:
            raise ValueError(f"postprocess: sigma must be positive, got {sigma}")
        self.method = method
        self.sigma = PAPER_SIGMA if sigma is None and method == "gaussian" else sigma
        self.final_threshold = final_threshold

    def decay(self, iou: Tensor) -> Tensor:
        """What is left of a score at this overlap, as a factor."""
        if self.method == "linear":
            return linear_decay(iou, self.iou_threshold)
        return gaussian_decay(iou, self.iou_threshold, self.sigma)

    def extra_repr(self) -> str:
        sigma = f"sigma={self.sigma}, " if self.method == "gaussian" else ""
        return f"{super().extra_repr()}, method={self.method!r}, {sigma}final_threshold={self.final_threshold}"


class SoftNMS(DecayNMS):
    """Soft-NMS (Bodla et al., arXiv:1704.04503): the best box that is left lowers the scores of the others, again and
    again; see `DecayNMS` for the options.
    """

    PAPER_IOU_THRESHOLD = 0.3

    def suppress(self, candidates: Candidates) -> Candidates:
        rank = rank_in_group(candidates.images)
        columns = (candidates.boxes, _floats(candidates.scores), self.groups(candidates))
        padded = [_padded(column, candidates.images, rank) for column in columns]
        places, scores = soft_nms(
            *padded, self.decay, self.detections_per_image, self.final_threshold, self.overlap(candidates)
        )
        images, order = (scores > self.final_threshold).nonzero(as_tuple=True)
        start = torch.searchsorted(candidates.images, images)
        found = candidates.select(start + places[images, order])
        return found._replace(scores=scores[images, order])


class MatrixNMS(DecayNMS):
    """Matrix NMS (Wang et al., SOLOv2, arXiv:2003.10152): soft-NMS in one go, by a guess; see `DecayNMS` for the
    options. SOLOv2 uses `method="gaussian"`; PaddlePaddle's, made for boxes, is linear unless told otherwise.
    """

    def suppress(self, candidates: Candidates) -> Candidates:
        scores = _floats(candidates.scores)
        groups, overlap = self.groups(candidates), self.overlap(candidates)
        lowered = matrix_nms(candidates.boxes, scores, groups, self.decay, overlap)
        found = candidates._replace(scores=lowered)
        return found.select(lowered > self.final_threshold).best_first()


def _floats(scores: Tensor) -> Tensor:
    """At least float32: products of half-precision scores would be equal before their time."""
    return scores.to(torch.promote_types(scores.dtype, torch.float32))


def _padded(column: Tensor, images: Tensor, rank: Tensor) -> Tensor:
    """One row for each image, [B, M, ...] of [candidates, ...], 0 where there is nothing."""
    rows, width = (0, 0) if len(images) == 0 else (int(images[-1]) + 1, int(rank.max()) + 1)
    return column.new_zeros(rows, width, *column.shape[1:]).index_put((images, rank), column)
