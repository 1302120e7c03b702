"""Whether an exported detector says what the one in PyTorch says."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ..models import SSD
from ..ops import scale_boxes
from ..structures import Detection
from .levels import candidates_of
from .program import Run, Tolerance

SHAKES = 8  # times the detector's own answer is asked for again; of two that are as good, each comes up in nearly all
STRAY = "other detections, %"


class ExportError(ValueError):
    """An exported detector that differs from the one in PyTorch; there is no file of it."""


class Answer(NamedTuple):
    """What the detector says of a batch, in PyTorch's float32: each level's outputs, from which detections come."""

    logits: Tensor
    deltas: Tensor
    default_boxes: Tensor
    boxes: Tensor  # [B, A, 4] in pixels of the network's input
    scores: Tensor
    levels: tuple[int, ...]
    size: tuple[int, int]  # of the images that went in


@torch.no_grad()
def answer_of(model: SSD, inputs: str, images: Tensor) -> Answer:
    """By the detector's own parts, without the exported modules."""
    batch = images if inputs == "tensor" else model.preprocess(images)
    found = model.predict(batch)
    boxes = model.coder.decode(found.deltas, found.default_boxes)
    size = tuple(images.shape[-2:])
    return Answer(
        found.logits, found.deltas, found.default_boxes, boxes, model.loss.scores(found.logits), found.levels, size
    )


def compare(
    model: SSD,
    run: Run,
    outputs: Sequence[str],
    inputs: str,
    batches: Sequence[Tensor],
    tolerance: Tolerance,
    candidates: int | None = None,
) -> dict[str, float]:
    """The largest difference of each output over all batches.

    Args:
        model: the detector, in eval mode.
        run: the exported one.
        outputs: their names, in order.
        inputs: a name in `INPUTS`.
        batches: of images as the exported one takes them.
        tolerance: see there.
        candidates: of an image, that enter its suppression, see `Suppressed`; to explain differences by.

    Raises:
        ExportError: naming the output and the difference that is too large.
    """
    largest: dict[str, float] = {}
    seen = 0
    for images in batches:
        answer, given = answer_of(model, inputs, images), dict(zip(outputs, run(images), strict=True))
        if "counts" in given:
            found = detections_differ(model, answer, given, tolerance, candidates)
            seen += int(given["counts"].sum())
        else:
            found = tensors_differ(model, answer, given, tolerance)
        largest = {name: max(largest.get(name, 0.0), value) for name, value in found.items()}
    if "counts" in outputs and not seen:
        raise ExportError(
            f"nothing is found in any of {sum(map(len, batches))} images, so nothing was compared: pass images= "
            "(--images) in which there is something, or a model with a lower score_threshold"
        )
    return largest


def tensors_differ(model: SSD, answer: Answer, given: dict[str, Tensor], tolerance: Tolerance) -> dict[str, float]:
    """Largest absolute difference of each tensor."""
    boxes = scale_boxes(answer.boxes, model.preprocess.size, answer.size)
    wanted = {**answer._asdict(), "boxes": boxes}
    largest = {}
    for name, tensor in given.items():
        if tensor.shape != wanted[name].shape:
            raise ExportError(f"{name}: shape {tuple(tensor.shape)}, the detector's is {tuple(wanted[name].shape)}")
        limit = tolerance.relative * wanted[name].abs().max().item()
        difference = (tensor - wanted[name]).abs().max().item()
        if not difference <= limit:  # nor where it is not a number
            raise ExportError(
                f"{name} differs by {difference:.3g} from the detector in PyTorch, at most {limit:.3g} was expected "
                f"({tolerance.relative:g} of the largest)"
            )
        largest[name] = difference
    return largest


def detections_differ(
    model: SSD, answer: Answer, given: dict[str, Tensor], tolerance: Tolerance, candidates: int | None
) -> dict[str, float]:
    """Largest difference of boxes (pixels) and scores of detections that are the same, and how many are not."""
    found, wanted = detections_in(given), _detect(model, answer, answer.boxes, answer.scores)
    pairs = [match(mine, theirs, tolerance) for mine, theirs in zip(found, wanted, strict=True)]
    strays = sum(len(pair.found) + len(pair.wanted) for pair in pairs)
    if strays:
        strays = _unexplained(model, answer, found, pairs, tolerance)
    total = sum(len(detection["labels"]) for detection in (*found, *wanted))
    percent = 100 * strays / max(total, 1)
    if percent > tolerance.strays:
        raise ExportError(
            f"{strays} detections in the outputs boxes, scores and labels are not among those of the detector in "
            f"PyTorch, or the other way round, of {total} in {len(found)} images (expected: the same ones, boxes "
            f"within {tolerance.pixels:g} pixels, scores within {tolerance.score:g})"
            f"{_left_out(model, answer, candidates)}"
        )
    largest = {name: max(getattr(pair, name) for pair in pairs) for name in ("boxes", "scores")}
    return largest | {STRAY: percent}


def _left_out(model: SSD, answer: Answer, candidates: int | None) -> str:
    """What to do where suppression was not shown all that it may be."""
    above = int((answer.scores > model.postprocess.score_threshold).sum(dim=(1, 2)).max())
    if candidates is None or candidates >= candidates_of(model.postprocess, *answer.scores.shape[1:], above):
        return ""
    return (
        f"; {above} pairs of box and class of an image are above the score threshold, and {candidates} enter "
        f"suppression in the graph: try --candidates {above} (candidates=)"
    )


def detections_in(given: dict[str, Tensor]) -> list[Detection]:
    """Detections of each image from padded outputs, without the rows beyond their count.

    Raises:
        ExportError: if these are not zero.
    """
    counts = given["counts"].tolist()
    columns = {name: given[name] for name in ("boxes", "labels", "scores")}
    for name, column in columns.items():
        if any(rows[count:].any() for rows, count in zip(column, counts, strict=True)):
            raise ExportError(f"{name}: rows beyond an image's count are not zero")
    return [{name: column[k][:count] for name, column in columns.items()} for k, count in enumerate(counts)]


class Match(NamedTuple):
    """Rows that have no partner on the other side, and the largest difference of those that have."""

    found: Tensor
    wanted: Tensor
    boxes: float
    scores: float


def match(found: Detection, wanted: Detection, tolerance: Tolerance) -> Match:
    """Partners are of one label and within the tolerance, each other's nearest. Order is of no account: equal scores
    have none.
    """
    boxes = (found["boxes"][:, None] - wanted["boxes"]).abs().amax(dim=-1)  # [D, D]
    scores = (found["scores"][:, None] - wanted["scores"]).abs()
    same = found["labels"][:, None] == wanted["labels"]
    same &= (boxes <= tolerance.pixels) & (scores <= tolerance.score)
    if not same.any():
        return Match(torch.arange(len(found["labels"])), torch.arange(len(wanted["labels"])), 0.0, 0.0)
    cost = torch.where(same, boxes / tolerance.pixels + scores / tolerance.score, torch.inf)
    mutual = same & (cost == cost.amin(dim=0)) & (cost == cost.amin(dim=1, keepdim=True))
    alone = [(~mutual.any(dim=k)).nonzero().flatten() for k in (1, 0)]
    return Match(*alone, boxes[mutual].max().item(), scores[mutual].max().item())


def _unexplained(
    model: SSD, answer: Answer, found: Sequence[Detection], pairs: Sequence[Match], tolerance: Tolerance
) -> int:
    """How many detections without a partner are not a matter of rounding.

    Two boxes that score the same to six digits, or overlap by the threshold to as many: which of them stays is decided
    by the last bit. So the detector is asked again with its scores and boxes moved by a tenth of the tolerance, a few
    times. What it then says in some of the answers may be found, and what it says in all of them must be.
    """
    generator = torch.Generator().manual_seed(0)
    stray = [set(pair.found.tolist()) for pair in pairs]
    missing = [set(pair.wanted.tolist()) for pair in pairs]
    first = _detect(model, answer, answer.boxes, answer.scores)
    for _ in range(SHAKES):
        boxes = answer.boxes + tolerance.pixels / 10 * _noise(answer.boxes, generator)
        scores = answer.scores + tolerance.score / 10 * _noise(answer.scores, generator)
        for k, shaken in enumerate(_detect(model, answer, boxes, scores)):
            stray[k] &= set(match(found[k], shaken, tolerance).found.tolist())
            missing[k] -= set(match(first[k], shaken, tolerance).found.tolist())
    return sum(map(len, (*stray, *missing)))


def _noise(like: Tensor, generator: torch.Generator) -> Tensor:
    return 2 * torch.rand(like.shape, generator=generator) - 1


def _detect(model: SSD, answer: Answer, boxes: Tensor, scores: Tensor) -> list[Detection]:
    """Detections in pixels of the images that went in."""
    size = tuple(model.preprocess.size)
    found = model.postprocess(scores, boxes, size, answer.levels)
    return [{**detection, "boxes": scale_boxes(detection["boxes"], size, answer.size)} for detection in found]


def describe(path: Path, differences: dict[str, float]) -> str:
    """The table of differences, for people."""
    lines = [f"  {name:<20s} {value:.3g}" for name, value in differences.items()]
    return "\n".join([f"written: {path}", "largest difference from the detector in PyTorch:", *lines])
