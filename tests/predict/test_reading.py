"""Images as people see them, whatever is stored."""

import warnings
from pathlib import Path
from struct import error as StructError

import numpy as np
import pytest
import torch
from PIL import Image

from detzoo.predict import OnDemand, read_image
from detzoo.predict.reading import as_image, is_one_image


def test_read_image(photo):
    image = read_image(photo)
    assert image.dtype == torch.uint8
    np.testing.assert_array_equal(image.movedim(0, -1).numpy(), np.asarray(Image.open(photo)))


def grey(image):
    """The one grey value of each pixel."""
    assert image.shape == (3, 2, 4) and (image[0] == image[1]).all() and (image[0] == image[2]).all()
    return image[0].tolist()


RAMP = [[0, 64, 128, 255], [255, 128, 64, 0]]


@pytest.mark.parametrize(
    ("pixels", "mode", "suffix"),
    [
        (np.array(RAMP, np.uint8), "L", ".png"),
        (np.array(RAMP, np.uint16) * 257, "I;16", ".png"),
        (np.array(RAMP, np.uint16) * 257, "I;16", ".tif"),
        (np.array(RAMP, np.int32) * 257, "I", ".tif"),
        (np.array(RAMP, np.float32) / 255, "F", ".tif"),
        (np.array(RAMP, np.float32), "F", ".tif"),
    ],
)
def test_grey_of_any_depth_is_scaled_and_not_clipped(tmp_path, pixels, mode, suffix):
    picture = Image.fromarray(pixels)
    assert picture.mode == mode
    picture.save(tmp_path / f"grey{suffix}")
    assert grey(read_image(tmp_path / f"grey{suffix}")) == RAMP


def test_one_bit(tmp_path):
    Image.fromarray(np.array([[0, 1, 0, 1], [1, 1, 0, 0]], bool)).save(tmp_path / "one.png")
    assert grey(read_image(tmp_path / "one.png")) == [[0, 255, 0, 255], [255, 255, 0, 0]]


COLOURS = [(250, 10, 20), (30, 240, 50), (60, 70, 230)]


@pytest.mark.parametrize(
    ("mode", "suffix", "off"),
    [("RGBA", ".png", 0), ("P", ".png", 0), ("PA", ".png", 0), ("CMYK", ".tif", 0), ("YCbCr", ".tif", 3)],
)
def test_colours_of_any_mode(tmp_path, mode, suffix, off):
    picture = Image.new("RGB", (3, 1))
    picture.putdata(COLOURS)
    if mode == "PA":  # a palette whose colours are each more or less transparent, of which Pillow warns
        picture.convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "x.png", transparency=b"\xff\x80\x00")
    elif mode == "P":
        picture.convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "x.png")
    else:
        picture.convert(mode).save(tmp_path / f"x{suffix}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = read_image(tmp_path / f"x{suffix}")
    np.testing.assert_allclose(image[:, 0].T.numpy().astype(int), COLOURS, atol=off)


def test_grey_with_transparency(tmp_path):
    Image.new("LA", (4, 2), (77, 10)).save(tmp_path / "la.png")
    assert set(sum(grey(read_image(tmp_path / "la.png")), [])) == {77}


def test_jpeg_of_a_printer_is_not_inverted(tmp_path):
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "red.jpg")
    red, green, blue = read_image(tmp_path / "red.jpg")[:, 8, 8].tolist()
    assert red > 240 and green < 15 and blue < 15


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_image_is_turned_as_its_camera_says(tmp_path, suffix):
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: the right side of the file is the bottom of the picture
    picture = Image.new("RGB", (40, 20))
    picture.paste("white", (0, 0, 20, 20))
    picture.save(tmp_path / f"turned{suffix}", exif=exif)
    image = read_image(tmp_path / f"turned{suffix}").int()
    assert image.shape == (3, 40, 20) and (image[:, :16] > 235).all() and (image[:, 24:] < 20).all()


@pytest.mark.parametrize("content", [b"not an image", b"", None])
def test_file_that_is_no_image(photo, content):
    photo.write_bytes(photo.read_bytes()[:500] if content is None else content)
    with pytest.raises(ValueError, match=r"photo.png cannot be read as an image: "):
        read_image(photo)


def test_file_that_would_fill_the_memory(photo, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ValueError, match=r"photo.png cannot be read as an image: .*decompression bomb"):
        read_image(photo)


def test_missing_file(tmp_path):
    with pytest.raises(ValueError, match=r"nothing.png cannot be read as an image: .*No such file"):
        read_image(tmp_path / "nothing.png")


def test_any_image(photo):
    wanted = read_image(photo)
    array = np.asarray(Image.open(photo))  # read-only, of which torch would warn
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for thing in (photo, str(photo), Image.open(photo), array, array.copy(), wanted):
            assert torch.equal(as_image(thing), wanted)
            assert is_one_image(thing)
    assert not is_one_image([photo]) and not is_one_image(wanted[None]) and not is_one_image(array[None])


@pytest.mark.parametrize("thing", [5, None, b"bytes", ["photo.png"]])
def test_what_is_no_image(thing):
    with pytest.raises(ValueError, match="expected a path, a Pillow image, an array or a tensor"):
        as_image(thing)


@pytest.mark.parametrize(
    ("value", "said"), [(255.0, "from 0 to 255"), (-1.0, "from -1 to 0"), (float("nan"), "nan")], ids=str
)
def test_floats_that_are_no_pixels(value, said):
    image = np.zeros((8, 8, 3), np.float32)
    image[3, 3] = value
    with pytest.raises(ValueError, match=rf"{said}.*expected \[0, 1\], or bytes"):
        as_image(image)
    edge = torch.zeros(3, 20, 20)
    edge[:, :, 10:] = 1
    resized = torch.nn.functional.interpolate(edge[None], (64, 64), mode="bicubic")[0]
    assert resized.max() > 1.1 and as_image(resized).shape == (3, 64, 64)


def test_paths_are_paths(photo):
    assert torch.equal(read_image(Path(photo)), read_image(str(photo)))


def test_images_on_demand_are_read_then_and_not_before():
    asked = []
    images = OnDemand(lambda item: asked.append(item) or torch.full((1,), item), [3, 5, 7])
    assert len(images) == 3 and asked == []
    assert [int(image) for image in images] == [3, 5, 7] and int(images[-1]) == 7 and asked == [3, 5, 7, 7]
    assert [int(image) for image in images[1:]] == [5, 7]
    with pytest.raises(IndexError):  # and not an end
        list(OnDemand(lambda item: [][item], [0, 1]))


class Damaged:
    """Stands for a file whose decoder gives up in a way of its own."""

    def __init__(self, error):
        self.error = error

    def __enter__(self):
        raise self.error

    def __exit__(self, *_):
        pass


@pytest.mark.parametrize("error", [RuntimeError("AVIF"), NotImplementedError("DDS, BLP"), StructError("EXIF")])
def test_decoders_that_give_up_in_their_own_way(monkeypatch, error):
    monkeypatch.setattr(Image, "open", lambda file: Damaged(error))
    with pytest.raises(ValueError, match=f"x.avif cannot be read as an image: {error}"):
        read_image("x.avif")


def test_damaged_dds(photo, tmp_path):
    Image.open(photo).convert("RGB").save(tmp_path / "x.dds")
    content = bytearray((tmp_path / "x.dds").read_bytes())
    content[80:84] = b"\0\0\0\0"  # the flags of its pixel format
    (tmp_path / "x.dds").write_bytes(content)
    with pytest.raises(ValueError, match=r"x.dds cannot be read as an image: "):
        read_image(tmp_path / "x.dds")
