"""From scores to detections: suppression against torchvision's, group by group, and the whole of it."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder as TorchvisionCoder
from torchvision.models.detection.ssd import SSD as TorchvisionSSD
from torchvision.ops import nms

from detzoo.components import BoxCoder, Postprocess, foreground_softmax, nms_mask
from detzoo.components import postprocess as module
from detzoo.components.suppression import rank_in_group


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
