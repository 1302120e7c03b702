"""Class names, their ids in data sets, their labels in networks."""

import pytest
from torchvision.models.detection import SSD300_VGG16_Weights

from detzoo.categories import COCO, COCO_91, UNUSED, VOC, Categories


def test_ids_are_counted_from_one_unless_given():
    assert Categories(("cat", "dog")).ids == (1, 2)
    assert Categories(["cat", "dog"], [7, 3]).ids == (7, 3)


def test_label_names_and_class_count():
    categories = Categories(("cat", "dog"), (7, 3))
    assert [categories.name(label) for label in (1, 2)] == ["cat", "dog"]
    assert len(categories) == 2
    assert categories.num_classes == 3


@pytest.mark.parametrize(
    ("names", "ids", "message"),
    [
        (("cat", "dog", "cat"), (), r"names must be unique.*\['cat'\]"),
        (("cat", "dog"), (4, 4), r"ids must be unique.*\[4\]"),
        (("cat", "dog"), (1, 2, 3), "2 category names came with 3 ids"),
    ],
)
def test_what_makes_no_sense_is_refused(names, ids, message):
    with pytest.raises(ValueError, match=message):
        Categories(names, ids)


def test_unused_slots_may_repeat():
    assert Categories((UNUSED, "cat", UNUSED)).num_classes == 4


def test_labels_are_matched_by_name():
    mine, theirs = Categories(("cat", UNUSED, "cow", "dog")), Categories(("dog", UNUSED, "cat"))
    assert mine.labels_in(theirs) == [0, 3, 0, 0, 1]


def test_coco_with_its_holes_is_torchvisions_list():
    assert ["__background__", *COCO_91.names] == SSD300_VGG16_Weights.COCO_V1.meta["categories"]
    assert COCO_91.num_classes == 91


def test_coco_without_holes():
    assert len(COCO) == 80
    assert COCO.ids[:12] == (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13)
    assert COCO.ids[-1] == 90 and COCO.name(80) == "toothbrush"
    labels = COCO.labels_in(COCO_91)
    assert labels[1:] == list(COCO.ids), "a slot's label is its COCO id"


def test_voc():
    assert len(VOC) == 20
    assert list(VOC.names) == sorted(VOC.names)
