"""What the head should have said."""

import torch

from detzoo.components import BoxCoder, SSDMatcher, assign_targets
from detzoo.structures import Predictions, pad_targets

DEFAULT_BOXES = torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]])
PREDICTIONS = Predictions(torch.zeros(0), torch.zeros(0), DEFAULT_BOXES, (3,))


def assign(*images: tuple[list, list]) -> tuple[torch.Tensor, torch.Tensor]:
    padded = pad_targets([{"boxes": torch.tensor(boxes), "labels": torch.tensor(labels)} for boxes, labels in images])
    return assign_targets(PREDICTIONS, padded, SSDMatcher(), BoxCoder())


def test_by_hand():
    # the second image has one object fewer: a padded row must not reach its labels
    labels, deltas = assign(([[0.0, 0, 10, 10], [42.0, 0, 52, 10]], [5, 7]), ([[20.0, 0, 30, 10]], [3]))
    assert labels.tolist() == [[5, 0, 7], [0, 3, 0]]
    expected = torch.zeros(2, 3, 4)
    expected[0, 2, 0] = 10 * 2 / 10
    torch.testing.assert_close(deltas, expected)


def test_no_object_gives_no_nan():
    labels, deltas = assign(([], []), ([], []))
    assert labels.tolist() == [[0, 0, 0]] * 2
    assert torch.equal(deltas, torch.zeros(2, 3, 4))


def test_decoding_the_wanted_deltas_gives_the_objects_back():
    objects = [[1.0, 1, 9, 12], [38.0, -2, 52, 11]]
    labels, deltas = assign((objects, [1, 2]))
    found = BoxCoder().decode(deltas, DEFAULT_BOXES)[labels > 0]
    torch.testing.assert_close(found, torch.tensor(objects))
