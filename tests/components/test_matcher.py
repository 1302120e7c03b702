"""Which default box answers for which object."""

import pytest
import torch
from torchvision.models.detection._utils import SSDMatcher as TorchvisionMatcher
from torchvision.ops import box_iou

from detzoo.components import SSDMatcher
from detzoo.structures import PaddedTargets, Predictions, pad_targets

# four boxes in a row and one far away
DEFAULT_BOXES = torch.tensor(
    [[0, 0, 10, 10], [10, 0, 20, 10], [20, 0, 30, 10], [30, 0, 40, 10], [100, 100, 110, 110]], dtype=torch.float32
)


def unsaid(default_boxes: torch.Tensor) -> Predictions:
    """Default boxes of one level of which the network says nothing."""
    return Predictions(torch.zeros(0), torch.zeros(0), default_boxes, (len(default_boxes),))


def objects_at(boxes: torch.Tensor, mask: torch.Tensor) -> PaddedTargets:
    return PaddedTargets(boxes, mask.long(), mask)


def match(*images: list, iou_threshold: float = 0.5) -> list[list[int]]:
    """The matches of images given as lists of boxes."""
    targets = [{"boxes": torch.tensor(boxes), "labels": torch.ones(len(boxes))} for boxes in images]
    padded = pad_targets(targets)
    return SSDMatcher(iou_threshold)(unsaid(DEFAULT_BOXES), padded).tolist()


def test_enough_overlap_is_a_match():
    assert match([[0, 0, 10, 9], [20, 1, 30, 10]]) == [[0, -1, 1, -1, -1]]


def test_an_object_may_have_several_boxes():
    # overlaps both neighbours by 1/2 exactly: 100 of 100 + 200 - 100 pixels
    assert match([[10, 0, 30, 10]]) == [[-1, 0, 0, -1, -1]]
    assert match([[10, 0, 30, 10]], iou_threshold=0.51) == [[-1, 0, -1, -1, -1]], "only the best, the first of two"


def test_every_object_keeps_its_best_box_however_bad():
    assert match([[98, 98, 101, 101]]) == [[-1, -1, -1, -1, 0]]


def test_the_best_box_of_an_object_is_taken_from_one_that_overlaps_it_more():
    # box 0 overlaps object 0 by 0.9 and object 1 by 0.6, but is the best of object 1, whereas object 0 prefers box 1
    objects = torch.tensor([[[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 6.0, 10.0]]])
    boxes = torch.tensor([[0.0, 0.0, 9.0, 10.0], [0.0, 0.0, 10.0, 10.0]])
    assert SSDMatcher()(unsaid(boxes), objects_at(objects, torch.tensor([[True, True]]))).tolist() == [[1, 0]]


def test_two_objects_with_one_best_box_the_last_gets_it():
    assert match([[100, 100, 110, 109], [101, 101, 109, 109], [0, 0, 10, 10]]) == [[2, -1, -1, -1, 1]]


def test_padding_is_ignored():
    objects = torch.tensor([[[0.0, 0.0, 10.0, 10.0], [20.0, 0.0, 30.0, 10.0]]])
    mask = torch.tensor([[True, False]])  # the second lies exactly on a default box and is none
    assert SSDMatcher()(unsaid(DEFAULT_BOXES), objects_at(objects, mask)).tolist() == [[0, -1, -1, -1, -1]]


@pytest.mark.parametrize("iou_threshold", [0.0, 0.5])
def test_images_without_objects(iou_threshold):
    assert match([], [[0, 0, 10, 10]], iou_threshold=iou_threshold)[0] == [-1] * 5
    assert match([], [], iou_threshold=iou_threshold) == [[-1] * 5] * 2


@pytest.mark.parametrize("iou_threshold", [0.3, 0.5])
def test_is_torchvisions_image_by_image(iou_threshold):
    generator = torch.Generator().manual_seed(0)

    def boxes(count: int) -> torch.Tensor:
        corner, size = torch.rand(2, count, 2, generator=generator) * 60
        return torch.cat((corner, corner + size + 5), dim=1)

    default_boxes = boxes(300)
    targets = [{"boxes": boxes(count), "labels": torch.ones(count)} for count in (5, 1, 12, 3, 40)]
    padded = pad_targets(targets)
    found = SSDMatcher(iou_threshold)(unsaid(default_boxes), padded)
    reference = TorchvisionMatcher(iou_threshold)
    expected = torch.stack([reference(box_iou(target["boxes"], default_boxes)) for target in targets])
    assert (expected >= 0).float().mean() > 0.1 and (expected < 0).any()
    assert torch.equal(found, expected)


@pytest.mark.parametrize("iou_threshold", [-0.1, 1.5])
def test_threshold_out_of_range(iou_threshold):
    with pytest.raises(ValueError, match="iou_threshold must lie in"):
        SSDMatcher(iou_threshold)
