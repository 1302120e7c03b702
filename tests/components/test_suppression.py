"""Every kind of suppression against the textbook's loop over images, classes and boxes, and at the edges."""

import math

import pytest
import torch
from torch import Tensor

from detzoo.components import POSTPROCESSES, MatrixNMS, Postprocess, SoftNMS
from detzoo.components import suppression as module
from detzoo.components.suppression import pairs_in_groups
from detzoo.lookup import build_part

SIZE = (130, 120)
KINDS = {
    "nms": {"name": "nms"},
    "diou_nms": {"name": "diou_nms"},
    "soft_nms, linear": {"name": "soft_nms"},
    "soft_nms, gaussian": {"name": "soft_nms", "method": "gaussian"},
    "soft_nms, gaussian from 0.3 on": {"name": "soft_nms", "method": "gaussian", "sigma": 0.3, "iou_threshold": 0.3},
    "matrix_nms, linear": {"name": "matrix_nms"},
    "matrix_nms, gaussian": {"name": "matrix_nms", "method": "gaussian"},
    "matrix_nms, linear from 0.4 on": {"name": "matrix_nms", "iou_threshold": 0.4},
}
DECAYING = [kind for kind in KINDS if not kind.startswith(("nms", "diou"))]


def build(kind: str, **options) -> Postprocess:
    return build_part(POSTPROCESSES, {**KINDS[kind], **options}, "postprocess")


def crowd(seed: int = 0, images: int = 3, count: int = 30, classes: int = 2) -> tuple[Tensor, Tensor]:
    """Scores [B, A, C - 1] and boxes [B, A, 4] that overlap a lot."""
    generator = torch.Generator().manual_seed(seed)
    corner, size = torch.rand(2, images, count, 2, generator=generator)
    boxes = torch.cat((corner * 60, corner * 60 + size * 50 + 2), dim=-1)
    return torch.rand(images, count, classes, generator=generator) ** 2, boxes


# ---- the textbook ----


MARGIN = {"union": 0.0}  # square pixels in each union


def iou(one: list[float], other: list[float]) -> float:
    sides = [max(0.0, min(one[k + 2], other[k + 2]) - max(one[k], other[k])) for k in (0, 1)]
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return sides[0] * sides[1] / (sum(areas) - sides[0] * sides[1] + MARGIN["union"])


def diou(one: list[float], other: list[float]) -> float:
    diagonal = sum((max(one[k + 2], other[k + 2]) - min(one[k], other[k])) ** 2 for k in (0, 1))
    apart = sum(((one[k] + one[k + 2] - other[k] - other[k + 2]) / 2) ** 2 for k in (0, 1))
    return iou(one, other) - apart / diagonal


def left_over(postprocess: Postprocess, overlap: float) -> float:
    if overlap <= postprocess.iou_threshold:
        return 1.0
    return 1 - overlap if postprocess.method == "linear" else math.exp(-(overlap**2) / postprocess.sigma)


def greedy(postprocess: Postprocess, boxes: list, scores: list, measure=iou) -> list[tuple[int, float]]:
    kept: list[int] = []
    for k in range(len(boxes)):  # best first
        if all(measure(boxes[better], boxes[k]) <= postprocess.iou_threshold for better in kept):
            kept.append(k)
    return [(k, scores[k]) for k in kept]


def greedy_diou(postprocess: Postprocess, boxes: list, scores: list) -> list[tuple[int, float]]:
    return greedy(postprocess, boxes, scores, diou)


def soft(postprocess: Postprocess, boxes: list, scores: list) -> list[tuple[int, float]]:
    left, taken = dict(enumerate(scores)), []
    while left:
        best = max(left, key=lambda k: left[k])
        taken.append((best, left.pop(best)))
        left = {k: score * left_over(postprocess, iou(boxes[best], boxes[k])) for k, score in left.items()}
    return [(k, score) for k, score in taken if score > postprocess.final_threshold]


def matrix(postprocess: Postprocess, boxes: list, scores: list) -> list[tuple[int, float]]:
    lowered, spared = [], []  # f of the largest overlap with a better box
    for j, score in enumerate(scores):
        left = [left_over(postprocess, iou(boxes[i], boxes[j])) for i in range(j)]
        factors = [ours / theirs for ours, theirs in zip(left, spared, strict=True) if theirs > 0]
        lowered.append((j, score * min(factors, default=1.0)))
        spared.append(min(left, default=1.0))
    return [(k, score) for k, score in lowered if score > postprocess.final_threshold]


TEXTBOOK = {"nms": greedy, "diou_nms": greedy_diou, "soft_nms": soft, "matrix_nms": matrix}


def by_the_book(kind: str, postprocess: Postprocess, scores: Tensor, boxes: Tensor) -> list[list[tuple]]:
    """For each image, (box number, label, score), best first."""
    suppress, found = TEXTBOOK[KINDS[kind]["name"]], []
    for image_scores, image_boxes in zip(scores.double(), boxes.double(), strict=True):
        every = [
            (float(image_scores[k, c]), k, c + 1)
            for k in range(len(image_boxes))
            for c in range(image_scores.shape[1])
            if image_scores[k, c] > postprocess.score_threshold
        ]
        every.sort(key=lambda row: -row[0])
        place = {row[1:]: n for n, row in enumerate(every)}
        classes = [range(1, image_scores.shape[1] + 1)] if postprocess.class_agnostic else None
        classes = classes or [[label] for label in range(1, image_scores.shape[1] + 1)]
        rows = []
        for members in classes:
            some = [row for row in every if row[2] in members][: postprocess.top_k]
            left = suppress(postprocess, [image_boxes[k].tolist() for _, k, _ in some], [row[0] for row in some])
            rows += [(some[n][1], some[n][2], score) for n, score in left]
        found.append(sorted(rows, key=lambda row: (-row[2], place[row[:2]]))[: postprocess.detections_per_image])
    return found


def check(postprocess: Postprocess, kind: str, scores: Tensor, boxes: Tensor, *, least: int = 1) -> None:
    found = postprocess(scores, boxes, SIZE)
    expected = by_the_book(kind, postprocess, scores, boxes)
    assert len(found) == len(expected) == len(scores)
    for image, (ours, book) in enumerate(zip(found, expected, strict=True)):
        assert len(book) >= least
        assert ours["labels"].tolist() == [label for _, label, _ in book]
        torch.testing.assert_close(ours["boxes"], boxes[image, [k for k, _, _ in book]])
        expected_scores = torch.tensor([score for *_, score in book])
        torch.testing.assert_close(ours["scores"].float(), expected_scores, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("class_agnostic", [False, True], ids=["by class", "class-agnostic"])
@pytest.mark.parametrize("kind", KINDS)
def test_is_the_textbooks(kind, class_agnostic):
    scores, boxes = crowd()
    postprocess = build(kind, class_agnostic=class_agnostic, top_k=40)
    check(postprocess, kind, scores, boxes, least=10)
    everything = Postprocess(class_agnostic=class_agnostic, top_k=40, iou_threshold=1)(scores, boxes, SIZE)[0]
    assert not torch.equal(everything["scores"], postprocess(scores, boxes, SIZE)[0]["scores"].to(everything["scores"]))


@pytest.mark.parametrize("kind", KINDS)
def test_a_margin_of_the_union(kind, monkeypatch):
    scores, boxes = crowd(seed=7)
    monkeypatch.setitem(MARGIN, "union", 0.02 * SIZE[0] * SIZE[1])
    check(build(kind, union_margin=0.02), kind, scores, boxes, least=10)
    less, more = (build(kind, union_margin=margin)(scores, boxes, SIZE)[0]["scores"].sum() for margin in (0, 0.02))
    assert more > less, "boxes overlap less"


@pytest.mark.parametrize("kind", KINDS)
def test_a_margin_spares_boxes_without_area(kind):
    boxes = torch.tensor([[[10.0, 10, 10, 30], [10, 10, 10, 30], [20, 20, 20, 20]]])
    scores = torch.tensor([0.9, 0.8, 0.7])[None, :, None]
    torch.testing.assert_close(build(kind, union_margin=1e-5)(scores, boxes, SIZE)[0]["scores"], scores[0, :, 0])


@pytest.mark.parametrize("limit", [1, 3, 7])
@pytest.mark.parametrize("kind", KINDS)
def test_the_best_few_are_the_textbooks(kind, limit):
    """Suppression starts with five times as many boxes as may leave; lowered scores may need more."""
    check(build(kind, detections_per_image=limit), kind, *crowd(seed=1))


@pytest.mark.parametrize("kind", KINDS)
def test_all_of_one_class(kind):
    check(build(kind), kind, *crowd(seed=2, classes=1))


@pytest.mark.parametrize("kind", KINDS)
def test_equal_scores(kind):
    scores, boxes = crowd(seed=3, images=1, count=30, classes=1)
    check(build(kind), kind, torch.full_like(scores, 0.5), boxes)


@pytest.mark.parametrize("kind", KINDS)
def test_identical_boxes_and_one_that_stands_apart(kind):
    boxes = torch.tensor([[[10.0, 10, 30, 30]] * 4 + [[60, 60, 90, 80]]])
    scores = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5])[None, :, None]
    found = build(kind)(scores, boxes, SIZE)[0]
    if "gaussian" not in kind:  # which leaves exp(-1 / sigma) of a score
        torch.testing.assert_close(found["scores"], torch.tensor([0.9, 0.5]))
    check(build(kind), kind, scores, boxes)
    assert found["scores"].isfinite().all() and found["boxes"][0].tolist() == [10, 10, 30, 30]


@pytest.mark.parametrize("kind", KINDS)
def test_one_box_and_none(kind):
    boxes = torch.tensor([[[10.0, 10, 30, 30]], [[20, 20, 50, 50]]])
    one, nothing = build(kind, score_threshold=0.3)(torch.tensor([[[0.5]], [[0.2]]]), boxes, SIZE)
    assert one["scores"].tolist() == [0.5] and one["boxes"].tolist() == [[10, 10, 30, 30]]
    assert [tuple(nothing[name].shape) for name in ("boxes", "labels", "scores")] == [(0, 4), (0,), (0,)]
    nowhere = build(kind, score_threshold=0.9)(torch.tensor([[[0.5]], [[0.2]]]), boxes, SIZE)
    assert [len(found["scores"]) for found in nowhere] == [0, 0]
    no_boxes = build(kind)(torch.zeros(2, 0, 3), torch.zeros(2, 0, 4), SIZE)
    assert [len(found["labels"]) for found in no_boxes] == [0, 0]
    assert build(kind)(torch.zeros(0, 5, 3), torch.zeros(0, 5, 4), SIZE) == []


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_alone_and_in_a_batch(kind):
    scores, boxes = crowd(seed=4)
    scores[1] = 0  # nothing is found there
    scores[2, 5:] = 0
    postprocess = build(kind, detections_per_image=20)
    together = postprocess(scores, boxes, SIZE)
    again = postprocess(scores, boxes, SIZE)
    for image, found in enumerate(together):
        alone = postprocess(scores[image : image + 1], boxes[image : image + 1], SIZE)[0]
        for name, column in found.items():
            assert torch.equal(column, alone[name]) and torch.equal(column, again[image][name])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_scores(kind, dtype):
    scores, boxes = crowd(seed=5)
    check(build(kind), kind, scores.to(dtype), boxes)
    found = build(kind)(scores.to(dtype), boxes, SIZE)[0]
    assert found["scores"].dtype == (torch.float32 if kind in DECAYING else dtype)


def test_classes_that_suppress_one_another():
    boxes = torch.tensor([[[10.0, 10, 30, 30], [11, 10, 31, 30], [60, 60, 90, 80]]])
    scores = torch.tensor([[[0.6, 0.5], [0.1, 0.9], [0.4, 0.0]]])
    for kind in ("nms", "diou_nms"):
        found = build(kind, class_agnostic=True)(scores, boxes, SIZE)[0]
        torch.testing.assert_close(found["scores"], torch.tensor([0.9, 0.4]))
        assert found["labels"].tolist() == [2, 1]
        assert len(build(kind)(scores, boxes, SIZE)[0]["scores"]) == 3
    limited = build("nms", class_agnostic=True, top_k=2)(scores, boxes, SIZE)[0]
    assert limited["labels"].tolist() == [2], "where classes are one group, top_k is of all of them"


@pytest.mark.parametrize("kind", KINDS)
def test_clipping_is_before_suppression_or_not_at_all(kind):
    # apart outside of the image, the same inside
    boxes = torch.tensor([[[-80.0, 10, 30, 30], [-5, 10, 30, 30]]])
    scores = torch.tensor([[[0.9], [0.8]]])
    clipped, plain = (build(kind, clip=clip)(scores, boxes, SIZE)[0] for clip in (True, False))
    assert clipped["boxes"][0].tolist() == [0, 10, 30, 30]
    assert plain["boxes"].tolist() == boxes[0].tolist(), "their IoU is 35 / 110"
    assert clipped["scores"][1:].sum() < plain["scores"][1:].sum()


def test_diou_spares_what_has_another_centre():
    boxes = torch.tensor([[[0.0, 0, 40, 40], [0, 0, 40, 24], [60, 0, 100, 40], [60, 8, 100, 32]]])
    scores = torch.tensor([0.9, 0.8, 0.7, 0.6])[None, :, None]  # both pairs have an IoU of 0.6
    found = build("diou_nms", iou_threshold=0.59)(scores, boxes, SIZE)[0]
    torch.testing.assert_close(found["scores"], torch.tensor([0.9, 0.8, 0.7]))
    assert len(build("nms", iou_threshold=0.59)(scores, boxes, SIZE)[0]["scores"]) == 2


def test_soft_suppression_by_hand():
    """A chain: the second box overlaps the first by 0.6, the third the second by 0.6 and the first by 1 / 3."""
    boxes = torch.tensor([[[0.0, 0, 100, 10], [25, 0, 125, 10], [50, 0, 150, 10]]])
    scores = torch.tensor([0.9, 0.8, 0.5])[None, :, None]
    found = SoftNMS(clip=False)(scores, boxes, SIZE)[0]  # the third is taken second: 0.8 * 0.4 < 0.5 * 2 / 3
    torch.testing.assert_close(found["scores"], torch.tensor([0.9, 0.5 * 2 / 3, 0.8 * 0.4 * 0.4]))
    assert found["boxes"][:, 0].tolist() == [0, 50, 25]
    found = MatrixNMS(clip=False)(scores, boxes, SIZE)[0]  # the second was suppressed to 0.4, so its 0.4 counts as 1
    torch.testing.assert_close(found["scores"], torch.tensor([0.9, 0.5 * 2 / 3, 0.8 * 0.4]))


def test_thresholds_before_and_after():
    scores, boxes = torch.tensor([0.9, 0.8, 0.3])[None, :, None], torch.tensor([[[0.0, 0, 10, 10]] * 3])
    boxes[0, 1] += torch.tensor([0, 0, 0, 2.5])  # an IoU of 0.8 with the first: 0.16 are left
    for kind in ("soft_nms, linear", "matrix_nms, linear"):
        for final, count in ((0.15, 2), (0.17, 1)):
            found = build(kind, score_threshold=0.5, final_threshold=final)(scores, boxes, SIZE)[0]
            assert len(found["scores"]) == count


@pytest.mark.parametrize("kind", KINDS)
def test_pairs_are_listed_a_few_at_a_time(kind, monkeypatch):
    scores, boxes = crowd(seed=6)
    expected = build(kind)(scores, boxes, SIZE)
    monkeypatch.setattr(pairs_in_groups, "__defaults__", (500,))
    assert len(list(module.pairs_in_groups(torch.zeros(100, dtype=torch.int64)))) > 5
    for some, all_at_once in zip(build(kind)(scores, boxes, SIZE), expected, strict=True):
        assert all(torch.equal(some[name], column) for name, column in all_at_once.items())


@pytest.mark.parametrize("limit", [1, 2, 1000])
def test_pairs_in_groups(limit):
    blocks = list(pairs_in_groups(torch.tensor([3, 3, 3, 5, 7, 7]), limit))
    assert torch.cat(blocks, dim=1).T.tolist() == [[0, 1], [0, 2], [1, 2], [4, 5]]
    assert len(blocks) == 1 if limit == 1000 else len(blocks) > 1
    assert torch.cat(list(pairs_in_groups(torch.zeros(0, dtype=torch.int64))), dim=1).shape == (2, 0)


@pytest.mark.parametrize("name", POSTPROCESSES)
def test_a_presets_options_fit_every_kind(name):
    options = {"score_threshold": 0.2, "iou_threshold": 0.45, "top_k": 40, "detections_per_image": 20}
    postprocess = build_part(POSTPROCESSES, {"name": name, **options}, "postprocess")
    assert {option: getattr(postprocess, option) for option in options} == options
    assert all(f"{option}={value}" in repr(postprocess) for option, value in options.items())


def test_thresholds_of_the_papers():
    found = {kind: build(kind).iou_threshold for kind in DECAYING}
    assert found["soft_nms, linear"] == 0.3 and found["soft_nms, gaussian from 0.3 on"] == 0.3
    assert found["soft_nms, gaussian"] == found["matrix_nms, linear"] == found["matrix_nms, gaussian"] == 0
    assert build("soft_nms, gaussian").sigma == 0.5 and "sigma=0.5" in repr(build("soft_nms, gaussian"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "quadratic"}, "method must be one of .*linear.*got 'quadratic'"),
        ({"sigma": 0.5}, "sigma=0.5 belongs to method='gaussian', and method is 'linear'"),
        ({"method": "gaussian", "sigma": 0}, "sigma must be positive, got 0"),
        ({"final_threshold": 1.5}, r"final_threshold must lie in \[0, 1\], got 1.5"),
        ({"iou_threshold": 2}, r"iou_threshold must lie in \[0, 1\], got 2"),
        ({"top_k": 0}, "top_k must be at least 1"),
    ],
    ids=str,
)
@pytest.mark.parametrize("make", [SoftNMS, MatrixNMS])
def test_options_out_of_range(make, options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)
