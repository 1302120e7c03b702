"""YOLO text files: layouts, class names, rows of every kind, and errors that name the file and the line."""

import logging
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from detzoo.data.yolo import YoloDataset

BOX = "0 0.5 0.5 0.2 0.5"  # of an image of 50x40 pixels: x 20..30, y 10..30


@pytest.fixture
def make(tmp_path):
    """Write images of 50x40 pixels with their label texts (None for no file), and a data.yaml."""

    def make(images="images/{0}", labels="labels/{0}", yaml_at="data.yaml", content=None, **texts: str | None) -> Path:
        for name, text in texts.items():
            image = tmp_path / images.format(name.replace("__", "/"))
            image.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (50, 40)).save(image.with_suffix(".jpg"))
            if text is not None:
                label = tmp_path / labels.format(name.replace("__", "/"))
                label.parent.mkdir(parents=True, exist_ok=True)
                label.with_suffix(".txt").write_text(text)
        content = (
            {"train": "images/train", "val": "images/val", "names": ["cat", "dog"]} if content is None else content
        )
        (tmp_path / yaml_at).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / yaml_at).write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return tmp_path / yaml_at

    return make


def test_layout(make):
    data = make(train__b=f"{BOX}\n\n1 0.1 0.25 0.2 0.5\n", train__a=None, train__sub__c="", val__d=BOX)
    train = YoloDataset(data, "train")
    found = train.annotations
    assert train.categories.names == ("cat", "dog") and train.categories.ids == (0, 1)
    assert [Path(train.name(index)).relative_to(data.parent).as_posix() for index in range(3)] == [
        "images/train/a.jpg", "images/train/b.jpg", "images/train/sub/c.jpg",
    ]  # fmt: skip
    assert found.image_ids.tolist() == [1, 2, 3] and found.image_sizes.tolist() == [[40, 50]] * 3
    assert found.offsets.tolist() == [0, 0, 2, 2] and found.labels.tolist() == [1, 2]
    np.testing.assert_allclose(found.boxes, [[20, 10, 30, 30], [0, 0, 10, 20]], atol=1e-12)
    np.testing.assert_allclose(found.areas, [200, 200])
    assert train.open_image(1).size == (50, 40)
    assert len(YoloDataset(str(data), "val")) == 1


@pytest.mark.parametrize("prefix", ["", "../"])
def test_roboflow(make, prefix):
    """Its exports keep a folder for each split beside the data.yaml, and write ../train/images for it."""
    content = {"train": f"{prefix}train/images", "val": f"{prefix}valid/images", "nc": 1, "names": ["cell"]}
    data = make("{0}", "{0}", content=content)
    for folder, name in (("train", "a"), ("valid", "b")):
        make(f"{folder}/images/{{0}}", f"{folder}/labels/{{0}}", content=content, **{name: BOX})
    assert YoloDataset(data, "train").annotations.labels.tolist() == [1]
    assert YoloDataset(data, "val").name(0).endswith("valid/images/b.jpg")


def test_path_and_root(make, tmp_path):
    content = {"path": "../set", "train": "images", "names": {0: "cat"}}
    data = make("set/images/{0}", "set/labels/{0}", "yaml/data.yaml", content, a=BOX)
    assert len(YoloDataset(data, "train")) == 1, "relative to the YAML"
    data = make("set/images/{0}", "set/labels/{0}", "yaml/data.yaml", {**content, "path": "/not/here"}, a=BOX)
    with pytest.raises(
        ValueError, match="data.yaml: train = 'images' is not there, looked for /not/here/images; .*root="
    ):
        YoloDataset(data, "train")
    assert len(YoloDataset(data, "train", root=tmp_path / "set")) == 1


def test_lists_of_images_and_several_places(make, tmp_path):
    content = {"train": ["images/train", "more.txt"], "names": ["cat", "dog"]}
    data = make(content=content, train__a=BOX, val__b=BOX, val__c=None)
    (tmp_path / "more.txt").write_text(f"./images/val/b.jpg\n\n{tmp_path}/images/val/c.jpg\n")
    found = YoloDataset(data, "train")
    assert [Path(found.name(index)).name for index in range(3)] == ["a.jpg", "b.jpg", "c.jpg"]
    assert found.annotations.offsets.tolist() == [0, 1, 2, 2]
    (tmp_path / "more.txt").write_text("./images/val/b.jpg\n./images/val/z.jpg\n")
    with pytest.raises(ValueError, match="1 of 3 annotated images are not there: val/z.jpg"):
        YoloDataset(data, "train")


def test_labels_beside_the_images(make):
    data = make("photos/{0}", "photos/{0}", content={"train": "photos", "names": ["cat"]}, a=BOX)
    assert YoloDataset(data, "train").annotations.labels.tolist() == [1]


def test_the_last_folder_called_images_counts(make):
    content = {"train": "images/set/images/train", "names": ["cat"]}
    data = make("images/set/images/train/{0}", "images/set/labels/train/{0}", content=content, a=BOX)
    assert len(YoloDataset(data, "train").annotations.labels) == 1


def test_without_a_yaml(make, tmp_path):
    make(train__a=BOX, val__b="1 0.5 0.5 1 1")
    found = YoloDataset(tmp_path / "images" / "val", classes=["cat", "dog"])
    assert found.categories.names == ("cat", "dog") and found.annotations.labels.tolist() == [2]
    (tmp_path / "list.txt").write_text("images/train/a.jpg\n")
    assert len(YoloDataset(tmp_path / "list.txt", classes=["cat"])) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "is no data.yaml: name the classes"),
        ({"classes": ["cat"], "split": "train"}, "leave split and root out"),
        ({"classes": ["cat"], "root": "x"}, "leave split and root out"),
    ],
)
def test_options_that_do_not_go_with_a_folder(make, tmp_path, options, message):
    make(train__a=BOX)
    with pytest.raises(ValueError, match=message):
        YoloDataset(tmp_path / "images", **options)


def test_names_by_number_with_holes(make):
    data = make(content={"train": "images", "names": {7: "dog", 0: "cat"}, "nc": 2}, a="7 0.5 0.5 1 1\n0 0.5 0.5 1 1")
    found = YoloDataset(data, "train")
    assert found.categories.names == ("cat", "dog") and found.categories.ids == (0, 7)
    assert found.annotations.labels.tolist() == [2, 1]


ROWS = {
    "a triangle": ("0 0.2 0.25 0.4 0.5 0.3 0.75", [10, 10, 20, 30]),
    "a turned box": ("0 0.2 0.5 0.4 0.25 0.6 0.5 0.4 0.75", [10, 10, 30, 30]),
    "a class as a float": ("0.0 0.5 0.5 0.2 0.5", [20, 10, 30, 30]),
    "a byte order mark": (f"\ufeff{BOX}", [20, 10, 30, 30]),
    "a little beyond": ("0 0.95 0.5 0.11 0.5", [44.75, 10, 50, 30]),
}


@pytest.mark.parametrize(("row", "box"), ROWS.values(), ids=ROWS)
def test_rows(make, row, box):
    (found,) = YoloDataset(make(train__a=row), "train").annotations.boxes
    assert found == pytest.approx(box)


def test_poses(make):
    """What follows the box are points with visibility, no polygon."""
    content = {"train": "images", "names": ["cat"], "kpt_shape": [2, 3]}
    data = make(content=content, a=f"{BOX} 0.1 0.1 2 0.9 0.9 1")
    np.testing.assert_allclose(YoloDataset(data, "train").annotations.boxes, [[20, 10, 30, 30]])


def test_a_pose_whose_box_is_in_pixels(make):
    content = {"train": "images", "names": ["cat"], "kpt_shape": [1, 2]}
    with pytest.raises(ValueError, match="a.txt, line 1: got 25 20 10 20 7 9, expected fractions"):
        YoloDataset(make(content=content, a="0 25 20 10 20 7 9"), "train")
    found = YoloDataset(make(content=content, a=f"{BOX} 7 9"), "train")
    assert found.annotations.boxes.shape == (1, 4), "what follows the box is not looked at"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("0 0.5 0.5 0.2", "4 columns, expected 5"),
        (f"{BOX} 0.98", "6 columns, expected 5"),
        ("0 0.1 0.1 0.2 0.2 0.3 0.3 0.4", "8 columns, expected 5"),
        ("0", "1 columns, expected 5"),
        ("cat 0.5 0.5 0.2 0.5", "'cat 0.5 0.5 0.2 0.5', expected numbers"),
        ("0,0.5,0.5,0.2,0.5", "expected numbers"),
        ("2 0.5 0.5 0.2 0.5", "class 2, expected one of 0..1"),
        ("-1 0.5 0.5 0.2 0.5", "class -1"),
        ("0.5 0.5 0.5 0.2 0.5", "class 0.5"),
        ("nan 0.5 0.5 0.2 0.5", "class nan"),
        ("0 25 20 10 20", "got 25 20 10 20, expected fractions"),
        ("0 inf 0.5 0.2 0.5", "expected fractions"),
    ],
)
def test_rows_that_are_no_box_are_named_by_file_and_line(make, row, message):
    data = make(train__a=BOX, train__b=f"{BOX}\n\n{row}\n")
    with pytest.raises(ValueError, match=message) as error:
        YoloDataset(data, "train")
    assert "labels/train/b.txt, line 3: " in str(error.value)


def test_labels_that_are_no_text(make, tmp_path):
    data = make(train__a=BOX)
    (tmp_path / "labels/train/a.txt").write_bytes(b"\xff\xfe0\0")
    with pytest.raises(ValueError, match=r"labels/train/a.txt: no text"):
        YoloDataset(data, "train")


def test_broken_boxes(make, caplog):
    data = make(train__a=BOX, train__b="0 0.5 0.5 0 0.5\n1 nan 0.5 0.1 0.1\n0 1.5 0.5 0.2 0.5")
    with caplog.at_level(logging.WARNING, logger="detzoo"):
        found = YoloDataset(data, "train").annotations
    assert found.offsets.tolist() == [0, 1, 1]
    assert len(caplog.records) == 1 and "4 boxes: 3 (xyxy) are empty" in caplog.text
    assert "b.jpg: [25.0, 10.0, 25.0, 30.0]" in caplog.text
    with pytest.raises(ValueError, match=r"data.yaml, 4 boxes: 3 [^:]*:\n  b.jpg: \[25.0, 10.0, 25.0, 30.0\]"):
        YoloDataset(data, "train", invalid="error")


def test_images_that_cannot_be_read(make, tmp_path, caplog):
    data = make(train__a=BOX, train__b=None, train__c=BOX)
    (tmp_path / "images/train/a.jpg").write_bytes(b"")
    with caplog.at_level(logging.WARNING, logger="detzoo"):
        found = YoloDataset(data, "train", broken="drop")
    assert [Path(found.name(index)).name for index in range(2)] == ["b.jpg", "c.jpg"]
    assert found.annotations.image_ids.tolist() == [2, 3] and found.annotations.offsets.tolist() == [0, 0, 1]
    assert "1 of 3 images cannot be read and were dropped" in caplog.text and "a.jpg" in caplog.text
    with pytest.raises(ValueError, match="1 of 3 images cannot be read.*a.jpg"):
        YoloDataset(data, "train", invalid="drop")


def test_an_image_that_a_camera_was_turned_for(make, tmp_path):
    data = make(train__a="0 0.5 0.25 1 0.5")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (50, 40)).save(tmp_path / "images/train/a.jpg", exif=exif)
    found = YoloDataset(data, "train")
    assert found.annotations.image_sizes.tolist() == [[50, 40]], "height and width as shown"
    assert found.annotations.boxes.tolist() == [[0, 0, 40, 25]]
    assert found.open_image(0).size == (40, 50)


def test_an_image_that_a_camera_stood_on_its_head_for(make, tmp_path):
    """Its size says nothing; the labels are still of what is shown."""
    data = make(train__a=BOX)
    image, exif = Image.new("L", (50, 40)), Image.Exif()
    image.paste(255, (0, 0, 25, 40))
    exif[0x0112] = 3
    image.save(tmp_path / "images/train/a.jpg", exif=exif)
    shown = YoloDataset(data, "train").open_image(0)
    assert shown.getpixel((5, 5)) < 50 < 200 < shown.getpixel((45, 5))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("names: [", "no YAML"),
        ("!!python/object/apply:os.getcwd []", "no YAML"),
        ("- 1", "the file holds a list"),
        ({"train": "images"}, "names = None, expected a list"),
        ({"train": "images", "names": []}, r"names = \[\]"),
        ({"train": "images", "names": {"0": "cat"}}, "names = {'0': 'cat'}"),
        ({"train": "images", "names": ["cat", "cat"]}, "names must be unique"),
        ({"train": "images", "names": ["cat"], "nc": 2}, "nc = 2, but there are 1 names"),
        ({"train": 5, "names": ["cat"]}, "train = 5, expected a folder"),
        ({"train": "data.yaml.txt", "names": ["cat"]}, "train = 'data.yaml.txt' is not there"),
        ({"val": "images", "names": ["cat"]}, "no split 'train': expected one of: val"),
        ({"train": "labels", "names": ["cat"]}, "found no image"),
    ],
)
def test_a_yaml_that_says_too_little(make, content, message):
    data = make(content=content, a=BOX)
    with pytest.raises(ValueError, match=message) as error:
        YoloDataset(data, "train")
    assert "data.yaml" in str(error.value)


def test_a_split_has_to_be_named(make):
    with pytest.raises(ValueError, match="no split None: say which one: train, val"):
        YoloDataset(make(train__a=BOX), None)
    with pytest.raises(ValueError, match="names the classes: leave classes out"):
        YoloDataset(make(train__a=BOX), "train", classes=["cat"])


def test_no_label_at_all_is_a_mistake(make):
    with pytest.raises(ValueError, match=r"none of 2 images has a label file; looked for .*labels/train/a.txt"):
        YoloDataset(make(train__a=None, train__b=None), "train")


def test_a_list_that_is_no_text(make, tmp_path):
    make(train__a=BOX)
    with pytest.raises(ValueError, match=r"a.jpg: expected a folder of images or a text file"):
        YoloDataset(tmp_path / "images/train/a.jpg", classes=["cat"])
