"""Box arithmetic against numbers worked out by hand and against torchvision."""

import pytest
import torch
from torchvision.ops import box_iou, clip_boxes_to_image

from detzoo import ops


def random_boxes(*shape: int, seed: int = 0) -> torch.Tensor:
    corner, size = torch.rand(2, *shape, 2, generator=torch.Generator().manual_seed(seed)) * 100
    return torch.cat((corner, corner + size + 1), dim=-1)


def test_centre_and_size_by_hand():
    boxes = torch.tensor([[10.0, 20.0, 30.0, 60.0], [-1.0, 0.0, 0.0, 0.5]])
    expected = torch.tensor([[20.0, 40.0, 20.0, 40.0], [-0.5, 0.25, 1.0, 0.5]])
    torch.testing.assert_close(ops.xyxy_to_cxcywh(boxes), expected)
    torch.testing.assert_close(ops.cxcywh_to_xyxy(expected), boxes)


def test_centre_and_size_keep_leading_dimensions():
    boxes = random_boxes(2, 5, 3)
    torch.testing.assert_close(ops.cxcywh_to_xyxy(ops.xyxy_to_cxcywh(boxes)), boxes)


@pytest.mark.parametrize(
    ("box", "area"),
    [([0, 0, 2, 3], 6), ([1, 1, 1, 5], 0), ([3, 0, 1, 2], 0), ([3, 3, 1, 1], 0)],
    ids=["plain", "flat", "turned in x", "turned in both"],
)
def test_area(box, area):
    assert ops.box_area(torch.tensor(box, dtype=torch.float32)) == area


@pytest.mark.parametrize(
    ("one", "other", "iou"),
    [
        ([0, 0, 4, 4], [2, 2, 6, 6], 4 / 28),
        ([0, 0, 4, 4], [0, 0, 4, 4], 1),
        ([0, 0, 4, 4], [1, 1, 3, 3], 4 / 16),
        ([0, 0, 4, 4], [4, 0, 8, 4], 0),
        ([0, 0, 4, 4], [5, 5, 8, 8], 0),
        ([1, 1, 1, 1], [1, 1, 1, 1], 0),
    ],
    ids=["corner", "same", "inside", "touching", "apart", "both without area"],
)
def test_iou_by_hand(one, other, iou):
    found = ops.elementwise_iou(torch.tensor(one).float(), torch.tensor(other).float())
    assert found.item() == pytest.approx(iou)


def test_pairwise_iou_is_torchvisions():
    boxes, others = random_boxes(7), random_boxes(11, seed=1)
    expected = box_iou(boxes, others)
    assert ((expected > 0) & (expected < 1)).sum() > 20
    torch.testing.assert_close(ops.pairwise_iou(boxes, others), expected)


def test_pairwise_iou_broadcasts_a_batch_against_one_set():
    batch, others = random_boxes(3, 7), random_boxes(11, seed=1)
    expected = torch.stack([box_iou(boxes, others) for boxes in batch])
    torch.testing.assert_close(ops.pairwise_iou(batch, others), expected)
    assert ops.pairwise_iou(batch[:, :0], others).shape == (3, 0, 11)


def test_clip_to_an_image_that_is_not_square():
    boxes = torch.tensor([[-5.0, -5.0, 500.0, 500.0], [10.0, 20.0, 30.0, 40.0], [310.0, 210.0, 320.0, 220.0]])
    expected = torch.tensor([[0.0, 0.0, 300.0, 200.0], [10.0, 20.0, 30.0, 40.0], [300.0, 200.0, 300.0, 200.0]])
    torch.testing.assert_close(ops.clip_boxes(boxes, (200, 300)), expected)


def test_clip_is_torchvisions():
    boxes = random_boxes(4, 6) - 30
    torch.testing.assert_close(ops.clip_boxes(boxes, (40, 70)), clip_boxes_to_image(boxes, (40, 70)))


def test_scale_by_hand():
    box = torch.tensor([10.0, 20.0, 30.0, 40.0])
    scaled = ops.scale_boxes(box, (100, 200), (300, 100))  # three times as high, half as wide
    assert scaled.tolist() == [5, 60, 15, 120]


def test_scale_there_and_back():
    boxes = random_boxes(5)
    there = ops.scale_boxes(boxes, (375, 500), (300, 300))
    torch.testing.assert_close(ops.scale_boxes(there, (300, 300), (375, 500)), boxes)
