"""Padding of targets, the first thing that happens to ground truth."""

import torch

from detzoo.structures import PaddedTargets, pad_targets


def target(*rows: tuple) -> dict:
    """Ground truth from rows of four sides and a label."""
    boxes = torch.tensor([row[:4] for row in rows], dtype=torch.float32).reshape(-1, 4)
    return {"boxes": boxes, "labels": torch.tensor([row[4] for row in rows], dtype=torch.int64)}


def test_images_with_two_no_and_one_object():
    padded = pad_targets([target((0, 0, 1, 1, 3), (1, 2, 3, 4, 5)), target(), target((5, 6, 7, 8, 9))])
    assert padded.boxes.shape == (3, 2, 4)
    assert padded.boxes[0].tolist() == [[0, 0, 1, 1], [1, 2, 3, 4]]
    assert padded.boxes[2, 0].tolist() == [5, 6, 7, 8]
    assert padded.labels[padded.mask].tolist() == [3, 5, 9]
    assert padded.mask.tolist() == [[True, True], [False, False], [True, False]]


def test_a_batch_without_any_object_keeps_one_empty_row():
    padded = pad_targets([target(), target()])
    assert padded.boxes.shape == (2, 1, 4) and padded.labels.shape == (2, 1)
    assert padded.mask.tolist() == [[False], [False]]


def test_types_follow_the_convention_whatever_came():
    came = {"boxes": torch.tensor([[0, 0, 1, 1]], dtype=torch.float64), "labels": torch.tensor([1], dtype=torch.int32)}
    padded = pad_targets([came, {"boxes": torch.zeros(0), "labels": torch.zeros(0)}])  # as an empty list becomes
    assert padded.boxes.dtype == torch.float32
    assert padded.labels.dtype == torch.int64
    assert padded.mask.dtype == torch.bool


def test_to_moves_all_three():
    moved = pad_targets([target((0, 0, 1, 1, 3))]).to("meta")
    assert isinstance(moved, PaddedTargets)
    assert {tensor.device.type for tensor in moved} == {"meta"}
