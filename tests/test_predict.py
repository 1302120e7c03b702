"""From files to boxes: images as people see them, names, lines and pictures."""

import numpy as np
import pytest
import torch
from PIL import Image

from detzoo.categories import COCO_91, Categories
from detzoo.models import build_ssd
from detzoo.predict import class_names, describe, detect_file, read_image, write_picture

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def model(small_config):
    torch.manual_seed(0)
    return build_ssd(small_config, categories=Categories(("cat", "dog"))).eval()


@pytest.fixture
def photo(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (70, 110, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_read_image(photo):
    image = read_image(photo)
    assert image.dtype == torch.uint8
    np.testing.assert_array_equal(image.movedim(0, -1).numpy(), np.asarray(Image.open(photo)))


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1"])
def test_all_modes_become_rgb(photo, mode):
    Image.open(photo).convert(mode).save(photo)
    assert read_image(str(photo)).shape == (3, 70, 110)


def test_image_is_turned_as_its_camera_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: the right side of the file is the bottom of the picture
    picture = Image.new("RGB", (40, 20))
    picture.paste("white", (0, 0, 20, 20))
    picture.save(tmp_path / "turned.png", exif=exif)
    image = read_image(tmp_path / "turned.png")
    assert image.shape == (3, 40, 20) and (image[:, :20] == 255).all() and (image[:, 20:] == 0).all()


@pytest.mark.parametrize("content", [b"not an image", b"", None])
def test_file_that_is_no_image(photo, content):
    photo.write_bytes(photo.read_bytes()[:500] if content is None else content)
    with pytest.raises(ValueError, match=r"photo.png cannot be read as an image: "):
        read_image(photo)


def test_missing_file(tmp_path):
    with pytest.raises(ValueError, match=r"nothing.png cannot be read as an image: .*No such file"):
        read_image(tmp_path / "nothing.png")


def test_detections_of_a_file(model, photo):
    everything = model.detect([read_image(photo)])[0]
    middle = everything["scores"].median().item()
    path, image, found = detect_file(model, photo, score_threshold=middle)
    assert path == photo and image.shape == (3, 70, 110)
    assert 0 < len(found["scores"]) < len(everything["scores"]) and found["scores"].min() >= middle
    for name, column in found.items():
        assert torch.equal(column, everything[name][: len(column)])


def test_names(model, small_config):
    assert class_names(model) == ["cat", "dog"]
    model.categories = None
    assert class_names(model) == ["class 1", "class 2"]
    model.categories = COCO_91
    names = class_names(model)
    assert names[0] == "person" and names[11] == "class 12 (N/A)"


def test_lines():
    found = {"boxes": torch.tensor([[1.25, 2, 30, 400.06]]), "labels": torch.tensor([2]), "scores": torch.tensor([0.5])}
    assert describe(found, ["cat", "dog"]) == ["dog              0.500      1.2     2.0    30.0   400.1"]


def test_picture(model, photo, tmp_path):
    detection = detect_file(model, photo, score_threshold=0.0)
    path = write_picture(detection, class_names(model), tmp_path / "new" / "folder")
    assert path == tmp_path / "new" / "folder" / "photo_detections.jpg"
    with Image.open(path) as picture:
        assert picture.format == "JPEG" and picture.size == (480, 305)
    assert [file.name for file in path.parent.iterdir()] == [path.name], "no unfinished file is left"
