"""Images of any size to the network's input, boxes there and back, and errors that name the image and the box."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from detzoo.components import RESIZES, Preprocess
from detzoo.components.preprocess import ToRGB, check_targets
from detzoo.structures import pad_targets

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.5)


def picture(height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(
        256, (3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )  # fmt: skip


def target(boxes: list, labels: list) -> dict:
    return {"boxes": torch.tensor(boxes), "labels": torch.tensor(labels)}


def test_normalises_by_hand():
    image = torch.tensor([102, 255, 153], dtype=torch.uint8)[:, None, None].expand(3, 2, 2)
    found = Preprocess((2, 2), MEAN, STD)([image])
    expected = torch.tensor([0.0, 2.0, 0.0])[None, :, None, None].expand(1, 3, 2, 2)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("resize", RESIZES)
def test_bytes_are_floats_times_255(resize):
    preprocess, image = Preprocess((40, 30), MEAN, STD, resize), picture(70, 60)
    torch.testing.assert_close(preprocess([image]), preprocess([image.float() / 255]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_other_floats_become_the_networks(dtype):
    assert Preprocess((8, 8))([torch.rand(3, 5, 5).to(dtype)]).dtype == torch.float32


def test_list_of_sizes_batch_and_single_images_agree():
    preprocess = Preprocess((40, 30), MEAN, STD)
    images = [picture(70, 60), picture(20, 90, seed=1), picture(40, 30, seed=2)]
    batch = preprocess(images)
    assert batch.shape == (3, 3, 40, 30)
    for index, image in enumerate(images):
        assert torch.equal(batch[index], preprocess([image])[0])
        assert torch.equal(batch[index], preprocess(image[None])[0])


def test_an_image_at_the_networks_size_is_not_resampled():
    image = picture(40, 30)
    expected = (image / 255 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    torch.testing.assert_close(Preprocess((40, 30), MEAN, STD)([image])[0], expected)


@pytest.mark.parametrize("size", [(50, 80), (17, 23)], ids=str)
def test_plain_bilinear_is_torchvisions(size):
    reference = GeneralizedRCNNTransform(30, 40, MEAN, STD, size_divisible=1, fixed_size=(30, 40))  # width, height
    image = picture(*size) / 255
    expected = reference([image])[0].tensors
    torch.testing.assert_close(Preprocess((40, 30), MEAN, STD)([image]), expected, rtol=1e-5, atol=1e-5)


def test_antialiasing_is_another_way_to_resize():
    image = picture(80, 60)
    plain, smooth = (Preprocess((20, 15), resize=resize)([image]) for resize in ("bilinear", "bilinear_antialias"))
    assert smooth.std() < 0.8 * plain.std(), "noise is averaged away"


def test_unknown_resize():
    with pytest.raises(ValueError, match="unknown way to resize 'bilinaer': did you mean 'bilinear'"):
        Preprocess((20, 15), resize="bilinaer")


def test_boxes_follow_their_image_and_detections_go_back():
    preprocess = Preprocess((100, 200))
    images = [picture(50, 50), picture(400, 100), picture(10, 10)]
    boxes = [[[10.0, 20.0, 30.0, 40.0]], [[10.0, 20.0, 30.0, 40.0], [0.0, 0.0, 100.0, 400.0]], []]
    targets = [target(rows, [1] * len(rows)) for rows in boxes]
    fitted = preprocess.fit_targets(targets, images)
    assert fitted.mask.sum(dim=1).tolist() == [1, 2, 0]
    assert fitted.boxes[0, 0].tolist() == [40, 40, 120, 80]
    assert fitted.boxes[1].tolist() == [[20, 5, 60, 10], [0, 0, 200, 100]]

    found = [{"boxes": rows[mask], "labels": labels[mask], "scores": torch.ones(len(labels))[mask]}
             for rows, labels, mask in zip(*fitted, strict=True)]  # fmt: skip
    for back, wanted in zip(preprocess.undo(found, images), targets, strict=True):
        torch.testing.assert_close(back["boxes"], wanted["boxes"].reshape(-1, 4))
        assert back.keys() == {"boxes", "labels", "scores"}


def test_padded_targets_and_their_batch_keep_the_size_that_the_loader_chose():
    preprocess, batch = Preprocess((100, 200), MEAN, STD), picture(64, 96)[None]
    padded = pad_targets([target([[10.0, 20.0, 30.0, 40.0]], [1])])
    assert preprocess.fit_targets(padded, batch).boxes.tolist() == [[[10, 20, 30, 40]]]
    torch.testing.assert_close(preprocess.normalise(batch), Preprocess((64, 96), MEAN, STD)(batch))
    with pytest.raises(ValueError, match=r"padded targets go with one batch \[B, 3, H, W\].*got a list"):
        preprocess.normalise([picture(64, 96)])


def test_a_batch_is_looked_at_as_a_whole(monkeypatch):
    """The loader's batches come with every step; their images are alike."""
    preprocess, batch = Preprocess((64, 96), MEAN, STD), torch.stack([picture(64, 96, seed) for seed in range(3)])
    expected = preprocess(list(batch))
    monkeypatch.setattr(torch.Tensor, "__iter__", lambda tensor: pytest.fail("goes through the images one by one"))
    for found in (preprocess(batch), preprocess.normalise(batch)):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "got no images"),
        (torch.zeros(0, 3, 8, 8), "got no images"),
        ([picture(4, 4), torch.zeros(1, 5, 6)], r"image 1 has shape \(1, 5, 6\): expected RGB"),
        ([picture(4, 4), torch.zeros(5, 6)], r"image 1 has shape \(5, 6\): expected RGB"),
        (picture(4, 4), r"one tensor of shape \(3, 4, 4\): expected a list"),
        (torch.zeros(2, 1, 4, 4), r"one tensor of shape \(2, 1, 4, 4\): expected a list"),
        (torch.zeros(2, 3, 0, 4), r"one tensor of shape \(2, 3, 0, 4\): expected a list"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.int64), "images are torch.int64: expected uint8, or floats"),
        ([np.zeros((4, 4, 3), np.uint8)], "image 0 is a ndarray: ToRGB"),
        ("photo.jpg", "images are a str: expected a list"),
        ([torch.zeros(4, 5, 6)], r"image 0 has shape \(4, 5, 6\): expected RGB"),
        ([torch.zeros(5, 6, 3)], r"image 0 has shape \(5, 6, 3\): expected RGB"),
        ([torch.zeros(3, 5, 6, dtype=torch.int64)], "image 0 is torch.int64: expected uint8, or floats"),
        ([picture(4, 4), torch.zeros(3, 0, 6)], r"image 1 has shape \(3, 0, 6\)"),
    ],
    ids=[
        "none",
        "empty batch",
        "one channel",
        "grey",
        "not in a list",
        "a batch of grey",
        "a batch without pixels",
        "a batch of int64",
        "array",
        "path",
        "RGBA",
        "channels last",
        "int64",
        "no pixels",
    ],
)
def test_what_is_no_rgb_image(images, message):
    with pytest.raises(ValueError, match=message):
        Preprocess((20, 15))(images)


@pytest.mark.parametrize(
    "box",
    [[5.0, 5.0, 5.0, 9.0], [5.0, 9.0, 8.0, 9.0], [8.0, 5.0, 5.0, 9.0], [0.0, 0.0, float("nan"), 5.0],
     [0.0, 0.0, float("inf"), 5.0]],
    ids=["no width", "no height", "turned", "nan", "inf"],
)  # fmt: skip
def test_a_box_without_area_names_image_and_box(box):
    targets = [target([[0.0, 0.0, 1.0, 1.0]], [1]), target([[0.0, 0.0, 1.0, 1.0], box], [1, 1])]
    with pytest.raises(ValueError) as caught:
        check_targets(targets, [None, None], num_classes=3)
    assert f"image 1, box 1: {box} is no xyxy box with an area" in str(caught.value)


@pytest.mark.parametrize("label", [0, 3, -1])
def test_a_label_out_of_range_names_image_and_box(label):
    targets = [target([], []), target([[0.0, 0.0, 1.0, 1.0]] * 3, [1, 2, label])]
    with pytest.raises(ValueError, match=rf"image 1, box 2: label {label} is not in 1\.\.2"):
        check_targets(targets, [None, None], num_classes=3)


def test_all_bad_targets_are_named_at_once():
    good = [0.0, 0.0, 1.0, 1.0]
    targets = [target([[2.0, 2.0, 2.0, 2.0]], [9]), target([good, good], [1])]
    with pytest.raises(ValueError) as caught:
        check_targets(targets, [None, None], num_classes=3)
    message = str(caught.value)
    assert message.count("\n") == 3
    assert "image 0, box 0: [2.0" in message and "image 0, box 0: label 9" in message
    assert "image 1: expected one box [4] for each of 1 labels, got boxes of shape (2, 4)" in message


def test_one_target_for_each_image():
    with pytest.raises(ValueError, match="got 2 images and 1 targets"):
        check_targets([target([], [])], [None, None], num_classes=3)


def test_good_targets_pass():
    check_targets([target([], []), target([[0.0, 0.0, 1.0, 1.0]], [2])], [None, None], num_classes=3)


COLOUR = (200, 100, 50)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("RGB", (5, 4), COLOUR), COLOUR),
        (Image.new("L", (5, 4), 77), (77, 77, 77)),
        (Image.new("RGBA", (5, 4), (*COLOUR, 128)), COLOUR),
        (Image.new("RGB", (5, 4), COLOUR).quantize(4), COLOUR),
        (Image.new("1", (5, 4), 1), (255, 255, 255)),
        (np.full((4, 5, 3), COLOUR, np.uint8), COLOUR),
        (np.full((4, 5), 77, np.uint8), (77, 77, 77)),
        (np.full((4, 5, 1), 77, np.uint8), (77, 77, 77)),
        (np.full((4, 5, 3), COLOUR, np.uint8)[::-1, ::-1], COLOUR),
        (torch.full((1, 4, 5), 77, dtype=torch.uint8), (77, 77, 77)),
        (torch.full((4, 5), 77, dtype=torch.uint8), (77, 77, 77)),
    ],
    ids=["RGB", "L", "RGBA", "P", "1", "array", "grey array", "one channel array", "array of negative strides",
         "one channel tensor", "grey tensor"],
)  # fmt: skip
def test_any_image_becomes_rgb_bytes(image, expected):
    found = ToRGB()(image)
    assert found.shape == (3, 4, 5) and found.dtype == torch.uint8
    assert found.amin(dim=(1, 2)).tolist() == found.amax(dim=(1, 2)).tolist() == list(expected)


def test_rows_and_columns_stay_what_they_are():
    array = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    for image in (array, Image.fromarray(array)):
        assert torch.equal(ToRGB()(image), torch.from_numpy(array).permute(2, 0, 1))


def test_a_photograph_is_turned_as_its_exif_says():
    image = Image.new("RGB", (5, 4))
    image.putpixel((0, 0), COLOUR)
    exif = image.getexif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    image.info["exif"] = exif.tobytes()
    found = ToRGB()(image)
    assert found.shape == (3, 5, 4)
    assert found[:, 0, 3].tolist() == list(COLOUR) and found.sum() == sum(COLOUR)


def test_floats_stay_floats():
    image = np.random.default_rng(0).random((4, 5, 3), np.float32)
    found = ToRGB()(image)
    assert found.dtype == torch.float32
    assert torch.equal(found, torch.from_numpy(image).permute(2, 0, 1))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 5, 4), np.uint8), r"an array has shape \(4, 5, 4\): expected \[height, width, 3\]"),
        (np.zeros((3, 4, 5), np.uint8), r"an array has shape \(3, 4, 5\)"),
        (torch.zeros(2, 3, 4, 5), "image 0"),
        (np.zeros((4, 5), np.int64), "image 0"),
    ],
)
def test_what_cannot_be_rgb(image, message):
    with pytest.raises(ValueError, match=message):
        ToRGB()(image)


@pytest.mark.parametrize("mode", ["I;16", "I"])
def test_sixteen_bits_are_scaled_not_cut_off(mode):
    deep = Image.fromarray(np.array([[0, 257 * 100, 65535]], np.uint16)).convert(mode)
    assert ToRGB()(deep)[:, 0].T.tolist() == [[0] * 3, [100] * 3, [255] * 3]


def test_numbers_as_yaml_has_them():
    image = picture(4, 4)
    whole = Preprocess((2, 2), mean=(0, 0, 0), std=(1, 1, 1))([image])
    torch.testing.assert_close(whole, Preprocess((2, 2), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))([image]))
    with pytest.raises(ValueError, match="std must be positive"):
        Preprocess((2, 2), std=(0, 1, 1))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (None, "image 0: expected a dict of boxes and labels, got NoneType"),
        ({"box": 1}, r"got \['box'\]"),
        ({"boxes": [[0, 0, 1, 1]], "labels": torch.tensor([1])}, "got boxes as list"),
        ({"boxes": torch.ones(1, 4), "labels": torch.ones(1)}, "labels .N. of integers"),
        ({"boxes": torch.ones(1, 5), "labels": torch.tensor([1])}, "boxes of shape"),
    ],
)
def test_what_is_no_target(bad, message):
    with pytest.raises(ValueError, match=message):
        check_targets([bad], [None], num_classes=3)
