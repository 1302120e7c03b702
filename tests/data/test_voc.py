"""VOC folders: layout, class names, pixel conventions, broken boxes, and errors that name the XML."""

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detzoo.categories import VOC
from detzoo.data.check import find_broken
from detzoo.data.voc import VocDataset

SHARED = Path(__file__).parents[3] / "shared" / "data"
BCCD, RACCOON = SHARED / "bccd", SHARED / "raccoon"


def _xml(*objects: str, size: str = "<size><width>50</width><height>40</height></size>") -> str:
    return f"<annotation><filename>elsewhere.bmp</filename>{size}{''.join(objects)}</annotation>"


def _object(name: str, box: tuple = (2, 3, 11, 23), more: str = "") -> str:
    sides = "".join(f"<{side}>{value}</{side}>" for side, value in zip(("xmin", "ymin", "xmax", "ymax"), box))
    return f"<object><name>{name}</name>{more}<bndbox>{sides}</bndbox></object>"


@pytest.fixture
def make(tmp_path):
    """Write a data set of XML texts by image id, all of them in the split `train`."""

    def make(suffix: str = ".jpg", **xmls: str) -> Path:
        for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        for image_id, xml in xmls.items():
            (tmp_path / "Annotations" / f"{image_id}.xml").write_text(xml)
            Image.new("RGB", (50, 40)).save(tmp_path / "JPEGImages" / f"{image_id}{suffix}")
        (tmp_path / "ImageSets" / "Main" / "train.txt").write_text("\n".join(xmls) + "\n\n")
        return tmp_path

    return make


def test_layout(make):
    part = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>"
    root = make(
        b=_xml(_object("dog"), _object("cat", (1, 1, 50, 40), "<difficult>1</difficult>" + part)),
        a=_xml(),
        c=_xml(_object("dog", (4.5, 6, 7, 8))),
    )
    dataset = VocDataset(root, "train")
    found = dataset.annotations
    assert dataset.categories == VOC
    assert found.image_ids.tolist() == [1, 2, 3], "in the order of the split"
    assert found.image_sizes.tolist() == [[40, 50]] * 3
    assert found.offsets.tolist() == [0, 2, 2, 3]
    assert [VOC.name(label) for label in found.labels] == ["dog", "cat", "dog"]
    assert found.boxes.tolist() == [[2, 3, 11, 23], [1, 1, 50, 40], [4.5, 6, 7, 8]]
    assert found.difficult.tolist() == [False, True, False] and not found.crowd.any()
    assert found.areas.tolist() == [180, 49 * 39, 5]
    assert [Path(dataset.name(index)).name for index in range(3)] == ["b.jpg", "a.jpg", "c.jpg"]
    assert dataset.open_image(0).size == (50, 40)


def test_one_based_pixels_include_both_ends(make):
    root = make(a=_xml(_object("dog", (1, 1, 50, 40)), _object("dog", (7, 8, 7, 8))))
    boxes = VocDataset(root, "train", one_based=True, invalid="error").annotations.boxes
    assert boxes.tolist() == [[0, 0, 50, 40], [6, 7, 7, 8]], "the whole image, and one pixel"


@pytest.mark.parametrize("suffix", [".jpeg", ".png", ".JPG"])
def test_other_suffixes(make, suffix):
    assert VocDataset(make(suffix, a=_xml()), "train").name(0).endswith(f"a{suffix}")


def test_jpg_comes_first(make):
    make(".png", a=_xml())
    assert VocDataset(make(".jpg", a=_xml()), "train").name(0).endswith("a.jpg")


@pytest.mark.parametrize("size", ["", "<size><width>0</width><height>0</height></size>"])
def test_a_size_that_is_not_stated_is_read_from_the_image(make, size):
    root = make(a=_xml(size=size))
    Image.new("RGB", (33, 22)).save(root / "JPEGImages" / "a.jpg")
    assert VocDataset(root, "train").annotations.image_sizes.tolist() == [[22, 33]]


def test_own_names_are_numbered_alike_in_all_splits(make):
    root = make(a=_xml(_object("wheel"), _object("person")), b=_xml(_object("person")))
    (root / "ImageSets" / "Main" / "test.txt").write_text("b\n")
    for split in ("train", "test"):
        assert VocDataset(root, split).categories.names == ("person", "wheel")


def test_given_classes_keep_their_order(make):
    dataset = VocDataset(make(a=_xml(_object("dog"), _object("cat"))), "train", classes=["zebra", "dog", "cat"])
    assert dataset.categories.names == ("zebra", "dog", "cat")
    assert dataset.annotations.labels.tolist() == [2, 3]


def test_a_name_outside_the_classes_gets_a_proposal(make):
    root = make(a=_xml(_object("dog")), b=_xml(_object("Catt")), c=_xml(_object("DOG")))
    with pytest.raises(ValueError, match="2 object names are not among the classes") as error:
        VocDataset(root, "train", classes=["dog", "cat"])
    assert "b.xml: 'Catt', did you mean 'cat'?" in str(error.value)
    assert "c.xml: 'DOG', did you mean 'dog'?" in str(error.value)


def test_broken_boxes(make, caplog):
    root = make(a=_xml(_object("dog")), b=_xml(_object("dog", (9, 9, 9, 12)), _object("dog", (-9, 1, 20, 20))))
    with caplog.at_level(logging.WARNING, logger="detzoo"):
        found = VocDataset(root, "train").annotations
    assert found.boxes.tolist() == [[2, 3, 11, 23], [0, 1, 20, 20]] and found.areas.tolist() == [180, 380]
    assert len(caplog.records) == 1
    assert "3 boxes: 1 (xyxy) are empty" in caplog.text and "b.xml: [9.0, 9.0, 9.0, 12.0]" in caplog.text
    assert "b.xml: [-9.0, 1.0, 20.0, 20.0]" in caplog.text
    with pytest.raises(ValueError, match=r"b\.xml: \[9.0, 9.0, 9.0, 12.0\]"):
        VocDataset(root, "train", invalid="error")


BOMB = '<!DOCTYPE a [<!ENTITY x "boom">]><annotation><folder>&x;</folder></annotation>'


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        ("<annotation>", "broken or unsafe XML"),
        (BOMB, "broken or unsafe XML"),
        (_xml("<object><bndbox/></object>"), "an <object> has no <name>"),
        (_xml("<object><name>dog</name></object>"), "an <object> has no <bndbox/xmin>"),
        (_xml(_object("dog", (1, 2, "wide", 4))), "<bndbox/xmax> is 'wide', expected a number"),
        (_xml(_object("dog", more="<difficult>very</difficult>")), "<difficult> is 'very'"),
        (_xml(size="<size><width>x</width></size>"), "<size/width> is 'x', expected a whole number"),
    ],
)
def test_errors_name_the_xml(make, xml, message):
    root = make(good=_xml(), bad=xml)
    with pytest.raises(ValueError, match=message) as error:
        VocDataset(root, "train")
    assert "bad.xml" in str(error.value)


def test_what_is_not_there(make):
    root = make(a=_xml(), b=_xml())
    with pytest.raises(ValueError, match="no split 'trian': did you mean 'train'?"):
        VocDataset(root, "trian")
    (root / "JPEGImages" / "b.jpg").unlink()
    with pytest.raises(ValueError, match="1 of 2 annotated images are not there: b.jpg"):
        VocDataset(root, "train")
    (root / "Annotations" / "a.xml").unlink()
    with pytest.raises(FileNotFoundError, match="a.xml"):
        VocDataset(root, "train")
    (root / "ImageSets" / "Main" / "train.txt").write_text("b\nb\n")
    with pytest.raises(ValueError, match="each image once, but these repeat: b"):
        VocDataset(root, "train")


@pytest.mark.skipif(not BCCD.is_dir(), reason="needs ../shared/data/bccd")
def test_bccd(caplog):
    with caplog.at_level(logging.WARNING, logger="detzoo"):
        train, test = VocDataset(BCCD, "trainval"), VocDataset(BCCD, "test")
    assert (len(train), len(test)) == (292, 72)
    assert train.categories.names == test.categories.names == ("Platelets", "RBC", "WBC")
    assert len(train.annotations.labels) + len(test.annotations.labels) == 4888 - 2
    counts = np.bincount(train.annotations.labels) + np.bincount(test.annotations.labels)
    assert counts.tolist() == [0, 361, 4155 - 2, 372]
    assert len(caplog.records) == 1 and "3943 boxes: 2 (xyxy) are empty" in caplog.text
    assert "BloodImage_00338.xml" in caplog.text and "BloodImage_00343.xml" in caplog.text


@pytest.mark.skipif(not BCCD.is_dir(), reason="needs ../shared/data/bccd")
def test_bccd_with_broken_boxes_as_errors():
    with pytest.raises(ValueError, match="2 .*are empty") as error:
        VocDataset(BCCD, "trainval", invalid="error")
    assert "BloodImage_00338.xml" in str(error.value) and "BloodImage_00343.xml" in str(error.value)


# ---- folders without lists ----


@pytest.fixture
def folder(make):
    """Twenty images with an XML each and no list; the folders are not called as the devkit calls them."""
    root = make(**{f"i{number:02d}": _xml(_object("cell")) for number in range(20)})
    (root / "ImageSets" / "Main" / "train.txt").unlink()
    (root / "Annotations").rename(root / "xmls")
    (root / "JPEGImages").rename(root / "photos")
    return root


NAMED = {"annotations": "xmls", "images": "photos"}


def _ids(dataset) -> list[str]:
    return [Path(dataset.name(index)).stem for index in range(len(dataset))]


def test_all_that_have_an_xml(folder):
    (folder / "xmls" / "notes.txt").touch()
    dataset = VocDataset(folder, None, **NAMED)
    assert _ids(dataset) == [f"i{number:02d}" for number in range(20)]
    assert dataset.categories.names == ("cell",)


def test_parts_are_disjoint_whole_and_the_same_every_time(folder):
    train, val = (VocDataset(folder, None, part=part, **NAMED) for part in ((0.0, 0.8), [0.8, 1.0]))
    assert (len(train), len(val)) == (16, 4)
    assert sorted(_ids(train) + _ids(val)) == [f"i{number:02d}" for number in range(20)]
    assert _ids(train) == sorted(_ids(train)), "in the order of their names"
    assert _ids(val) == ["i00", "i02", "i17", "i18"], "on every machine"
    assert _ids(VocDataset(folder, None, part=(0.8, 1.0), seed=1, **NAMED)) != _ids(val)


def test_a_part_of_a_list(make):
    root = make(d=_xml(), a=_xml(), c=_xml(), b=_xml())
    halves = [_ids(VocDataset(root, "train", part=part)) for part in ((0, 0.5), (0.5, 1))]
    assert sorted(sum(halves, [])) == ["a", "b", "c", "d"] and len(halves[0]) == 2


@pytest.mark.parametrize("part", [(0.5, 0.5), (0.8, 0.2), (-0.1, 1), (0, 1.1)])
def test_parts_that_are_none(folder, part):
    with pytest.raises(ValueError, match="expected two fractions, 0 <= first < second <= 1"):
        VocDataset(folder, None, part=part, **NAMED)


def test_folders_that_are_not_there(folder, make):
    with pytest.raises(
        ValueError, match=r"no folder Annotations \(folders: ImageSets, photos, xmls\): .*annotations=NAME"
    ):
        VocDataset(folder, None)
    with pytest.raises(ValueError, match=r"no folder JPEGImages .*images=NAME"):
        VocDataset(folder, None, annotations="xmls")
    with pytest.raises(ValueError, match="no split 'train': it has none; for all images say split=null"):
        VocDataset(folder, "train", **NAMED)
    with pytest.raises(ValueError, match="nowhere is no folder"):
        VocDataset(folder / "nowhere", None)


def test_a_devkit_of_several_years(make, tmp_path):
    make(a=_xml())
    for year in ("VOC2012", "VOC2007"):
        (tmp_path / "kit" / year / "Annotations").mkdir(parents=True)
    with pytest.raises(
        ValueError, match="kit holds several data sets, VOC2007, VOC2012: name one of them, .*kit/VOC2007"
    ):
        VocDataset(tmp_path / "kit", "train")


def test_the_file_that_the_xml_names_where_none_has_its_own_name(make):
    named = _xml().replace("elsewhere.bmp", r"C:\photos\holiday.bmp")
    root = make(a=named, b=named)
    (root / "JPEGImages" / "a.jpg").unlink()
    Image.new("RGB", (50, 40)).save(root / "JPEGImages" / "holiday.bmp")
    dataset = VocDataset(root, "train")
    assert [Path(dataset.name(index)).name for index in range(2)] == ["holiday.bmp", "b.jpg"]


# ---- difficult objects, and pixels counted from 0 ----


def test_difficult_objects_can_be_left_out(make):
    hard = _object("cat", (5, 5, 9, 9), "<difficult>1</difficult>")
    root = make(a=_xml(_object("dog"), hard), b=_xml(hard))
    assert VocDataset(root, "train").annotations.difficult.tolist() == [False, True, True]
    found = VocDataset(root, "train", keep_difficult=False).annotations
    assert found.offsets.tolist() == [0, 1, 1] and found.boxes.tolist() == [[2, 3, 11, 23]]


def test_a_pixel_0_where_pixels_are_counted_from_1(make, caplog):
    root = make(
        a=_xml(_object("dog", (1, 1, 5, 5))), b=_xml(_object("dog", (0, 1, 5, 5)), _object("dog", (2, 0, 5, 5)))
    )
    with caplog.at_level(logging.WARNING, logger="detzoo"):
        VocDataset(root, "train")
        assert not caplog.records
        VocDataset(root, "train", one_based=True)
    assert len(caplog.records) == 1
    assert "1 files have an xmin or ymin of 0" in caplog.text and "one_based=False" in caplog.text
    assert "b.xml" in caplog.text and "a.xml" not in caplog.text


def test_a_photograph_annotated_upright(make):
    """What LabelImg writes for a camera that was turned: the size as shown."""
    root = make(a=_xml(_object("dog", (0, 0, 40, 25)), size="<size><width>40</width><height>50</height></size>"))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (50, 40)).save(root / "JPEGImages" / "a.jpg", exif=exif)
    dataset = VocDataset(root, "train", invalid="error")
    assert dataset.annotations.image_sizes.tolist() == [[50, 40]] and dataset.open_image(0).size == (40, 50)


@pytest.mark.skipif(not RACCOON.is_dir(), reason="needs ../shared/data/raccoon")
def test_raccoons(caplog):
    with caplog.at_level(logging.WARNING, logger="detzoo"):
        sets = [
            VocDataset(RACCOON, None, annotations="annotations", images="images", part=part)
            for part in ((0, 0.8), (0.8, 1))
        ]
    assert [len(dataset) for dataset in sets] == [160, 40]
    assert sum(len(dataset.annotations.labels) for dataset in sets) == 217
    assert all(dataset.categories.names == ("raccoon",) for dataset in sets)
    for dataset in sets:
        assert find_broken(dataset) == {}
