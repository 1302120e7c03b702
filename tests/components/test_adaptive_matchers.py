"""ATSS, SimOTA and task alignment: by hand, and against slow oracles that go image by image, object by object."""

import math
import statistics

import pytest
import torch
from torch import Tensor
from torchvision.ops import box_iou

from detzoo.components import (
    MATCHERS,
    ATSSMatcher,
    BoxCoder,
    DefaultBoxGenerator,
    SimOTAMatcher,
    TaskAlignedMatcher,
    foreground_sigmoid,
    foreground_softmax,
)
from detzoo.lookup import build_part
from detzoo.structures import PaddedTargets, Predictions, pad_targets

SIZE, GRIDS, CLASSES = (160, 240), [(10, 15), (5, 7), (1, 2), (1, 1)], 4
GENERATOR = DefaultBoxGenerator(
    [
        [(0.1, 0.15), (0.14, 0.2)],
        [(0.2, 0.3), (0.3, 0.2), (0.3, 0.45)],
        [(0.5, 0.7), (0.7, 0.5)],
        [(0.9, 0.9)],
    ]
)
PER_CELL = GENERATOR.boxes_per_cell
LEVELS = tuple(rows * columns * count for (rows, columns), count in zip(GRIDS, PER_CELL))
SCORES = {"softmax": foreground_softmax, "sigmoid": foreground_sigmoid}
ADAPTIVE = ("atss", "sim_ota", "task_aligned")


def make(name: str, scores=foreground_softmax, per_cell: list[int] = PER_CELL, **options) -> torch.nn.Module:
    facts = {"coder": BoxCoder(), "scores": scores, "boxes_per_cell": per_cell}
    return build_part(MATCHERS, {"name": name, **options}, "matcher", **facts)


def crowd(seed: int, counts: tuple[int, ...]) -> tuple[Predictions, PaddedTargets]:
    """Objects of all sizes, some on top of each other, some too small for any cell, and a network with opinions."""
    generator = torch.Generator().manual_seed(seed)
    default_boxes = GENERATOR(GRIDS, SIZE)
    shape = (len(counts), len(default_boxes))
    logits = torch.randn(*shape, CLASSES, generator=generator) * 2
    deltas = torch.randn(*shape, 4, generator=generator) * 2
    targets = []
    for count in counts:
        centre = torch.rand(count, 2, generator=generator) * torch.tensor([240.0, 160.0])
        size = torch.exp(torch.rand(count, 2, generator=generator) * 4) * 3  # 3 to 160 pixels
        boxes = torch.cat((centre - size / 2, centre + size / 2), dim=1)
        if count > 4:
            boxes[1] = boxes[0] + 2
            boxes[3] = torch.tensor([80.3, 80.4, 80.9, 81.1])  # between the cells
        targets.append({"boxes": boxes, "labels": torch.randint(1, CLASSES, (count,), generator=generator)})
    return Predictions(logits, deltas, default_boxes, LEVELS), pad_targets(targets)


# ---- the oracles: one image, its objects [N, 4] without padding ----


def centre(box: list[float]) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def is_inside(default: list[float], box: list[float]) -> bool:
    x, y = centre(default)
    return box[0] < x < box[2] and box[1] < y < box[3]


def settled(chosen: list[set[int]], quality: list[list[float]], iou: list[list[float]]) -> list[int]:
    match = []
    for a in range(len(iou[0])):
        rivals = [n for n, boxes in enumerate(chosen) if a in boxes]
        match.append(max(rivals, key=lambda n: (quality[n][a], -n)) if rivals else -1)
    for n, boxes in enumerate(chosen):
        if not boxes:
            match[max(range(len(match)), key=lambda a: iou[n][a])] = n
    return match


def slow_atss(objects: Tensor, default_boxes: Tensor, candidates: int) -> list[int]:
    iou = box_iou(objects, default_boxes).tolist()
    defaults, chosen = default_boxes.tolist(), []
    for n, box in enumerate(objects.tolist()):
        picked, start = [], 0
        for size, count in zip(LEVELS, PER_CELL):
            level = range(start, start + size)
            picked += sorted(level, key=lambda a: math.dist(centre(defaults[a]), centre(box)))[: candidates * count]
            start += size
        overlaps = [iou[n][a] for a in picked]
        threshold = statistics.mean(overlaps) + statistics.stdev(overlaps)
        chosen.append({a for a in picked if iou[n][a] >= threshold and is_inside(defaults[a], box)})
    return settled(chosen, iou, iou)


def slow_sim_ota(objects: Tensor, labels: Tensor, default_boxes: Tensor, boxes: Tensor, scores: Tensor) -> list[int]:
    iou, defaults = box_iou(objects, boxes).tolist(), default_boxes.tolist()
    cells = [(240 / columns, 160 / rows) for rows, columns in GRIDS]
    # the steps to the right; a lone cell is near everything
    strides = [step[0] if grid != (1, 1) else math.inf for step, grid in zip(cells, GRIDS)]
    stride_of = [stride for stride, size in zip(strides, LEVELS) for _ in range(size)]
    chosen, costs = [], []
    for n, box in enumerate(objects.tolist()):
        cost = {}
        for a, default in enumerate(defaults):
            (x, y), (u, v) = centre(default), centre(box)
            near = max(abs(x - u), abs(y - v)) < 2.5 * stride_of[a]
            if not (near or is_inside(default, box)):
                continue
            wanted = torch.zeros(CLASSES - 1)
            wanted[labels[n] - 1] = 1
            entropy = torch.nn.functional.binary_cross_entropy(scores[a], wanted, reduction="sum").item()
            cost[a] = entropy - 3 * math.log(iou[n][a] + 1e-8) + 1e3 * (not (near and is_inside(default, box)))
        k = max(int(sum(sorted((iou[n][a] for a in cost), reverse=True)[:10])), 1)
        chosen.append(set(sorted(cost, key=cost.get)[:k]))
        costs.append([-cost.get(a, math.inf) for a in range(len(defaults))])
    return settled(chosen, costs, box_iou(objects, default_boxes).tolist())


def slow_task_aligned(
    objects: Tensor, labels: Tensor, default_boxes: Tensor, boxes: Tensor, scores: Tensor
) -> list[int]:
    iou, chosen = box_iou(objects, boxes).tolist(), []
    for n, box in enumerate(objects.tolist()):
        inside = [a for a, default in enumerate(default_boxes.tolist()) if is_inside(default, box)]
        metric = {a: scores[a, labels[n] - 1].item() * iou[n][a] ** 6 for a in inside}
        best = sorted(metric, key=metric.get, reverse=True)[:13]
        chosen.append({a for a in best if metric[a] > 0})
    return settled(chosen, iou, box_iou(objects, default_boxes).tolist())


def expected(name: str, predictions: Predictions, targets: PaddedTargets, scores) -> list[list[int]]:
    found = []
    for image in range(len(targets.mask)):
        objects, labels = (column[image][targets.mask[image]] for column in targets[:2])
        if not len(objects):
            found.append([-1] * len(predictions.default_boxes))
        elif name == "atss":
            found.append(slow_atss(objects, predictions.default_boxes, 9))
        else:
            oracle = {"sim_ota": slow_sim_ota, "task_aligned": slow_task_aligned}[name]
            boxes = BoxCoder().decode(predictions.deltas[image], predictions.default_boxes)
            said = scores(predictions.logits[image])
            found.append(oracle(objects, labels, predictions.default_boxes, boxes, said))
    return found


def test_all_are_tried():
    assert set(MATCHERS) == {"ssd", *ADAPTIVE}


@pytest.mark.parametrize("name", ADAPTIVE)
@pytest.mark.parametrize("meaning", SCORES)
@pytest.mark.parametrize("counts", [(6, 1, 0, 12), (0, 0), (1,), (40,)], ids=str)
def test_is_the_oracles(name, meaning, counts):
    predictions, targets = crowd(sum(counts), counts)
    found = make(name, SCORES[meaning])(predictions, targets)
    assert found.dtype == torch.int64 and found.shape == predictions.logits.shape[:2]
    assert found.tolist() == expected(name, predictions, targets, SCORES[meaning])
    assert (found >= 0).any(dim=1).tolist() == [count > 0 for count in counts]


# ---- by hand ----

ROW = torch.tensor([[10.0 * k, 0, 10 * k + 10, 10] for k in range(6)])  # six squares of ten pixels, stride ten


def row_of(logits: Tensor | None = None, deltas: Tensor | None = None) -> Predictions:
    logits = torch.zeros(1, 6, 3) if logits is None else logits
    return Predictions(logits, torch.zeros(1, 6, 4) if deltas is None else deltas, ROW, (6,))


def objects(*boxes: list[float], labels: list[int] | None = None) -> PaddedTargets:
    labels = [1] * len(boxes) if labels is None else labels
    return pad_targets([{"boxes": torch.tensor(boxes), "labels": torch.tensor(labels)}])


def test_atss_by_hand():
    # candidates are boxes 1, 2 and 3 with IoUs 1/4 (5 of 20 pixels wide), 1/2 and 1/4
    wide = objects([15.0, 0, 35, 10])
    overlaps = [5 / 25, 10 / 20, 5 / 25]
    assert statistics.mean(overlaps) + statistics.stdev(overlaps) < 0.5
    assert ATSSMatcher([1], candidates=3)(row_of(), wide).tolist() == [[-1, -1, 0, -1, -1, -1]]
    # with five, two of no overlap, the threshold sinks, but the neighbours' centres are on the rim
    assert ATSSMatcher([1], candidates=5)(row_of(), wide).tolist() == [[-1, -1, 0, -1, -1, -1]]


def test_atss_wants_the_centre_inside():
    # overlaps 0 and 1 by a third; centres at 5 and 15 are outside of [6, 14]: the best one is kept all the same
    assert ATSSMatcher([1], candidates=2)(row_of(), objects([6.0, 0, 14, 10])).tolist() == [[0, -1, -1, -1, -1, -1]]


def test_atss_takes_whole_cells():
    """Two shapes a cell: one candidate cell means both of its boxes."""
    boxes = ROW.repeat_interleave(2, dim=0)
    boxes[1::2, 3] = 4
    predictions = Predictions(torch.zeros(1, 12, 3), torch.zeros(1, 12, 4), boxes, (12,))
    found = ATSSMatcher([2], candidates=1)(predictions, objects([20.0, 0, 30, 4]))
    assert found.nonzero().tolist() and (found == 0).nonzero().tolist() == [[0, 5]]


def test_atss_of_a_single_box():
    single = Predictions(torch.zeros(1, 1, 3), torch.zeros(1, 1, 4), ROW[:1], (1,))
    assert ATSSMatcher([1])(single, objects([0.0, 0, 9, 9])).tolist() == [[0]]


def test_sim_ota_counts_as_many_boxes_as_there_are_good_ones():
    wide = objects([0.0, 0, 60, 10])
    # as they are, the six boxes overlap it by 1/6 each: one box, and of equals the first
    found = SimOTAMatcher(BoxCoder(), foreground_sigmoid, [1], radius=9)(row_of(), wide)
    assert (found >= 0).sum() == 1
    # boxes 2 and 3 know the object: each says a box that covers 5/6 of it, and so do 1 and 4 with 2/3: three boxes
    coder, deltas = BoxCoder(), torch.zeros(1, 6, 4)
    said = torch.tensor([[0.0, 0, 50, 10], [10, 0, 60, 10], [0, 0, 40, 10], [20, 0, 60, 10]])
    deltas[0, [2, 3, 1, 4]] = coder.encode(said, ROW[[2, 3, 1, 4]])
    found = SimOTAMatcher(coder, foreground_sigmoid, [1], radius=9)(row_of(deltas=deltas), wide)
    assert found[0, 2:4].tolist() == [0, 0] and (found >= 0).sum() == 3  # int(5/3 + 4/3 + 2/6)


def test_sim_ota_prefers_the_box_that_names_the_class():
    logits = torch.zeros(1, 6, 3)
    logits[0, 4, 2] = 2.0  # box 4 says class 2
    wide = objects([0.0, 0, 60, 10], labels=[2])
    matcher = SimOTAMatcher(BoxCoder(), foreground_softmax, [1], radius=9)
    assert matcher(row_of(logits), wide).tolist() == [[-1, -1, -1, -1, 0, -1]]


def test_sim_ota_stays_near_the_centre():
    logits = torch.zeros(1, 6, 3)
    logits[0, 0, 1] = 9.0  # sure of the class, 25 pixels from the centre
    wide = objects([0.0, 0, 60, 10])
    options = {"coder": BoxCoder(), "scores": foreground_softmax, "boxes_per_cell": [1]}
    assert SimOTAMatcher(**options, radius=2.6)(row_of(logits), wide)[0, 0] == 0
    assert SimOTAMatcher(**options, radius=2.4)(row_of(logits), wide)[0, 0] == -1


def test_task_alignment_needs_both_score_and_overlap():
    logits = torch.full((1, 6, 3), -3.0)
    logits[0, 1, 1] = logits[0, 3, 2] = 3.0  # box 1 names the class, 3 names another
    coder, deltas = BoxCoder(), torch.zeros(1, 6, 4)
    deltas[0, 1:4] = coder.encode(torch.tensor([[0.0, 0, 60, 9], [0, 0, 60, 10], [0, 0, 60, 10]]), ROW[1:4])
    wide, predictions = objects([0.0, 0, 60, 10]), row_of(logits, deltas)
    found = TaskAlignedMatcher(coder, foreground_sigmoid, top_k=1)(predictions, wide)
    assert found.tolist() == [[-1, 0, -1, -1, -1, -1]], "0.95 * 0.9^6 is more than 0.05"
    found = TaskAlignedMatcher(coder, foreground_sigmoid, alpha=0, top_k=2)(predictions, wide)
    assert found.tolist() == [[-1, -1, 0, 0, -1, -1]], "of overlap alone"


# ---- what every matcher promises ----


@pytest.mark.parametrize("name", MATCHERS)
def test_padding_and_neighbours_do_not_count(name):
    predictions, targets = crowd(3, (5, 9, 0))
    together = make(name)(predictions, targets)
    for image, count in enumerate((5, 9, 0)):
        width = max(count, 1)
        alone = PaddedTargets(*(column[image : image + 1, :width] for column in targets))
        one = predictions._replace(
            logits=predictions.logits[image : image + 1], deltas=predictions.deltas[image : image + 1]
        )
        assert torch.equal(make(name)(one, alone)[0], together[image])
    # what stands in padding is nothing, even where it would be a perfect object
    targets.boxes[2], targets.labels[2] = predictions.default_boxes[:9], 1
    assert torch.equal(make(name)(predictions, targets), together)


@pytest.mark.parametrize("name", MATCHERS)
def test_no_object_at_all(name):
    predictions, targets = crowd(0, (0, 0))
    assert (make(name)(predictions, targets) == -1).all()


@pytest.mark.parametrize("name", MATCHERS)
def test_an_object_no_cell_can_see_keeps_its_best_box(name):
    predictions, _ = crowd(0, (0,))
    tiny = objects([120.2, 80.2, 120.8, 80.6])
    best = box_iou(tiny.boxes[0], predictions.default_boxes).argmax()
    found = make(name)(predictions, tiny)
    assert (found >= 0).any()
    if name != "sim_ota":  # whose centre region lends it boxes
        assert (found >= 0).nonzero().tolist() == [[0, best.item()]]


@pytest.mark.parametrize("name", MATCHERS)
def test_twins_share(name):
    """Two objects in one place: a default box goes to one of them, no index is out of range."""
    predictions, _ = crowd(0, (0,))
    twins = objects([60.0, 40, 140, 110], [60.0, 40, 140, 110], labels=[1, 2])
    found = make(name)(predictions, twins)
    assert set(found.unique().tolist()) <= {-1, 0, 1} and (found >= 0).any()


@pytest.mark.parametrize("name", MATCHERS)
@pytest.mark.parametrize("wild", [1e4, 1e30, torch.inf, torch.nan])
def test_wild_predictions_give_indices_all_the_same(name, wild):
    predictions, targets = crowd(0, (5, 2))
    predictions.deltas[:, ::2] = wild
    predictions.logits[:, ::3] = -wild
    found = make(name)(predictions, targets)
    assert found.min() >= -1 and found[0].max() < 5 and found[1].max() < 2


@pytest.mark.parametrize("name", MATCHERS)
def test_half_precision_is_compared_in_float32(name):
    predictions, targets = crowd(1, (7, 3))
    logits, deltas = predictions.logits.bfloat16(), predictions.deltas.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = make(name)(predictions._replace(logits=logits, deltas=deltas), targets)
    assert torch.equal(found, make(name)(predictions._replace(logits=logits.float(), deltas=deltas.float()), targets))


@pytest.mark.parametrize("name", ADAPTIVE)
def test_no_gradient(name):
    predictions, targets = crowd(1, (7, 3))
    predictions.deltas.requires_grad_()
    assert not make(name)(predictions, targets).requires_grad


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("atss", {"candidates": 0}, "ATSSMatcher: candidates must be at least 1, got 0"),
        ("sim_ota", {"radius": 0}, "expected iou_weight >= 0, radius > 0 and top_k >= 1, got 3.0, 0 and 10"),
        ("sim_ota", {"top_k": 0}, "got 3.0, 2.5 and 0"),
        ("sim_ota", {"iou_weight": -1}, "got -1, 2.5 and 10"),
        ("task_aligned", {"beta": -1}, "expected alpha and beta >= 0 and top_k >= 1, got 1.0, -1 and 13"),
        ("task_aligned", {"top_k": 0}, "got 1.0, 6.0 and 0"),
    ],
)
def test_options_out_of_range(name, options, message):
    with pytest.raises(ValueError) as caught:
        make(name, **options)
    assert message in str(caught.value)
