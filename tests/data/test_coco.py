"""COCO JSON in and out, the policy for broken boxes, and messages that name the file and the entry."""

import copy
import json
import logging
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detzoo.data.check import check_images
from detzoo.data.coco import CocoDataset, read_coco, write_coco
from detzoo.files import replacing

COCO_MINI = Path(__file__).parents[3] / "shared" / "data" / "coco-mini"

# Images out of order, ids with holes, categories out of order, objects of the two images interleaved.
CONTENT = {
    "images": [
        {"id": 7, "file_name": "b.jpg", "width": 40, "height": 30},
        {"id": 3, "file_name": "a.jpg", "width": 20, "height": 10},
        {"id": 5, "file_name": "c.jpg", "width": 8, "height": 9},
    ],
    "annotations": [
        {"id": 1, "image_id": 3, "category_id": 90, "bbox": [1, 2, 3, 4], "area": 5.5, "iscrowd": 0},
        {"id": 2, "image_id": 7, "category_id": 4, "bbox": [0.25, 0, 10, 20], "iscrowd": 1},
        {"id": 3, "image_id": 3, "category_id": 4, "bbox": [0, 0, 20, 10], "area": 200},
    ],
    "categories": [{"id": 90, "name": "brush"}, {"id": 4, "name": "plane"}],
}


@pytest.fixture
def content():
    return copy.deepcopy(CONTENT)


@pytest.fixture
def read(tmp_path, content):
    """Write `content`, as the test left it, and read it back; only the images that exist are told apart."""
    for name, size in (("a.jpg", (20, 10)), ("b.jpg", (40, 30)), ("c.jpg", (8, 9))):
        Image.new("RGB", size).save(tmp_path / name)

    def read(**options) -> CocoDataset:
        (tmp_path / "instances.json").write_text(json.dumps(content))
        return CocoDataset(tmp_path, tmp_path / "instances.json", **options)

    return read


def test_ids_with_holes_become_labels_and_objects_are_grouped_by_image(read):
    found = read().annotations
    assert found.categories.names == ("plane", "brush") and found.categories.ids == (4, 90)
    assert found.image_ids.tolist() == [7, 3, 5]
    assert found.image_sizes.tolist() == [[30, 40], [10, 20], [9, 8]]
    assert found.offsets.tolist() == [0, 1, 3, 3]
    assert found.boxes.tolist() == [[0.25, 0, 10.25, 20], [1, 2, 4, 6], [0, 0, 20, 10]]
    assert found.labels.tolist() == [1, 2, 1]
    assert found.areas.tolist() == [200, 5.5, 200]  # the first is not stated: width times height
    assert found.crowd.tolist() == [True, False, False]
    assert found.boxes.dtype == np.float64 and found.labels.dtype == found.offsets.dtype == np.int64


def test_images_are_opened_undecoded_and_leave_no_file_open(read):
    dataset = read()
    assert len(dataset) == 3 and dataset.name(1).endswith("a.jpg")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        image = dataset.open_image(0)
        assert image.draft("RGB", (20, 15)) is not None, "a decoded image has no draft"
        assert image.convert("RGB").size == (20, 15)
        del image
    assert not caught, "a file that nobody closed gives a ResourceWarning"


def test_empty_images_can_be_left_out(read):
    dataset = read(keep_empty=False)
    assert dataset.annotations.image_ids.tolist() == [3], "the one object of image 7 is a crowd, no target"
    assert dataset.annotations.offsets.tolist() == [0, 2], "and both of image 3"
    assert Path(dataset.name(0)).name == "a.jpg"


def test_broken_boxes_are_dropped_and_told_once(read, content, caplog):
    content["annotations"] += [
        {"image_id": 7, "category_id": 4, "bbox": [5, 5, 0, 3]},
        {"image_id": 7, "category_id": 4, "bbox": [5, 5, 2, -3]},
        {"image_id": 3, "category_id": 4, "bbox": [float("nan"), 5, 2, 3]},
        {"image_id": 3, "category_id": 4, "bbox": [1, 5, float("inf"), 3]},
        {"image_id": 3, "category_id": 4, "bbox": [20, 0, 5, 5]},
        {"image_id": 5, "category_id": 4, "bbox": [2, 2, 3, 3]},
    ]
    with caplog.at_level(logging.WARNING, logger="detzoo"):
        found = read().annotations
    assert found.offsets.tolist() == [0, 1, 3, 4]
    assert found.boxes[3].tolist() == [2, 2, 5, 5] and found.labels.tolist() == [1, 2, 1, 1]
    assert len(caplog.records) == 1
    assert "9 boxes: 5 (xyxy) are empty, not finite or outside" in caplog.text
    assert "b.jpg: [5.0, 5.0, 5.0, 8.0]" in caplog.text


def test_broken_boxes_can_be_an_error_that_lists_all(read, content):
    content["annotations"] += [{"image_id": 7, "category_id": 4, "bbox": [5, number, 0, 3]} for number in range(8)]
    with pytest.raises(ValueError, match="8 .*are empty") as error:
        read(invalid="error")
    assert all(f"b.jpg: [5.0, {number}.0, 5.0, {number + 3}.0]" in str(error.value) for number in range(8))


def test_boxes_that_stick_out_are_clipped_and_told_beyond_a_pixel(read, content, caplog):
    content["annotations"] = [{"image_id": 3, "category_id": 4, "bbox": [-0.5, 0, 10, 10.75]}]
    found = read(invalid="error").annotations
    assert found.boxes.tolist() == [[0, 0, 9.5, 10]] and found.areas.tolist() == [95]
    assert not caplog.records

    content["annotations"].append({"image_id": 3, "category_id": 4, "bbox": [12, 1, 30, 2], "area": 11})
    found = read(invalid="error").annotations
    assert found.boxes[1].tolist() == [12, 1, 20, 3]
    assert found.areas.tolist() == [95, 11], "an area of a mask is not that of the box"
    assert "1 (xyxy) are partly outside their image and were clipped: a.jpg: [12.0, 1.0, 42.0, 3.0]" in caplog.text


def test_unknown_policy(read):
    with pytest.raises(ValueError, match="invalid = 'ignore'"):
        read(invalid="ignore")


def _set(table, number, key, value):
    def change(content):
        content[table][number][key] = value

    return change


def _remove(table, number, key):
    def change(content):
        del content[table][number][key]

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.pop("categories"), "a list of categories; the file has"),
        (lambda content: content["images"].append(None), "a list of images"),
        (_remove("images", 1, "width"), r"images\[1\] has no 'width'"),
        (_set("images", 1, "height", 0), r"images\[1\] is 20 pixels wide and 0 high"),
        (_set("images", 1, "height", "10"), r"images\[1\]: height = '10', expected a whole number"),
        (_set("images", 1, "id", 7), r"image ids must be unique, .*\[7\]"),
        (_set("images", 1, "file_name", None), r"images\[1\]: file_name = None, expected text"),
        (_remove("annotations", 2, "bbox"), r"annotations\[2\] has no 'bbox'"),
        (_set("annotations", 2, "bbox", [1, 2, 3]), r"annotations\[2\]: bbox = \[1, 2, 3\], expected \[x, y, width"),
        (_set("annotations", 2, "area", "big"), r"annotations\[2\]: area = 'big'"),
        (
            _set("annotations", 2, "category_id", 5),
            r"annotations\[2\] with category_id = 5; expected one of 90, 4|4, 90",
        ),
        (_set("annotations", 2, "image_id", 99), r"annotations\[2\] with image_id = 99"),
        (_set("categories", 1, "name", "brush"), "category names must be unique"),
        (_set("categories", 1, "id", 90), "category ids must be unique"),
    ],
)
def test_errors_name_the_file_and_the_entry(read, content, change, message):
    change(content)
    with pytest.raises(ValueError, match=message) as error:
        read()
    assert "instances.json" in str(error.value)


@pytest.mark.parametrize(("text", "message"), [("{", "not a JSON file"), ("[]", "the file holds a list")])
def test_files_that_are_something_else(tmp_path, text, message):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ValueError, match=f"x.json.*{message}"):
        CocoDataset(tmp_path, tmp_path / "x.json")


def test_missing_images_are_counted(read, content, tmp_path):
    content["images"][0]["file_name"] = "sub/b.jpg"
    content["images"][1]["file_name"] = "z.jpg"
    with pytest.raises(ValueError, match=r"2 of 3 annotated images are not there: sub/b.jpg; z.jpg"):
        read()
    (tmp_path / "sub").mkdir()
    (tmp_path / "b.jpg").rename(tmp_path / "sub" / "b.jpg")
    (tmp_path / "a.jpg").rename(tmp_path / "z.jpg")
    assert read().open_image(0).size == (40, 30)


def test_no_annotations_at_all(read, content):
    content["annotations"] = []
    found = read().annotations
    assert found.offsets.tolist() == [0, 0, 0, 0] and found.boxes.shape == (0, 4)


def test_round_trip(read, tmp_path):
    first = replace(read().annotations, difficult=np.array([False, True, False]))
    write_coco(tmp_path / "again.json", first, ["b.jpg", "a.jpg", "c.jpg"])
    written = json.loads((tmp_path / "again.json").read_text())["annotations"]
    assert [item["id"] for item in written] == [1, 2, 3], "pycocotools takes id 0 for no object"
    second, names = read_coco(tmp_path / "again.json")
    assert names.tolist() == [b"b.jpg", b"a.jpg", b"c.jpg"]
    assert second.categories == first.categories
    for field in ("image_ids", "image_sizes", "offsets", "boxes", "labels", "areas", "crowd", "difficult"):
        np.testing.assert_array_equal(getattr(second, field), getattr(first, field), err_msg=field)


def test_a_failed_write_leaves_the_old_file_and_no_other(read, tmp_path):
    found = read().annotations
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    found.boxes[0, 0] = np.nan
    with pytest.raises(ValueError, match="JSON"):
        write_coco(tmp_path / "instances.json", found, ["b.jpg", "a.jpg", "c.jpg"])
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "instances.json") as unfinished:
        unfinished.write_text("half of")
        raise KeyboardInterrupt
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    with pytest.raises(ValueError, match="2 file names for 3 images"):
        write_coco(tmp_path / "instances.json", found, ["b.jpg", "a.jpg"])


@pytest.mark.skipif(not COCO_MINI.is_dir(), reason="needs ../shared/data/coco-mini")
@pytest.mark.parametrize(("split", "objects", "empty"), [("train2017", 929, 2), ("val2017", 898, 0)])
def test_real_coco_as_pycocotools_reads_it(split, objects, empty):
    from pycocotools.coco import COCO

    file = COCO_MINI / "annotations" / f"instances_{split}.json"
    dataset, theirs = CocoDataset(COCO_MINI / split, file), COCO(str(file))
    found = dataset.annotations
    assert (len(dataset), len(dataset.categories), len(found.labels)) == (128, 80, objects)
    assert (np.diff(found.offsets) == 0).sum() == empty
    for index, image_id in enumerate(found.image_ids.tolist()):
        rows, expected = found.rows(index), theirs.imgToAnns[image_id]
        ids = np.array(found.categories.ids)[found.labels[rows] - 1]
        assert ids.tolist() == [item["category_id"] for item in expected]
        assert found.areas[rows].tolist() == [item["area"] for item in expected]
        boxes = np.array([item["bbox"] for item in expected]).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        np.testing.assert_allclose(found.boxes[rows], boxes, atol=0.02)  # a few stick out by a rounding
    assert dataset.open_image(5).size[::-1] == tuple(found.image_sizes[5])


def test_crowds_alone_do_not_make_an_image_worth_training_on(read, content):
    """Of two images with a crowd only the one with another object stays; its crowd stays as well."""
    content["annotations"].append({"id": 4, "image_id": 3, "category_id": 4, "bbox": [5, 5, 5, 5], "iscrowd": 1})
    found = read(keep_empty=False).annotations
    assert found.image_ids.tolist() == [3] and found.crowd.tolist() == [False, False, True]


def test_images_of_another_size_are_found(read, content):
    content["images"][1]["width"] = 21
    with pytest.raises(ValueError, match=r"1 of 3 images are broken: .*a.jpg is 10x20 pixels .* annotated as 10x21"):
        check_images(read())


@pytest.mark.skipif(not COCO_MINI.is_dir(), reason="needs ../shared/data/coco-mini")
def test_real_coco_is_whole():
    dataset = CocoDataset(COCO_MINI / "val2017", COCO_MINI / "annotations" / "instances_val2017.json")
    assert check_images(dataset, "decode") is dataset
