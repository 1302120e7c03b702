"""Broken images are found before the first step: named and counted, or left out."""

import logging

import numpy as np
import pytest
from PIL import Image

from detzoo.data import SyntheticDataset
from detzoo.data.check import check_images, find_broken, in_threads, read_sizes


@pytest.fixture
def broken(tmp_path, picture_set, objects):
    """Five images: whole, no image, of another size, truncated, and not there."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    for number in range(4):
        Image.fromarray(noise).save(tmp_path / f"{number}.jpg")
    (tmp_path / "1.jpg").write_text("no image")
    Image.new("RGB", (30, 20)).save(tmp_path / "2.jpg")
    truncated = (tmp_path / "3.jpg").read_bytes()
    (tmp_path / "3.jpg").write_bytes(truncated[: len(truncated) // 2])
    files = [tmp_path / f"{number}.jpg" for number in range(5)]
    return picture_set(files, [objects(10 + n, (40, 50), [[0, 0, n + 1, 9]], [1]) for n in range(5)])


def test_headers(broken):
    found = find_broken(broken)
    assert list(found) == [1, 2, 4], "a truncated file has a whole header"
    assert "picture 1 cannot be read as an image" in found[1]
    assert found[2] == "picture 2 is 20x30 pixels (height x width) but was annotated as 40x50"
    assert "picture 4 cannot be read" in found[4]


def test_decoding_finds_truncated_files(broken):
    assert list(find_broken(broken, decode=True, threads=2)) == [1, 2, 3, 4]


def test_an_error_counts_and_names_them(broken):
    found = "3 of 5 images are broken: picture 1 cannot be read .*picture 2 is 20x30"
    with pytest.raises(ValueError, match=f"{found}.*leave them out: broken_images=drop"):
        check_images(broken)


def test_they_can_be_dropped_and_counted(broken, caplog):
    with caplog.at_level(logging.WARNING, logger="detzoo"):
        kept = check_images(broken, "decode", broken="drop")
    assert kept.annotations.image_ids.tolist() == [10] and kept.annotations.boxes.tolist() == [[0, 0, 1, 9]]
    assert kept.name(0) == "picture 0" and kept.open_image(0).size == (50, 40)
    assert len(caplog.records) == 1 and "4 of 5 images are broken and were dropped: picture 1" in caplog.text


def test_nothing_wrong_nothing_done(picture_set, objects):
    whole = picture_set([Image.new("RGB", (50, 40))] * 3, [objects(n, (40, 50), [], []) for n in range(3)])
    assert check_images(whole, "decode") is whole


def test_no_check(broken):
    assert check_images(broken, "none") is broken


def test_images_that_are_made_are_not_looked_at(monkeypatch):
    dataset = SyntheticDataset(4, size=(32, 32))
    monkeypatch.setattr(dataset, "stored", False)
    monkeypatch.setattr(dataset, "open_image", None)
    assert check_images(dataset, "decode") is dataset


@pytest.mark.parametrize(("words", "message"), [({"how": "all"}, "how = 'all'"), ({"broken": "keep"}, "broken = 'k")])
def test_unknown_words(broken, words, message):
    with pytest.raises(ValueError, match=message):
        check_images(broken, **words)


def test_sizes_from_headers(broken, tmp_path, caplog):
    names = [str(tmp_path / f"{number}.jpg") for number in range(5)]
    with caplog.at_level(logging.WARNING, logger="detzoo"):
        sizes, readable = read_sizes(names, broken="drop", source="some set")
    assert sizes.tolist() == [[40, 50], [0, 0], [20, 30], [40, 50], [0, 0]] and readable.tolist() == [0, 2, 3]
    assert "some set: 2 of 5 images cannot be read and were dropped" in caplog.text and "1.jpg" in caplog.text
    advice = 'leave them out with the option broken="drop" of this data set'
    with pytest.raises(ValueError, match=f"some set: 2 of 5 images cannot be read; .*{advice}: .*1.jpg"):
        read_sizes(names, broken="error", source="some set")
    with pytest.raises(ValueError, match="broken = .keep.: expected one of drop, error"):
        read_sizes(names, broken="keep", source="some set")


def test_sizes_of_turned_images(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (50, 40)).save(tmp_path / "a.jpg", exif=exif)
    sizes, _ = read_sizes([str(tmp_path / "a.jpg")], broken="error", source="a set")
    assert sizes.tolist() == [[50, 40]], "as it is shown"


def test_threads_keep_the_order():
    assert in_threads(lambda item: item**2, range(1000), threads=4) == [item**2 for item in range(1000)]
    assert in_threads(str, []) == []
    with pytest.raises(ZeroDivisionError):
        in_threads(lambda item: 1 // (item - 500), range(1000))
