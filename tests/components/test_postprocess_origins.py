"""From scores to detections as published detectors go: each one's rule in a plain loop, and the options that say it."""

import pytest
import torch
from torch import Tensor

from detzoo.components import Postprocess
from detzoo.ops import below

HEIGHT, WIDTH = 300, 240
LEVELS = (192, 48, 12)  # default boxes of three maps
Row = tuple[float, int, int]  # score, number of the default box, label
Box = list[float]


def scene(seed: int) -> tuple[Tensor, Tensor]:
    """Scores [2, 252, 6] with background first, sure of some objects and of nothing else; boxes [2, 252, 4] around
    their cells, some beyond the image, some without an area inside.
    """
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    logits, boxes = noise(2, sum(LEVELS), 6) * 1.2, []
    logits[..., 0] += 4
    logits[:, ::7, 0] -= 5
    for cells, shape in ((8, 25.0), (4, 70.0), (2, 150.0)):
        centre = (torch.arange(cells) + 0.5) / cells
        at = torch.cartesian_prod(centre * WIDTH, centre * HEIGHT).repeat_interleave(3, dim=0)
        middle = at + noise(2, len(at), 2) * shape / 4
        half = (noise(2, len(at), 2) * 0.4).exp() * shape / 2
        boxes.append(torch.cat((middle - half, middle + half), dim=-1))
    boxes = torch.cat(boxes, dim=1)
    boxes[:, 3::10, 2:] = boxes[:, 3::10, :2] + (boxes[:, 3::10, 2:] - boxes[:, 3::10, :2]) * 0.03  # a few pixels
    boxes[:, 4::10] = boxes[:, 3::10][:, : len(boxes[0, 4::10])] + 0.3  # beside them
    boxes[:, 21::40, 0::2] -= 2 * WIDTH
    return logits.softmax(dim=-1), boxes


def check(found: list[dict], expected: list[list[Row]], boxes: Tensor) -> None:
    assert len(found) == len(expected) == 2
    for ours, rows, image_boxes in zip(found, expected, boxes, strict=True):
        assert len(rows) > 15
        rows = sorted(rows, reverse=True)
        assert ours["labels"].tolist() == [label for *_, label in rows]
        torch.testing.assert_close(ours["scores"], torch.tensor([score for score, *_ in rows]))
        torch.testing.assert_close(ours["boxes"], image_boxes[[number for _, number, _ in rows]])


def by_class(scores: Tensor, threshold: float) -> dict[int, list[Row]]:
    """Of one image, [A, C]: the rows above the threshold of each class but background, best first."""
    rows = {}
    for label in range(1, scores.shape[1]):
        column = scores[:, label].tolist()
        rows[label] = sorted(
            ((score, number, label) for number, score in enumerate(column) if score > threshold), reverse=True
        )
    return rows


def overlap(one: Box, other: Box, margin: float = 0.0) -> float:
    width = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    height = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return width * height / (sum(areas) - width * height + margin)


def amdegroot(scores: Tensor, boxes: list[Box]) -> list[Row]:
    """Of each class the 200 best above .01; the best goes out and takes with it what overlaps it by more than .45."""
    kept = []
    for rows in by_class(scores, 0.01).values():
        rows = rows[:200]
        while rows:
            kept.append(rows[0])
            rows = [row for row in rows[1:] if not overlap(boxes[rows[0][1]], boxes[row[1]]) > 0.45]
    return kept


def pytorch_ssd(scores: Tensor, boxes: list[Box]) -> list[Row]:
    """As before, in coordinates from 0 to 1 and with 1e-5 more in each union."""
    boxes = [[x1 / WIDTH, y1 / HEIGHT, x2 / WIDTH, y2 / HEIGHT] for x1, y1, x2, y2 in boxes]
    kept = []
    for rows in by_class(scores, 0.01).values():
        rows = rows[:200]
        while rows:
            kept.append(rows[0])
            rows = [row for row in rows[1:] if overlap(boxes[rows[0][1]], boxes[row[1]], 1e-5) <= 0.45]
    return kept


def without_top_k(limit: int):
    """lufficc (100) and sgrvinod (200): every box above .01 enters; so many of the image come out."""

    def rule(scores: Tensor, boxes: list[Box]) -> list[Row]:
        kept = []
        for rows in by_class(scores, 0.01).values():
            suppressed: set[int] = set()
            for place, row in enumerate(rows):
                if row[1] in suppressed:
                    continue
                kept.append(row)
                suppressed |= {
                    worse[1] for worse in rows[place + 1 :] if overlap(boxes[row[1]], boxes[worse[1]]) > 0.45
                }
        return sorted(kept, reverse=True)[:limit]

    return rule


def caffe(scores: Tensor, boxes: list[Box]) -> list[Row]:
    """Of each class the 400 best above .01; one stays if it overlaps all that stayed by .45 at most; 200 of all."""
    kept = []
    for rows in by_class(scores, 0.01).values():
        stayed: list[Row] = []
        for row in rows[:400]:
            if all(overlap(boxes[row[1]], boxes[better[1]]) <= 0.45 for better in stayed):
                stayed.append(row)
        kept += stayed
    return sorted(kept, reverse=True)[:200]


def nvidia(scores: Tensor, boxes: list[Box]) -> list[Row]:
    """Above .05; what stays overlaps the better ones by less than .5, and .5 itself is too much."""
    kept = []
    for rows in by_class(scores, 0.05).values():
        rows = rows[:200]
        while rows:
            kept.append(rows[0])
            rows = [row for row in rows[1:] if overlap(boxes[rows[0][1]], boxes[row[1]]) < 0.5]
    return sorted(kept, reverse=True)[:200]


def mmdetection(per_level: int):
    """Above .02, the best pairs of box and class of each map; boxes clipped; those without area go; .45; 200."""

    def rule(scores: Tensor, boxes: list[Box]) -> list[Row]:
        pairs = sorted((row for rows in by_class(scores, 0.02).values() for row in rows), reverse=True)
        starts = (0, LEVELS[0], LEVELS[0] + LEVELS[1])
        taken = []
        for start, count in zip(starts, LEVELS, strict=True):
            taken += [row for row in pairs if start <= row[1] < start + count][:per_level]
        boxes = [[min(max(v, 0), (WIDTH, HEIGHT)[k % 2]) for k, v in enumerate(box)] for box in boxes]
        taken = [row for row in taken if overlap([0, 0, WIDTH, HEIGHT], boxes[row[1]]) > 0]
        kept: list[Row] = []
        for row in sorted(taken, reverse=True):
            better = [boxes[other[1]] for other in kept if other[2] == row[2]]
            if all(overlap(boxes[row[1]], box) <= 0.45 for box in better):
                kept.append(row)
        return kept[:200]

    return rule


def dive_into_deep_learning(scores: Tensor, boxes: list[Box]) -> list[Row]:
    """Each box is of its best class, or of the first of them; all suppress all at .5; then scores under .01 go."""
    best, label = scores[:, 1:].max(dim=1)
    rows = sorted(zip(best.tolist(), range(len(best)), (label + 1).tolist(), strict=True), reverse=True)
    kept: list[Row] = []
    for row in rows:
        if all(overlap(boxes[row[1]], boxes[better[1]]) <= 0.5 for better in kept):
            kept.append(row)
    return [row for row in kept if not row[0] < AT_LEAST]


AT_LEAST = torch.tensor(0.00999999).item()
UNCLIPPED = {"clip": False, "detections_per_image": None}
MMDETECTION = {"score_threshold": 0.02, "top_k_per": "level", "drop_empty": True}
ORIGINS = {
    "amdegroot": (amdegroot, {**UNCLIPPED, "top_k": 200}),
    "pytorch-ssd": (pytorch_ssd, {**UNCLIPPED, "top_k": 200, "union_margin": 1e-5}),
    "lufficc": (without_top_k(100), {**UNCLIPPED, "top_k": None, "detections_per_image": 100}),
    "sgrvinod": (without_top_k(200), {**UNCLIPPED, "top_k": None, "detections_per_image": 200}),
    "caffe": (caffe, {"clip": False}),
    "nvidia": (nvidia, {"clip": False, "top_k": 200, "score_threshold": 0.05, "iou_threshold": below(0.5)}),
    "mmdetection": (mmdetection(1000), {**MMDETECTION, "top_k": 1000}),
    "mmdetection, 40": (mmdetection(40), {**MMDETECTION, "top_k": 40}),
    "d2l": (dive_into_deep_learning, {**UNCLIPPED, "top_k": None, "best_class_only": True, "class_agnostic": True,
                                      "score_threshold": below(AT_LEAST), "iou_threshold": 0.5}),
}  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("origin", ORIGINS)
def test_is_the_origins(origin, seed):
    rule, options = ORIGINS[origin]
    scores, boxes = scene(seed)
    if origin == "nvidia":  # two of one class that overlap by exactly .5
        boxes[:, 0], boxes[:, 1] = torch.tensor([0.0, 0, 32, 16]), torch.tensor([0.0, 0, 16, 16])
        scores[:, 0, 1], scores[:, 1, 1] = 0.99, 0.98
    found = Postprocess(**options)(scores[..., 1:], boxes, (HEIGHT, WIDTH), LEVELS)
    expected = [rule(*image) for image in zip(scores, boxes.tolist(), strict=True)]
    clipped = boxes
    if options.get("clip", True):
        clipped = boxes.clamp(min=0).minimum(torch.tensor([WIDTH, HEIGHT, WIDTH, HEIGHT]))
    check(found, expected, clipped)


@pytest.mark.parametrize(
    ("origin", "option", "usual"),
    [
        ("amdegroot", "detections_per_image", 100),
        ("pytorch-ssd", "union_margin", 0.0),
        ("lufficc", "top_k", 20),
        ("lufficc", "clip", True),
        ("mmdetection, 40", "top_k_per", "class"),
        ("mmdetection, 40", "top_k_per", "image"),
        ("mmdetection", "drop_empty", False),
        ("d2l", "class_agnostic", False),
    ],
)
def test_the_scene_shows_each_option(origin, option, usual):
    """Without the option the detections are others: the scene has what the option is about."""
    _, options = ORIGINS[origin]
    scores, boxes = scene(0)
    arguments = (scores[..., 1:], boxes, (HEIGHT, WIDTH), LEVELS)
    right, wrong = (Postprocess(**choice)(*arguments) for choice in (options, {**options, option: usual}))
    assert any(ours["scores"].tolist() != theirs["scores"].tolist() for ours, theirs in zip(right, wrong, strict=True))


def test_strictly_less_is_the_next_smaller_threshold():
    boxes = torch.tensor([[[0.0, 0, 32, 16], [0, 0, 16, 16]]])
    scores = torch.tensor([[[0.9], [0.8]]])
    for threshold, count in ((0.5, 2), (below(0.5), 1)):
        assert len(Postprocess(iou_threshold=threshold)(scores, boxes, (50, 50))[0]["scores"]) == count


@pytest.mark.parametrize("value", [0.01, 0.3, 0.45, 0.5, 1 / 3, 1.0, 1e-8, 0.00999999])
def test_below_is_at_least(value):
    exact = torch.tensor(value)
    smaller, larger = torch.nextafter(exact, torch.tensor(0.0)), torch.nextafter(exact, torch.tensor(2.0))
    scores = torch.stack((smaller, exact, larger))
    assert (scores > below(value)).tolist() == (scores >= value).tolist() == [False, True, True]
    assert (scores > value).tolist() == [False, False, True]
    Postprocess(score_threshold=below(value))


@pytest.mark.parametrize("value", [0.0, -0.1, float("nan")])
def test_nothing_is_below_zero(value):
    with pytest.raises(ValueError, match="only what is positive has a threshold below it"):
        below(value)
