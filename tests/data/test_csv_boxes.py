"""CSV tables of boxes: columns, classes, images without objects, and errors that name the line."""

import logging
from pathlib import Path

import pytest
from PIL import Image

from detzoo.data.csv_boxes import CsvDataset

HEADER = "image,label,xmin,ymin,xmax,ymax\n"


@pytest.fixture
def read(tmp_path):
    """Write a table and images of 50x40 pixels, and read them."""

    def read(table: str, images: tuple[str, ...] = ("a.jpg", "b.jpg", "c.jpg"), **options) -> CsvDataset:
        (tmp_path / "images").mkdir(exist_ok=True)
        for name in images:
            Image.new("RGB", (50, 40)).save(tmp_path / "images" / name)
        (tmp_path / "boxes.csv").write_text(table)
        return CsvDataset(tmp_path / "images", tmp_path / "boxes.csv", **options)

    return read


def test_table(read):
    dataset = read(HEADER + "b.jpg,dog,1,2,3.5,4\na.jpg,cat,0,0,50,40\nb.jpg,cat,5,6,7,8\nc.jpg,,,,,\n")
    found = dataset.annotations
    assert dataset.categories.names == ("cat", "dog")
    assert [Path(dataset.name(index)).name for index in range(3)] == ["b.jpg", "a.jpg", "c.jpg"]
    assert found.image_ids.tolist() == [1, 2, 3] and found.image_sizes.tolist() == [[40, 50]] * 3
    assert found.offsets.tolist() == [0, 2, 3, 3] and found.labels.tolist() == [2, 1, 1]
    assert found.boxes.tolist() == [[1, 2, 3.5, 4], [5, 6, 7, 8], [0, 0, 50, 40]]
    assert found.areas.tolist() == [5, 4, 2000] and not found.crowd.any() and not found.difficult.any()
    assert dataset.open_image(0).size == (50, 40)


def test_order_of_columns_spaces_quotes_and_a_byte_order_mark(read):
    table = '\ufeffxmin, ymin ,xmax,ymax,score,label,image\r\n1, 2,3,4,0.5, "big, cat",a.jpg\r\n'
    found = read(table)
    assert found.categories.names == ("big, cat",) and found.annotations.boxes.tolist() == [[1, 2, 3, 4]]


def test_banana(read):
    """The table of the banana data set: another name for the image, and numbers for labels."""
    table = "img_name,label,xmin,ymin,xmax,ymax\na.jpg,0,4,20,43,38\nb.jpg,0,8,15,18,23\n"
    found = read(table, classes=["banana"], columns={"image": "img_name"})
    assert found.categories.names == ("banana",) and found.annotations.labels.tolist() == [1, 1]
    assert found.annotations.boxes.tolist() == [[4, 20, 43, 38], [8, 15, 18, 23]]


def test_given_classes_keep_their_order(read):
    found = read(HEADER + "a.jpg,dog,1,2,3,4\na.jpg,2,1,2,3,4\n", classes=["zebra", "dog", "cat"])
    assert found.categories.names == ("zebra", "dog", "cat") and found.annotations.labels.tolist() == [2, 3]


def test_a_name_that_is_a_number_is_a_name(read):
    assert read(HEADER + "a.jpg,0,1,2,3,4\n", classes=["1", "0"]).annotations.labels.tolist() == [2]


@pytest.mark.parametrize("empty", ["c.jpg,,,,,", "c.jpg, , ,,,", "c.jpg,,,,,\na.jpg,cat,5,5,6,6"])
def test_images_without_objects_stay(read, empty):
    found = read(HEADER + f"a.jpg,cat,1,2,3,4\n{empty}\n").annotations
    assert len(found) == 2 and found.offsets[2] == found.offsets[1] == len(found.labels)


def test_no_objects_at_all(read):
    found = read(HEADER + "a.jpg,,,,,\n", classes=["cat"]).annotations
    assert found.boxes.shape == (0, 4) and found.offsets.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a.jpg,cat,1,2,3", "line 3: expected as many columns"),
        ("a.jpg,cat,1,2,3,4,5", "line 3: expected as many columns"),
        (",cat,1,2,3,4", "line 3: names no image"),
        ("a.jpg,cat,1,2,3,", "line 3: the box is 1,2,3,, expected four numbers"),
        ("a.jpg,cat,,,,", "line 3: the box is ,,,, expected four numbers"),
        ("a.jpg,,1,2,3,4", "line 3: a box without a label"),
        ("a.jpg,cat,1,two,3,4", "line 3: the box is 1,two,3,4, expected four numbers"),
    ],
)
def test_lines_that_are_no_box_are_named(read, line, message):
    with pytest.raises(ValueError, match=message) as error:
        read(HEADER + f"b.jpg,cat,1,2,3,4\n{line}\n")
    assert "boxes.csv" in str(error.value)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("", "no column 'image', it has nothing"),
        ("a.jpg,cat,1,2,3,4\n", "no column 'image', it has 'a.jpg', 'cat'"),
        ("image;label;xmin;ymin;xmax;ymax\n", "it has 'image;label;.*separated by commas"),
        ("img_name,label,xmin,ymin,xmax,ymax\n", "columns={image: NAME}"),
        ("image,label,x,y,xmax,ymax\n", "no column 'xmin'"),
        (HEADER + "a.jpg,1,1,2,3,4\nb.jpg,0,1,2,3,4\n", r"the labels are numbers \(0, 1\): .*classes="),
    ],
)
def test_tables_that_are_something_else(read, table, message):
    with pytest.raises(ValueError, match=message) as error:
        read(table)
    assert "boxes.csv" in str(error.value)


def test_a_file_that_is_no_text(read, tmp_path):
    read(HEADER + "a.jpg,cat,1,2,3,4\n")
    (tmp_path / "boxes.csv").write_bytes(b"\x89PNG\r\n\x1a\n\xff")
    with pytest.raises(ValueError, match="boxes.csv: no CSV"):
        CsvDataset(tmp_path / "images", tmp_path / "boxes.csv")


def test_unknown_column_names(read):
    with pytest.raises(ValueError, match="columns has 'img': did you mean 'image'"):
        read(HEADER, columns={"img": "x"})


@pytest.mark.parametrize("label", ["dog", "3", "-1"])
def test_labels_outside_the_classes(read, label):
    with pytest.raises(ValueError, match=f"2 labels are not among the classes, the first is '{label}' in line 3"):
        read(HEADER + f"a.jpg,cat,1,2,3,4\na.jpg,{label},1,2,3,4\na.jpg,cows,1,2,3,4\n", classes=["cat", "cow", "pig"])


def test_images_that_are_not_there(read):
    with pytest.raises(ValueError, match="2 of 3 annotated images are not there: sub/y.jpg; z.jpg"):
        read(HEADER + "sub/y.jpg,cat,1,2,3,4\na.jpg,cat,1,2,3,4\nz.jpg,cat,1,2,3,4\n")


def test_broken_boxes(read, caplog):
    table = HEADER + "a.jpg,cat,1,2,3,4\nb.jpg,cat,9,9,9,12\nb.jpg,cat,nan,1,2,3\nb.jpg,cat,-9,1,20,20\n"
    with caplog.at_level(logging.WARNING, logger="detzoo"):
        found = read(table).annotations
    assert found.boxes.tolist() == [[1, 2, 3, 4], [0, 1, 20, 20]]
    assert "boxes.csv, 4 boxes: 2 (xyxy) are empty" in caplog.text and "b.jpg: [9.0, 9.0, 9.0, 12.0]" in caplog.text
    with pytest.raises(ValueError, match=r"boxes.csv, 4 boxes: 2 [^:]*:\n  b.jpg: \[9.0, 9.0, 9.0, 12.0\]"):
        read(table, invalid="error")


def test_images_that_cannot_be_read(read, tmp_path, caplog):
    table = HEADER + "a.jpg,cat,1,2,3,4\nx.jpg,dog,1,2,3,4\nb.jpg,dog,5,6,7,8\n"
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "x.jpg").write_text("no image")
    with caplog.at_level(logging.WARNING, logger="detzoo"):
        found = read(table, broken="drop")
    assert [Path(found.name(index)).name for index in range(2)] == ["a.jpg", "b.jpg"]
    assert found.annotations.boxes.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert found.categories.names == ("cat", "dog") and found.annotations.image_ids.tolist() == [1, 3]
    assert "1 of 3 images cannot be read and were dropped" in caplog.text and "x.jpg" in caplog.text
    with pytest.raises(ValueError, match="boxes.csv: 1 of 3 images cannot be read"):
        read(table, invalid="drop")


@pytest.mark.parametrize(("turn", "size", "white"), [(3, (50, 40), (45, 5)), (6, (40, 50), (5, 5))])
def test_images_that_a_camera_was_turned_for(read, tmp_path, turn, size, white):
    """Boxes are of what is shown."""
    image, exif = Image.new("L", (50, 40)), Image.Exif()
    image.paste(255, (0, 0, 25, 40))
    exif[0x0112] = turn
    (tmp_path / "images").mkdir()
    image.save(tmp_path / "images" / "x.jpg", exif=exif)
    found = read(HEADER + f"x.jpg,cat,0,0,{size[0]},{size[1]}\n", images=(), invalid="error")
    assert found.annotations.image_sizes.tolist() == [[size[1], size[0]]]
    shown = found.open_image(0)
    assert shown.size == size and shown.getpixel(white) > 200
    assert shown.getpixel((size[0] - 1 - white[0], size[1] - 1 - white[1])) < 50
