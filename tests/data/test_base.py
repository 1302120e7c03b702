"""What all readers share: annotations of some of the images, and images that a camera was turned for."""

import logging

import numpy as np
import pytest
from PIL import Image

from detzoo.annotations import Annotations
from detzoo.categories import Categories
from detzoo.data.base import FileDataset, orientation, pack_names, repair_boxes, take_images

ORIENTATION = 0x0112  # the number of the EXIF entry


def save_turned(path, turn: int) -> Image.Image:
    """A JPEG of 20x10 pixels, its left half white, that says how to turn it."""
    image = Image.new("RGB", (20, 10))
    image.paste((255, 255, 255), (0, 0, 10, 10))
    exif = Image.Exif()
    exif[ORIENTATION] = turn
    image.save(path, exif=exif, quality=95)
    return image


@pytest.fixture
def annotations(objects):
    images = [
        objects(7, (10, 20), [[0, 0, 1, 1], [1, 1, 2, 2]], [1, 2], areas=[5, 6], crowd=[False, True]),
        objects(3, (11, 21), [], []),
        objects(5, (12, 22), [[2, 2, 3, 3]], [1], difficult=[True]),
        objects(4, (13, 23), [[3, 3, 4, 4], [4, 4, 5, 5]], [2, 2]),
    ]
    return Annotations.pack(Categories(("cat", "dog")), images)


def test_images_are_taken_with_all_that_is_known_of_them(annotations):
    some = take_images(annotations, [3, 1, 0])
    assert some.image_ids.tolist() == [4, 3, 7] and some.image_sizes.tolist() == [[13, 23], [11, 21], [10, 20]]
    assert some.offsets.tolist() == [0, 2, 2, 4]
    assert some.boxes.tolist() == [[3, 3, 4, 4], [4, 4, 5, 5], [0, 0, 1, 1], [1, 1, 2, 2]]
    assert some.labels.tolist() == [2, 2, 1, 2] and some.areas.tolist() == [1, 1, 5, 6]
    assert some.crowd.tolist() == [False, False, False, True] and not some.difficult.any()
    assert take_images(annotations, [2]).difficult.tolist() == [True]


def test_all_images_and_none(annotations):
    same = take_images(annotations, range(4))
    for name in ("image_ids", "image_sizes", "offsets", "boxes", "labels", "areas", "crowd", "difficult"):
        np.testing.assert_array_equal(getattr(same, name), getattr(annotations, name))
        assert getattr(same, name).dtype == getattr(annotations, name).dtype
    none = take_images(annotations, [])
    assert len(none) == 0 and none.offsets.tolist() == [0] and none.boxes.shape == (0, 4)


def test_slivers_without_extent_in_the_precision_of_training(objects):
    boxes = [[639.9999999, 0, 640, 9], [600, 9, 640, 9.0000001], [639.9999999, 0, 700, 9], [639.9, 0, 640, 9]]
    found = Annotations.pack(Categories(("cat",)), [objects(1, (480, 640), boxes, [1] * 4)])
    kept = repair_boxes(found, invalid="drop", source="some set", where=str).boxes
    assert kept.tolist() == [[639.9, 0, 640, 9]]
    with pytest.raises(ValueError, match="some set, 4 boxes: 3 "):
        repair_boxes(found, invalid="error", source="some set", where=str)


@pytest.mark.parametrize(("indices", "message"), [([4], "no image number 4"), ([-1], "number -1"), ([1, 1], "repeat")])
def test_indices_that_are_none(annotations, indices, message):
    with pytest.raises(ValueError, match=message):
        take_images(annotations, indices)


def one_file(folder, size, objects, **options) -> FileDataset:
    annotations = Annotations.pack(Categories(("cat",)), [objects(1, size, [], [])])
    return FileDataset(folder, pack_names(["a.jpg"]), annotations, **options)


@pytest.mark.parametrize(
    ("turn", "size", "upright", "white"),
    [
        (6, (20, 10), False, (5, 2)),  # annotated as shown, on its side: the left half is the upper one
        (8, (20, 10), True, (5, 17)),
        (3, (10, 20), True, (15, 5)),
        (3, (10, 20), False, (5, 5)),  # nothing says that it was annotated upright
        (6, (10, 20), False, (5, 5)),  # annotated as stored
        (1, (10, 20), True, (5, 5)),
    ],
)
def test_images_are_turned_as_their_annotations_are(tmp_path, objects, turn, size, upright, white):
    save_turned(tmp_path / "a.jpg", turn)
    image = one_file(tmp_path, size, objects, upright=upright).open_image(0)
    assert image.size == size[::-1]
    assert image.convert("L").getpixel(white) > 200
    assert image.convert("L").getpixel((image.width - 1 - white[0], image.height - 1 - white[1])) < 50


def test_an_image_that_is_not_turned_is_not_decoded(tmp_path, objects):
    save_turned(tmp_path / "a.jpg", 1)
    assert one_file(tmp_path, (10, 20), objects, upright=True).open_image(0).draft("RGB", (10, 5)) is not None


def test_what_says_nothing_of_turning(tmp_path):
    save_turned(tmp_path / "odd.jpg", 77)
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    Image.new("L", (4, 4)).save(tmp_path / "plain.jpg")
    Image.new("L", (4, 4)).save(tmp_path / "broken.jpg", exif=b"Exif\0\0nonsense")
    for name in ("odd.jpg", "a.png", "plain.jpg", "broken.jpg"):
        with Image.open(tmp_path / name) as image:
            assert orientation(image) == 1, name


def test_missing_files_are_counted_and_named(tmp_path, objects, caplog):
    with caplog.at_level(logging.WARNING), pytest.raises(ValueError, match="1 of 1 annotated images .*: a.jpg"):
        one_file(tmp_path, (10, 20), objects)
