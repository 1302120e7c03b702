"""What matchers and losses of one's own are held to."""

import re
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from detzoo.components import BoxCoder, assign_targets
from detzoo.components.contracts import check_losses
from detzoo.models import build_ssd
from detzoo.structures import Predictions, pad_targets

BOXES = torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]])
PREDICTIONS = Predictions(torch.zeros(0), torch.zeros(0), BOXES, (3,))
OBJECTS = [([[0.0, 0, 9, 9], [20.0, 0, 29, 9]], [1, 2]), ([[20.0, 0, 30, 10]], [3])]
TARGETS = pad_targets([{"boxes": torch.tensor(boxes), "labels": torch.tensor(labels)} for boxes, labels in OBJECTS])


class Gives(nn.Module):
    """A matcher that says what it was told to say."""

    def __init__(self, what) -> None:
        super().__init__()
        self.what = what

    def forward(self, predictions: Predictions, targets: object) -> Tensor:
        return self.what


def test_what_a_matcher_may_give():
    labels, _ = assign_targets(PREDICTIONS, TARGETS, Gives(torch.tensor([[1, -1, 0], [-1, 0, -1]])), BoxCoder())
    assert labels.tolist() == [[2, 0, 1], [0, 3, 0]]


@pytest.mark.parametrize(
    ("match", "said"),
    [
        (None, "gave NoneType: "),
        ([[0, 0, 0], [0, 0, 0]], "gave list: "),
        (torch.zeros(2, 3), "gave float32 of shape (2, 3): "),
        (torch.zeros(2, 3, dtype=torch.bool), "gave bool of shape (2, 3): "),
        (torch.zeros(3, dtype=torch.int64), "gave int64 of shape (3,): "),
        (torch.zeros(2, 4, dtype=torch.int64), "gave int64 of shape (2, 4): "),
        (torch.tensor([[0, 1, -1], [-1, 0, 2]]), "gave object 2 in image 1 of the batch, which has 1 "),
        (torch.tensor([[0, 1, -1], [-1, 1, 0]]), "gave object 1 in image 1 of the batch, which has 1 "),
    ],
    ids=str,
)
def test_what_a_matcher_may_not_give(match, said):
    with pytest.raises(ValueError, match=re.escape(f"the matcher Gives {said}") + ".*int64 of shape .2, 3., for each"):
        assign_targets(PREDICTIONS, TARGETS, Gives(match), BoxCoder())


def test_what_a_loss_may_give():
    check_losses(nn.Identity(), {"classification": torch.tensor(1.0), "other": torch.tensor(2.0, dtype=torch.float64)})


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        (None, "gave nothing: "),
        ({}, "gave an empty dict: "),
        (torch.tensor(1.0), "gave float32 of shape (): "),
        ([torch.tensor(1.0)], "gave list: "),
        ({"a": 1.0}, "gave float as 'a': "),
        ({"a": torch.zeros(3)}, "gave float32 of shape (3,) as 'a': "),
        ({"a": torch.tensor(1)}, "gave int64 of shape () as 'a': "),
        ({3: torch.tensor(1.0)}, "gave float32 of shape () as 3: "),
    ],
    ids=str,
)
def test_what_a_loss_may_not_give(losses, said):
    with pytest.raises(ValueError, match=re.escape(f"the loss Identity {said}expected a dict of names and scalar")):
        check_losses(nn.Identity(), losses)


class Sloppy(nn.Module):
    """A loss that gives what it was told to give."""

    def __init__(self, what: object) -> None:
        super().__init__()
        self.what = what

    def scores(self, logits: Tensor) -> Tensor:
        return logits[..., 1:]

    def forward(self, *predictions_and_targets: Tensor) -> object:
        return self.what


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (torch.tensor(1.0), "gave float32 of shape ()"),
        ({"a": torch.zeros(3)}, "gave float32 of shape (3,) as 'a'"),
        (None, "gave nothing"),
    ],
    ids=str,
)
@pytest.mark.parametrize("way", ["losses", "evaluate"])
def test_a_detector_names_its_loss(small_config, way, what, said):
    model = build_ssd(replace(small_config, num_classes=3), loss=Sloppy(what))
    targets = [{"boxes": torch.tensor([[1.0, 1, 30, 30]]), "labels": torch.tensor([1])}]
    with pytest.raises(ValueError, match=re.escape(f"the loss Sloppy {said}: expected a dict")):
        getattr(model, way)(torch.zeros(1, 3, 40, 40), targets)
