"""From scores to detections: suppression against torchvision's, group by group, and the whole of it."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder as TorchvisionCoder
from torchvision.models.detection.ssd import SSD as TorchvisionSSD
from torchvision.ops import nms

from detzoo.components import POSTPROCESSES, BoxCoder, Postprocess, SoftNMS, foreground_softmax, nms_mask
from detzoo.components import postprocess as module
from detzoo.components.suppression import rank_in_group
from detzoo.models import build_ssd


def random_boxes(count: int, generator: torch.Generator, spread: float = 60) -> Tensor:
    corner, size = torch.rand(2, count, 2, generator=generator)
    return torch.cat((corner * spread, corner * spread + size * 40 + 1), dim=1)


def test_rank_in_group():
    assert rank_in_group(torch.tensor([3, 1, 3, 3, 1])).tolist() == [0, 0, 1, 2, 1]
    assert rank_in_group(torch.zeros(0, dtype=torch.int64)).tolist() == []


def test_a_suppressed_box_suppresses_nobody():
    # each overlaps the next by 0.6 and the one after it by 0.33
    boxes = torch.tensor([[0.0, 0, 100, 10], [25, 0, 125, 10], [50, 0, 150, 10], [75, 0, 175, 10]])
    one_group = torch.zeros(4, dtype=torch.int64)
    assert nms_mask(boxes, one_group, 0.5).tolist() == [True, False, True, False]
    assert nms_mask(boxes, one_group, 0.61).tolist() == [True] * 4
    assert nms_mask(boxes, one_group, 0.3).tolist() == [True, False, False, True]
    assert nms_mask(boxes, torch.tensor([0, 1, 2, 0]), 0.3).tolist() == [True] * 4
    assert nms_mask(boxes, torch.tensor([7, 2, 7, 2]), 0.3).tolist() == [True, True, False, False]


def test_overlap_of_the_threshold_itself_is_allowed():
    boxes = torch.tensor([[0.0, 0, 2, 1], [0, 0, 1, 1]])
    assert nms_mask(boxes, torch.zeros(2), 0.5).tolist() == [True, True]
    assert nms_mask(boxes, torch.zeros(2), 0.49).tolist() == [True, False]


def test_a_chain_as_long_as_the_list():
    starts = torch.arange(200.0) * 25  # the longest way to the fixed point
    boxes = torch.stack((starts, torch.zeros(200), starts + 100, torch.full((200,), 10.0)), dim=1)
    assert nms_mask(boxes, torch.zeros(200), 0.5).tolist() == [True, False] * 100


def test_nothing_in_nothing_out():
    assert nms_mask(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), 0.5).shape == (0,)


@pytest.mark.parametrize("iou_threshold", [0.1, 0.45, 0.7])
@pytest.mark.parametrize("seed", range(4))
def test_is_torchvisions_in_many_groups(seed, iou_threshold):
    generator = torch.Generator().manual_seed(seed)
    boxes = random_boxes(800, generator, spread=20)
    groups = torch.randint(0, 25, (800,), generator=generator) ** 2  # of very different numbers, with holes
    groups[:200] = 3
    scores = torch.linspace(1, 0.1, 800)
    mask = nms_mask(boxes, groups, iou_threshold)
    assert 0.02 < mask.float().mean() < 0.98
    for group in groups.unique():
        members = (groups == group).nonzero().flatten()
        expected = members[nms(boxes[members], scores[members], iou_threshold)]
        assert torch.equal(members[mask[members]], expected)


def test_by_hand():
    boxes = torch.tensor([[10.0, 10, 20, 20], [10, 10, 20, 21], [40, 40, 50, 50], [-10, 90, 10, 110]])
    scores = torch.tensor([[0.1, 0.8, 0.1], [0.2, 0.7, 0.1], [0.05, 0.35, 0.6], [0.5, 0.05, 0.45]])
    found = Postprocess(score_threshold=0.3)(scores[None, :, 1:], boxes[None], (100, 100))
    assert len(found) == 1
    # box 1 goes: same class as box 0, same place; box 2 is found as both classes; box 3 is clipped
    torch.testing.assert_close(found[0]["scores"], torch.tensor([0.8, 0.6, 0.45, 0.35]))
    assert found[0]["labels"].tolist() == [1, 2, 2, 1]
    assert found[0]["boxes"].tolist() == [[10, 10, 20, 20], [40, 40, 50, 50], [0, 90, 10, 100], [40, 40, 50, 50]]


def test_top_k_is_per_class_and_image_and_comes_before_suppression():
    same = torch.tensor([[0.0, 0, 10, 10]]).expand(3, 4)
    boxes = torch.cat((same, torch.tensor([[50.0, 50, 60, 60]])))
    scores = torch.tensor([[0.05, 0.9, 0.05], [0.1, 0.8, 0.1], [0.2, 0.7, 0.1], [0.25, 0.25, 0.5]])
    options = {"score_threshold": 0.2, "top_k": 3}
    batch = scores[None, :, 1:].expand(2, -1, -1)
    for found in Postprocess(**options)(batch, boxes[None].expand(2, -1, -1), (100, 100)):
        # the lone box of class 1 is the fourth of its class: out, although the three before it are one
        torch.testing.assert_close(found["scores"], torch.tensor([0.9, 0.5]))
        assert found["labels"].tolist() == [1, 2]


def test_a_score_must_be_above_the_threshold():
    logits, boxes = torch.zeros(1, 1, 4), torch.tensor([[[0.0, 0, 10, 10]]])  # 1/4 for each class
    assert len(Postprocess(score_threshold=0.25)(foreground_softmax(logits), boxes, (10, 10))[0]["scores"]) == 0
    assert len(Postprocess(score_threshold=0.24)(foreground_softmax(logits), boxes, (10, 10))[0]["scores"]) == 3


def test_nothing_above_the_threshold():
    logits = torch.zeros(2, 5, 3)
    logits[1, 2, 2] = 5
    boxes = torch.tensor([0.0, 0, 10, 10]).expand(2, 5, 4)
    empty, one = Postprocess(score_threshold=0.5)(foreground_softmax(logits), boxes, (100, 100))
    assert [tuple(empty[name].shape) for name in ("boxes", "labels", "scores")] == [(0, 4), (0,), (0,)]
    assert one["labels"].tolist() == [2]
    nothing = Postprocess(score_threshold=1.0)(foreground_softmax(logits), boxes, (100, 100))
    assert [len(found["scores"]) for found in nothing] == [0, 0]


@pytest.mark.parametrize("limit", [7, 30, 60])
def test_stopping_early_finds_the_same(limit, monkeypatch):
    """Suppression starts with five times as many boxes as may leave, which is too few for the crowded image here."""
    generator = torch.Generator().manual_seed(5)
    crowded = torch.tensor([10.0, 10, 60, 60]) + torch.rand(600, 4, generator=generator) * 8
    boxes = torch.stack((crowded, random_boxes(600, generator, spread=500)))
    boxes[0, ::40] += torch.arange(15)[:, None] * 30  # a few stand apart
    logits = torch.randn(2, 600, 4, generator=generator) * 2
    rounds = []
    monkeypatch.setattr(module, "nms_mask", lambda *given: rounds.append(len(given[0])) or nms_mask(*given))
    found = Postprocess(detections_per_image=limit)(foreground_softmax(logits), boxes, (600, 600))
    assert len(rounds) > 1, "this must take more than one round to show anything"
    everything = Postprocess(detections_per_image=10_000)(foreground_softmax(logits), boxes, (600, 600))
    for some, all_of_them in zip(found, everything, strict=True):
        assert len(some["scores"]) == min(limit, len(all_of_them["scores"]))
        for name, column in some.items():
            assert torch.equal(column, all_of_them[name][:limit])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("detections_per_image", [20, 200])
def test_is_torchvisions(seed, detections_per_image):
    generator = torch.Generator().manual_seed(seed)
    default_boxes = random_boxes(700, generator, spread=250)
    logits = torch.randn(2, 700, 5, generator=generator) * 3
    deltas = torch.randn(2, 700, 4, generator=generator)
    stand_in = SimpleNamespace(
        box_coder=TorchvisionCoder(weights=(10.0, 10.0, 5.0, 5.0)), score_thresh=0.01, nms_thresh=0.45,
        topk_candidates=150, detections_per_img=detections_per_image,
    )  # fmt: skip
    outputs = {"cls_logits": logits, "bbox_regression": deltas}
    reference = TorchvisionSSD.postprocess_detections(stand_in, outputs, [default_boxes] * 2, [(280, 300)] * 2)

    postprocess = Postprocess(top_k=150, detections_per_image=detections_per_image)
    found = postprocess(foreground_softmax(logits), BoxCoder().decode(deltas, default_boxes), (280, 300))
    for ours, theirs in zip(found, reference, strict=True):
        assert len(theirs["scores"]) >= 20
        assert torch.equal(ours["labels"], theirs["labels"])
        torch.testing.assert_close(ours["scores"], theirs["scores"])
        torch.testing.assert_close(ours["boxes"], theirs["boxes"], rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"score_threshold": 1.5}, r"score_threshold must lie in \[0, 1\], got 1.5"),
        ({"iou_threshold": -0.1}, r"iou_threshold must lie in \[0, 1\], got -0.1"),
        ({"top_k": 0}, "top_k must be at least 1, got 0"),
        ({"detections_per_image": 0}, "detections_per_image must be at least 1, got 0"),
    ],
    ids=str,
)
def test_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        Postprocess(**options)


KINDS = ("nms", "diou_nms", "soft_nms", "matrix_nms")
LEVELS = (40, 15, 5)


def scene(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Scores [3, 60, 4] and boxes [3, 60, 4], a few of them beyond an image of 100 by 100."""
    generator = torch.Generator().manual_seed(seed)
    boxes = torch.stack([random_boxes(60, generator, spread=80) for _ in range(3)])
    boxes[:, ::20, 0::2] += 100
    return torch.rand(3, 60, 4, generator=generator) ** 2, boxes


def detections(kind: str, scores: Tensor, boxes: Tensor, **options) -> list[dict[str, Tensor]]:
    return POSTPROCESSES[kind](**options)(scores, boxes, (100, 100), LEVELS)


def assert_same(found: list[dict[str, Tensor]], expected: list[dict[str, Tensor]]) -> None:
    assert [len(image["scores"]) for image in found] == [len(image["scores"]) for image in expected]
    assert all(len(image["scores"]) > 5 for image in found)
    for ours, theirs in zip(found, expected, strict=True):
        assert all(torch.equal(column, theirs[name]) for name, column in ours.items())


def only_best(scores: Tensor, groups: Tensor, count: int) -> Tensor:
    """0 in place of all but the best scores of each group, of one image: scores and groups [A, C - 1]."""
    kept = torch.zeros_like(scores)
    for group in groups.unique():
        members = (groups == group).nonzero().tolist()
        for box, label in sorted(members, key=lambda place: -scores[tuple(place)])[:count]:
            kept[box, label] = scores[box, label]
    return kept


@pytest.mark.parametrize("scope", ["level", "image", "class"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_best_of_each_level_image_or_class(kind, scope):
    scores, boxes = scene()
    groups = {
        "level": torch.tensor([0] * 40 + [1] * 15 + [2] * 5)[:, None].expand(60, 4),
        "image": torch.zeros(60, 4),
        "class": torch.arange(4).expand(60, 4),
    }
    kept = torch.stack([only_best(image, groups[scope], 18) for image in scores])
    found = detections(kind, scores, boxes, top_k=18, top_k_per=scope)
    assert_same(found, detections(kind, kept, boxes, top_k=None))
    others = [detections(kind, scores, boxes, top_k=18, top_k_per=other) for other in groups if other != scope]
    assert all(len(other[0]["scores"]) != len(found[0]["scores"]) for other in others)


@pytest.mark.parametrize("kind", KINDS)
def test_no_limits(kind):
    scores, boxes = scene(1)
    usual = {"iou_threshold": 0.6, "clip": False}
    everything = detections(kind, scores, boxes, top_k=None, detections_per_image=None, **usual)
    assert_same(everything, detections(kind, scores, boxes, top_k=240, detections_per_image=240, **usual))
    few = detections(kind, scores, boxes, top_k=None, detections_per_image=10, **usual)
    assert_same(few, [{name: column[:10] for name, column in image.items()} for image in everything])


@pytest.mark.parametrize("kind", KINDS)
def test_no_limits_and_nothing_found(kind):
    scores, boxes = scene()
    found = detections(kind, scores * 0, boxes, top_k=None, detections_per_image=None, drop_empty=True)
    assert [tuple(image["boxes"].shape) for image in found] == [(0, 4)] * 3
    best_only = POSTPROCESSES[kind](best_class_only=True, top_k_per="level", detections_per_image=None)
    assert [len(image["labels"]) for image in best_only(scores[:, :0], boxes[:, :0], (9, 9), (0, 0))] == [0] * 3
    assert best_only(scores[:0], boxes[:0], (9, 9), LEVELS) == []


@pytest.mark.parametrize("kind", KINDS)
def test_each_box_speaks_for_its_best_class_alone(kind):
    scores, boxes = scene(2)
    scores[:, 5] = 0.5  # the first of equal ones
    kept = torch.zeros_like(scores)
    for image, box in torch.cartesian_prod(torch.arange(3), torch.arange(60)).tolist():
        row = scores[image, box].tolist()
        kept[image, box, row.index(max(row))] = max(row)
    found = detections(kind, scores, boxes, best_class_only=True)
    assert_same(found, detections(kind, kept, boxes))
    assert len(found[0]["scores"]) < len(detections(kind, scores, boxes)[0]["scores"])


@pytest.mark.parametrize("kind", KINDS)
def test_boxes_without_area_are_dropped_after_the_best_were_chosen(kind):
    scores, boxes = scene(3)
    scores[:, ::20] = 1 + scores[:, ::20] / 100  # those beyond the image
    kept = scores.clone()
    kept[:, ::20] = 0
    options = {"top_k": 10, "top_k_per": "image"}
    found = detections(kind, scores, boxes, drop_empty=True, **options)
    assert all((image["boxes"][:, 2:] > image["boxes"][:, :2]).all() for image in found)
    assert all(len(image["scores"]) == 0 for image in found), "they took the places of others"
    assert_same(detections(kind, scores, boxes, drop_empty=True), detections(kind, kept, boxes))
    unclipped = detections(kind, scores, boxes, clip=False)
    assert_same(detections(kind, scores, boxes, drop_empty=True, clip=False), unclipped)


@pytest.mark.parametrize("levels", [None, (40, 15), (40, 15, 5, 5)])
def test_the_best_of_each_level_needs_the_levels(levels):
    scores, boxes = scene()
    postprocess = Postprocess(top_k_per="level")
    with pytest.raises(ValueError, match=r"top_k_per='level' needs to know how many of the 60 default boxes.*levels="):
        postprocess(scores, boxes, (100, 100), levels)
    assert len(Postprocess()(scores, boxes, (100, 100), levels)) == 3, "nobody else asks"


def test_a_detector_tells_its_levels(small_config):
    model = build_ssd(replace(small_config, num_classes=3, postprocess={"name": "nms", "score_threshold": 0.0,
                              "top_k": 7, "top_k_per": "level", "iou_threshold": 1.0})).eval()  # fmt: skip
    found = model.detect(torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0)))
    levels = len(model.default_boxes.boxes_per_cell)
    assert levels > 1 and [len(image["scores"]) for image in found] == [7 * levels] * 2


def test_only_unusual_options_are_printed():
    assert repr(Postprocess()).endswith("clip=True)")
    assert repr(Postprocess(top_k=None, top_k_per="image", union_margin=1e-5)).endswith(
        "clip=True, top_k_per='image', union_margin=1e-05)"
    )
    assert "best_class_only=True, drop_empty=True" in repr(SoftNMS(best_class_only=True, drop_empty=True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k_per": "map"}, r"top_k_per must be one of \('class', 'level', 'image'\), got 'map'"),
        ({"union_margin": -1e-5}, r"union_margin must lie in \[0, 1\], got -1e-05"),
        ({"top_k": 0}, "top_k must be at least 1, got 0; None is no limit"),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", KINDS)
def test_new_options_out_of_range(kind, options, message):
    with pytest.raises(ValueError, match=message):
        POSTPROCESSES[kind](**options)
