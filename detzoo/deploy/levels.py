"""How much of a detector an exported graph holds: the network, boxes and scores too, or suppression as well.

Shape letters: B images, A default boxes of each, C classes with background, K candidates of an image, D detections.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..components import Postprocess
from ..layers import L2Norm
from ..models import SSD
from ..ops import clip_boxes, scale_boxes
from .inputs import build_inputs
from .keep import keep_by_offsets

# As many as a trained SSDlite has above its threshold. They cost: 19.6 ms an image in ONNX Runtime, against 16.6 with
# 1000 (SSDlite320, one thread); detections that are not there would cost more.
LEAST_CANDIDATES = 5000
PER_DETECTION = 5  # candidates for each detection that may leave, as the detector itself begins with
Keep = Callable[[Tensor, Tensor, float, int], Tensor]


class Raw(nn.Module):
    """The network: logits [B, A, C], deltas [B, A, 4], default boxes [A, 4] in pixels of the network's input.

    Args:
        model: in eval mode; its network is changed to `dtype`, so hand over a copy.
        inputs: a name in `INPUTS`.
        dtype: in which the network computes; what comes out, and all that follows it, is float32.
    """

    outputs: tuple[str, ...] = ("logits", "deltas", "default_boxes")

    def __init__(self, model: SSD, inputs: str = "pixels", dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.inputs = build_inputs(model.preprocess, inputs)
        self.size, self.dtype = tuple(model.preprocess.size), dtype
        self.rescaled = inputs == "images"
        with torch.no_grad():
            found = model.predict(torch.zeros(1, 3, *self.size))
        # the size is fixed, and so are they: a constant, not a hundred operators
        self.register_buffer("default_boxes", found.default_boxes.clone(), persistent=False)
        self.level_sizes = found.levels
        self.model = _in_precision(model, dtype)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return self.finish(*self.predict(images), images)

    def finish(self, logits: Tensor, deltas: Tensor, images: Tensor) -> tuple[Tensor, ...]:
        """The outputs, from what `predict` gives for these images."""
        return logits, deltas, self.default_boxes

    def predict(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and deltas."""
        logits, deltas, *_ = self.model.predict(self.inputs(images).to(self.dtype))
        return logits.float(), deltas.float()

    def _decode(self, logits: Tensor, deltas: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes [B, A, 4] in pixels of the network's input, and scores [B, A, C - 1]."""
        return self.model.coder.decode(deltas, self.default_boxes), self.model.loss.scores(logits)

    def _back(self, boxes: Tensor, images: Tensor) -> Tensor:
        """Boxes in pixels of the images that went in."""
        return scale_boxes(boxes, self.size, tuple(images.shape[-2:])) if self.rescaled else boxes


class Decoded(Raw):
    """Boxes [B, A, 4], xyxy pixels of the images that went in and not clipped to them, and scores [B, A, C - 1] of the
    classes but background.
    """

    outputs = ("boxes", "scores")

    def finish(self, logits: Tensor, deltas: Tensor, images: Tensor) -> tuple[Tensor, ...]:
        """See `Raw.finish`."""
        boxes, scores = self._decode(logits, deltas)
        return self._back(boxes, images), scores


class Suppressed(Raw):
    """Detections, best first: boxes [B, D, 4] in pixels of the images that went in, scores [B, D], labels [B, D] and
    how many there are, [B]; rows beyond are zero.

    They are those of the detector itself as long as D of an image's best K candidates survive suppression, or no more
    than K are above the threshold: a graph of fixed shapes cannot go back for more.

    Args:
        model: see `Raw`.
        inputs: see `Raw`.
        dtype: see `Raw`.
        candidates: K, pairs of default box and class that enter suppression; by default five for each detection and at
            least 5000.
        keep: what suppresses.

    Raises:
        ValueError: for a suppression that has no such graph.
    """

    outputs = ("boxes", "scores", "labels", "counts")

    def __init__(
        self,
        model: SSD,
        inputs: str = "pixels",
        dtype: torch.dtype = torch.float32,
        *,
        candidates: int | None = None,
        keep: Keep = keep_by_offsets,
    ) -> None:
        if problem := suppression_problem(model.postprocess):
            raise ValueError(problem)
        if candidates is not None and candidates < 1:
            raise ValueError(f"candidates = {candidates}: expected at least 1 for each image")
        super().__init__(model, inputs, dtype)
        self.keep = keep
        self.num_classes = model.head.num_classes - 1
        self.num_groups = 1 if model.postprocess.class_agnostic else self.num_classes
        self.candidates = candidates_of(model.postprocess, len(self.default_boxes), self.num_classes, candidates)
        self.detections = min(model.postprocess.detections_per_image or self.candidates, self.candidates)
        self.register_buffer("level", torch.repeat_interleave(torch.tensor(self.level_sizes)), persistent=False)
        self.register_buffer("worth", torch.arange(self.candidates, 0, -1), persistent=False)  # of a place among them

    def finish(self, logits: Tensor, deltas: Tensor, images: Tensor) -> tuple[Tensor, ...]:
        """See `Raw.finish`."""
        boxes, *rest = self._suppress(*self._decode(logits, deltas))
        return self._back(boxes, images), *rest

    def _suppress(self, boxes: Tensor, scores: Tensor) -> tuple[Tensor, ...]:
        """Detections in pixels of the network's input from boxes [B, A, 4] and scores [B, A, C - 1]."""
        if self.model.postprocess.clip:
            boxes = clip_boxes(boxes, self.size)
        scores, classes, anchors = self._best(scores)  # [B, K] each
        boxes = boxes.gather(1, anchors[..., None].expand(-1, -1, 4))
        groups = torch.zeros_like(classes) if self.model.postprocess.class_agnostic else classes
        groups = torch.where(self._there(scores, classes, anchors, boxes), groups, -1)
        kept = self.keep(boxes, groups, self.model.postprocess.iou_threshold, self.num_groups)
        return self._first(kept, boxes, scores, classes + 1)

    def _best(self, scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scores, classes and default boxes of the best K pairs, [B, K] each, best first.

        The default boxes of the best K pairs are among the K whose best class is best: the long list is searched once
        for each default box, not once for each pair.
        """
        best, classes = scores.max(dim=2)  # [B, A]
        best, anchors = best.topk(min(self.candidates, best.shape[1]), dim=1)
        if self.model.postprocess.best_class_only:
            return best, classes.gather(1, anchors), anchors
        rows = scores.gather(1, anchors[..., None].expand(-1, -1, self.num_classes))
        best, places = rows.flatten(1).topk(self.candidates, dim=1)
        return best, places % self.num_classes, anchors.gather(1, places // self.num_classes)

    def _there(self, scores: Tensor, classes: Tensor, anchors: Tensor, boxes: Tensor) -> Tensor:
        """Which of the K are candidates, [B, K]: above the threshold, among the best `top_k`, perhaps not empty."""
        options = self.model.postprocess
        there = scores > options.score_threshold
        if options.top_k is not None and options.top_k < self.candidates:  # of a class or a level: see candidates_of
            per_level = options.top_k_per == "level"
            pools, count = (self.level[anchors], len(self.level_sizes)) if per_level else (classes, self.num_classes)
            there = there & (_rank(pools, count) < options.top_k)
        if options.drop_empty:
            there = there & (boxes[..., 2:] > boxes[..., :2]).all(dim=-1)
        return there

    def _first(self, kept: Tensor, boxes: Tensor, scores: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        """The first D that were kept, and zeros behind them."""
        worth, places = torch.where(kept, self.worth, 0).topk(self.detections, dim=1)  # [B, D]
        there = worth > 0
        boxes = boxes.gather(1, places[..., None].expand(-1, -1, 4))
        boxes = torch.where(there[..., None], boxes, 0.0)
        scores = torch.where(there, scores.gather(1, places), 0.0)
        labels = torch.where(there, labels.gather(1, places), 0)
        return boxes, scores, labels, there.sum(dim=1)


LEVELS: dict[str, type[Raw]] = {"raw": Raw, "decoded": Decoded, "nms": Suppressed}


def check_detects_by_parts(model: nn.Module) -> None:
    """Raise a ValueError for what detects in a way of its own: engines and files have a detector's parts, and would
    leave that away.
    """
    if not isinstance(model, SSD):
        raise ValueError(f"got a {type(model).__name__}: expected an SSD itself, not compiled and not wrapped")
    for name in ("detect", "detections"):
        if getattr(type(model), name) is not getattr(SSD, name):
            raise ValueError(
                f"{type(model).__name__}.{name} is its own, and would be left away: change a part in its stead, such "
                "as preprocess or postprocess"
            )


def suppression_problem(postprocess: nn.Module) -> str | None:
    """Why a suppression cannot be put in a graph, or None."""
    if type(postprocess) is not Postprocess:
        reason = f"the suppression {type(postprocess).__name__} has no counterpart in a graph"
    elif postprocess.union_margin != 0:
        reason = f"no engine's suppression knows union_margin={postprocess.union_margin}"
    else:
        return None
    return f"{reason}: level 'decoded' works, which leaves suppression outside (postprocess.name=nms is known inside)"


def candidates_of(options: Postprocess, anchors: int, classes: int, wanted: int | None) -> int:
    """K, of as many as are `wanted`. Where `top_k` counts whole images, those beyond it need not come along."""
    if wanted is None:
        wanted = max(PER_DETECTION * (options.detections_per_image or 0), LEAST_CANDIDATES)
    pairs = anchors if options.best_class_only else anchors * classes
    of_image = options.top_k_per == "image" or (options.top_k_per == "class" and options.class_agnostic)
    return min(wanted, pairs, options.top_k if of_image and options.top_k is not None else pairs)


def _rank(pools: Tensor, count: int) -> Tensor:
    """For each of K how many of the same pool stand before it, [B, K], from numbers below `count`."""
    same = pools[..., None] == torch.arange(count, device=pools.device)  # [B, K, count]
    seen = same.to(torch.int32).cumsum(dim=1, dtype=torch.int32)
    return seen.gather(2, pools[..., None])[..., 0] - 1


class _Float32(nn.Module):
    """A module that computes in float32 amid half precision."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x.float()).to(x.dtype)


def _in_precision(model: SSD, dtype: torch.dtype) -> SSD:
    """The model with its network in another type; preprocessing, boxes and scores stay in float32."""
    if dtype == torch.float32:
        return model
    for part in (model.backbone, model.neck, model.head):
        part.to(dtype)
        for parent in list(part.modules()):
            for name, layer in parent.named_children():
                if isinstance(layer, L2Norm):  # sums squares of activations in the hundreds: no float16
                    setattr(parent, name, _Float32(layer.float()))
    return model
