"""Several data sets as one, some images of one, and configs whose mistakes are told before anything is read."""

import numpy as np
import pytest
from PIL import Image

from detzoo.data import DATASETS, DetectionDataset, SyntheticDataset, dataset_problems, subset
from detzoo.data.union import UnionDataset
from detzoo.lookup import ConfigError, build_part


@pytest.fixture
def cats(picture_set, objects):
    images = [Image.new("RGB", (30 + number, 20)) for number in range(3)]
    boxes = [[[0, 0, 5, 5], [1, 1, 6, 6]], [], [[2, 2, 7, 7]]]
    return picture_set(images, [objects(90 + n, (20, 30 + n), b, [1, 2][: len(b)]) for n, b in enumerate(boxes)])


@pytest.fixture
def dogs(picture_set, objects):
    flags = {"areas": [3.5], "crowd": [True], "difficult": [True]}
    return picture_set([Image.new("L", (9, 8))], [objects(90, (8, 9), [[3, 3, 8, 8]], [2], **flags)])


def test_annotations_are_joined_and_renumbered(cats, dogs):
    joined = UnionDataset([cats, dogs, cats])
    found = joined.annotations
    assert len(joined) == 7 and joined.categories == cats.categories
    assert found.image_ids.tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert found.image_sizes.tolist() == [[20, 30], [20, 31], [20, 32], [8, 9], [20, 30], [20, 31], [20, 32]]
    assert found.offsets.tolist() == [0, 2, 2, 3, 4, 6, 6, 7]
    assert found.boxes[3].tolist() == [3, 3, 8, 8] and found.labels.tolist() == [1, 2, 1, 2, 1, 2, 1]
    assert found.areas[3] == 3.5 and found.crowd.tolist() == found.difficult.tolist() == [n == 3 for n in range(7)]
    for name in ("image_ids", "image_sizes", "offsets", "boxes", "labels", "areas", "crowd", "difficult"):
        assert getattr(found, name).dtype == getattr(cats.annotations, name).dtype, name


def test_images_are_those_of_their_set(cats, dogs):
    joined = UnionDataset([cats, dogs])
    assert [joined.open_image(index).size for index in range(4)] == [(30, 20), (31, 20), (32, 20), (9, 8)]
    assert [joined.name(index) for index in range(4)] == ["picture 0", "picture 1", "picture 2", "picture 0"]


def test_other_numbers_for_the_same_names_are_translated(cats, picture_set, objects):
    swapped = picture_set(
        [cats.images[0]], [objects(1, (20, 30), [[0, 0, 1, 1], [1, 1, 2, 2]], [1, 2])], ("dog", "cat")
    )
    found = UnionDataset([cats, swapped]).annotations
    assert found.categories.names == ("cat", "dog") and found.labels.tolist() == [1, 2, 1, 2, 1]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("cat", "dog", "cow"), r"sets\[1\] has other classes than sets\[0\]: missing none; added cow"),
        (("cat", "Dog"), "missing dog; added Dog"),
    ],
)
def test_other_classes_are_refused(cats, picture_set, objects, names, message):
    with pytest.raises(ValueError, match=message):
        UnionDataset([cats, picture_set([cats.images[0]], [objects(1, (20, 30), [], [])], names)])


def test_nothing_to_unite():
    with pytest.raises(ValueError, match="sets is empty"):
        UnionDataset([])


def part(**options):
    return {"name": "synthetic", "num_images": 3, "size": [32, 40], **options}


def test_built_from_a_config():
    joined = build_part(DATASETS, {"name": "union", "sets": [part(), part(seed=1)]}, "dataset.train")
    alone = SyntheticDataset(3, 1, size=(32, 40))
    rows = joined.annotations.rows(4)
    np.testing.assert_array_equal(joined.annotations.boxes[rows], alone.annotations.boxes[alone.annotations.rows(1)])
    assert joined.open_image(4).tobytes() == alone.open_image(1).tobytes()
    assert joined.name(4) == alone.name(1)


MISTAKES = {
    "name": "union",
    "sets": [part(sead=1), {"name": "vok"}, {"name": "union", "sets": [part(), {"name": "voc", "root": 3}]}, 5],
}
TOLD = [
    "{0}.sets[0] has no option 'sead': did you mean 'seed'?",
    "unknown {0}.sets[1] 'vok': did you mean 'voc'?",
    "{0}.sets[2].sets[1].root = 3 (int): expected str | pathlib.Path",
    "{0}.sets[2].sets[1] needs the option 'split' (str | None)",
    "{0}.sets[3]: expected a name or a mapping",
]


def test_mistakes_are_told_with_their_place():
    found = dataset_problems({**MISTAKES, "sets": MISTAKES["sets"][:3]}, "dataset.train")
    assert found == [message.format("dataset.train") for message in TOLD[:4]]
    assert dataset_problems({"name": "union", "sets": [part(), part()]}, "dataset.train") == []
    assert dataset_problems(part(), "dataset.train") == []
    (problem,) = dataset_problems({"name": "union"}, "dataset.train")
    assert problem.startswith("dataset.train needs the option 'sets'")


def test_mistakes_are_told_before_anything_is_read(monkeypatch):
    monkeypatch.setitem(DATASETS, "synthetic", lambda num_images, size: pytest.fail("was read"))
    with pytest.raises(ConfigError) as caught:
        UnionDataset([part(), *MISTAKES["sets"][1:]])
    assert "unknown sets[1] 'vok'" in caught.value.problems[0] and len(caught.value.problems) == 4
    assert caught.value.problems[3].startswith("sets[3]: expected a name or a mapping")


def test_something_else_than_parts():
    assert (
        "dataset.val.sets = 'voc' (str): expected"
        in dataset_problems({"name": "union", "sets": "voc"}, "dataset.val")[0]
    )


def test_union_of_what_is_made_is_made(cats, monkeypatch):
    made = SyntheticDataset(2, size=(32, 32))
    monkeypatch.setattr(made, "stored", False)
    assert not UnionDataset([made, made]).stored and UnionDataset([cats]).stored
    assert not subset(made, [0]).stored


def test_some_images_keep_their_ids(cats):
    some = subset(cats, [2, 0])
    assert isinstance(some, DetectionDataset) and len(some) == 2 and some.categories == cats.categories
    assert some.annotations.image_ids.tolist() == [92, 90] and some.annotations.labels.tolist() == [1, 1, 2]
    assert [some.name(index) for index in range(2)] == ["picture 2", "picture 0"]
    assert [some.open_image(index).size for index in range(2)] == [(32, 20), (30, 20)]
    assert subset(cats, range(2)).annotations.image_ids.tolist() == [90, 91]
    assert subset(cats, (n for n in range(1, 3))).name(1) == "picture 2"


def test_images_that_are_not_there(cats):
    with pytest.raises(ValueError, match="no image number 3: expected 0..2"):
        subset(cats, range(4))
