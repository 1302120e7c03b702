"""Augmentation: boxes lie where the pixels went, what is left out is left out, and one seed gives one sample."""

import io
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from detzoo.data.shots import Record, develop, target_of
from detzoo.data.transforms import Augmentation, augment

pytestmark = pytest.mark.usefixtures("one_thread")

SIZE, OUTPUT = (240, 320), (150, 170)  # height, width
BOXES = np.array([[40, 60, 120, 130], [150, 20, 230, 110], [200, 130, 300, 220]], float)
LABELS = np.array([1, 2, 3])
BLACK = (0, 0, 0)
FAMILY = {
    "nothing": {"flip": 0.0},
    "flip": {"flip": 0.5},
    "zoom_out": {"flip": 0.5, "zoom_out": 1.0},
    "iou_crop": {"flip": 0.5, "iou_crop": True},
    "all": {"flip": 0.5, "zoom_out": 0.5, "iou_crop": True},
    "jitter": {"flip": 0.5, "jitter": (0.1, 2.0)},
}
MIXED = {"mosaic": {"mosaic": 1.0}, "mixup": {"mixup": 1.0}, "both": {"mosaic": 1.0, "mixup": 1.0}}


def painted(boxes: np.ndarray = BOXES, size: tuple[int, int] = SIZE) -> Image.Image:
    """Black, with box k at full brightness in channel k."""
    pixels = np.zeros((*size, 3), np.uint8)
    for channel, (x0, y0, x1, y1) in enumerate(boxes.astype(int)):
        pixels[y0:y1, x0:x1, channel] = 255
    return Image.fromarray(pixels)


def record(image: Image.Image, boxes: np.ndarray = BOXES, labels: np.ndarray = LABELS) -> Record:
    return Record(image.size[::-1], boxes, labels, lambda: nullcontext(image))


def sample(one: Record, augmentation: Augmentation, seed: int = 0, output: tuple[int, int] = OUTPUT):
    return augment([one], 0, output, augmentation, seed=seed, epoch=1)


def any_boxes(seed: int, size: tuple[int, int]) -> np.ndarray:
    """Three boxes of whole pixels, a fifth to a half of the image's sides."""
    rng, sides = np.random.default_rng(seed), np.array(size[::-1])
    shapes = (rng.uniform(0.2, 0.5, (3, 2)) * sides).astype(int)
    corners = rng.integers(0, sides - shapes)
    return np.concatenate((corners, corners + shapes), axis=1).astype(float)


def as_jpeg(image: Image.Image) -> Image.Image:
    """Opened, not decoded."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=95, subsampling=0)
    return Image.open(io.BytesIO(file.getvalue()))


def extent(channel: np.ndarray) -> list[int]:
    """The box around the pixels of more than half the brightness."""
    rows, columns = np.nonzero(channel > 127)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def errors(pixels: np.ndarray, target: dict) -> np.ndarray:
    """Where the pixels of each object end minus where its box says they do, [N, 4]."""
    found = [extent(pixels[..., label - 1]) for label in target["labels"].tolist()]
    return np.reshape(found, (-1, 4)) - target["boxes"].numpy()


@pytest.mark.parametrize("options", FAMILY.values(), ids=FAMILY)
def test_boxes_lie_where_the_pixels_went(options):
    augmentation, error = Augmentation(**options, fill=BLACK), []
    for seed in range(100):
        boxes = any_boxes(seed, SIZE)
        pixels, target = sample(record(painted(boxes), boxes), augmentation, seed)
        error.append(errors(pixels, target))
    error = np.concatenate(error)
    assert len(error) >= 100 and np.abs(error).max() <= 1
    assert np.abs(error.mean(axis=0)).max() < 0.1, "no side is off in general"


@pytest.mark.parametrize("options", FAMILY.values(), ids=FAMILY)
def test_boxes_are_exact_on_a_jpeg_decoded_at_part_of_its_size(options):
    size, output = (961, 1283), (100, 100)  # no multiples of 8: the small decoding is a fraction larger
    augmentation, error, decoded = Augmentation(**options, fill=BLACK), [], []
    for seed in range(20):
        boxes = any_boxes(seed, size)
        image = as_jpeg(painted(boxes, size))
        pixels, target = sample(record(image, boxes), augmentation, seed, output)
        error.append(errors(pixels, target))
        decoded.append(image.width)
    error = np.concatenate(error)
    assert np.abs(error).max() <= 1 and np.abs(error.mean(axis=0)).max() < 0.15
    assert np.median(decoded) < size[1] / 3


def test_a_view_of_everything_at_its_own_size_changes_nothing():
    noise = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    for flip in (0.0, 1.0):
        pixels, target = sample(record(Image.fromarray(noise)), Augmentation(flip=flip), output=SIZE)
        np.testing.assert_array_equal(pixels, noise[:, ::-1] if flip else noise)
        mirrored = BOXES[:, [2, 1, 0, 3]] * (-1, 1, -1, 1) + (SIZE[1], 0, SIZE[1], 0)
        np.testing.assert_array_equal(target["boxes"].numpy(), mirrored if flip else BOXES)


@pytest.mark.parametrize("options", FAMILY.values(), ids=FAMILY)
def test_a_mirrored_sample_is_the_mirror_of_the_sample(options):
    for seed in range(10):
        (pixels, target), (mirror, mirrored) = (
            sample(record(painted()), Augmentation(**{**options, "flip": flip}), seed) for flip in (0.0, 1.0)
        )
        np.testing.assert_array_equal(mirror, pixels[:, ::-1])
        boxes = target["boxes"].numpy()[:, [2, 1, 0, 3]] * (-1, 1, -1, 1) + (OUTPUT[1], 0, OUTPUT[1], 0)
        np.testing.assert_allclose(mirrored["boxes"], boxes, atol=1e-4)


@pytest.mark.parametrize("options", [{"iou_crop": True}, {"jitter": (0.5, 2.0)}], ids=["iou_crop", "jitter"])
def test_objects_stay_if_their_centre_is_in_the_window(options):
    augmentation, left_out = Augmentation(**options, fill=BLACK), 0
    for seed in range(60):
        window, _ = augmentation.window(np.random.default_rng((seed, 1, 0)), SIZE, BOXES)
        centres = (BOXES[:, :2] + BOXES[:, 2:]) / 2
        inside = ((centres > window[:2]) & (centres < window[2:])).all(axis=1)
        _, target = sample(record(painted()), augmentation, seed)
        assert target["labels"].tolist() == LABELS[inside].tolist()
        left_out += (~inside).sum()
    assert left_out > 20, "the window leaves something out now and then"


def test_a_box_needs_a_pixel_of_the_image_not_of_the_output():
    boxes, labels = np.array([[10, 10, 10.5, 90], [50, 50, 51.5, 51.5]]), np.array([1, 2])
    for seed in range(20):
        _, target = sample(record(painted(), boxes, labels), Augmentation(zoom_out=1.0), seed)
        assert target["labels"].tolist() == [2]


@pytest.mark.parametrize("options", [*FAMILY.values(), *MIXED.values()], ids=[*FAMILY, *MIXED])
def test_image_without_objects(options):
    nothing = record(painted(), np.zeros((0, 4)), np.zeros(0, int))
    pixels, target = sample(nothing, Augmentation(**options, photometric=True), 3)
    assert pixels.shape == (*OUTPUT, 3)
    assert target["boxes"].shape == (0, 4) and target["labels"].shape == (0,)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "CMYK"])
@pytest.mark.parametrize("photometric", [False, True])
def test_bytes_come_out_in_one_piece(mode, photometric):
    augmentation = Augmentation(flip=1.0, zoom_out=1.0, photometric=photometric)
    pixels, target = sample(record(painted().convert(mode)), augmentation)
    assert pixels.dtype == np.uint8 and pixels.shape == (*OUTPUT, 3) and pixels.flags.c_contiguous
    assert target["boxes"].dtype == torch.float32 and target["labels"].dtype == torch.int64


def test_a_sample_follows_from_seed_epoch_and_index():
    def draw(seed, epoch, index):
        pixels, target = augment([record(painted())] * 3, index, OUTPUT, augmentation, seed=seed, epoch=epoch)
        return pixels.tobytes(), target["boxes"].tolist(), target["labels"].tolist()

    augmentation = Augmentation(zoom_out=0.5, iou_crop=True, photometric=True, mosaic=0.5, mixup=0.5)
    assert draw(1, 2, 1) == draw(1, 2, 1)
    others = [draw(1, 2, 2), draw(1, 3, 1), draw(2, 2, 1)]
    assert all(draw(1, 2, 1)[part] != other[part] for other in others for part in (0, 1))


def test_around_a_zoomed_out_image_there_is_nothing_but_the_fill():
    white, everything, fill = Image.new("RGB", SIZE[::-1], "white"), np.array([[0, 0, *SIZE[::-1]]]), (10, 200, 30)
    augmentation, covered = Augmentation(zoom_out=1.0, fill=fill), []
    for seed in range(30):
        pixels, target = sample(record(white, everything, LABELS[:1]), augmentation, seed)
        image = (pixels == 255).all(axis=-1)
        assert (pixels[~image] == fill).all(), "no pixel is a mixture"
        assert extent(image * 255) == target["boxes"].round().int().tolist()[0]
        covered.append(image.mean())
    assert min(covered) < 0.15 and max(covered) > 0.5, "once to sixteen times the area"


def test_the_fill_keeps_its_colour():
    """As torchvision has it, which changes the colours of the image before it puts it on a canvas."""
    fill, grey = (10, 200, 30), Image.new("RGB", SIZE[::-1], (90, 90, 90))
    for seed in range(10):
        augmentation = Augmentation(zoom_out=1.0, photometric=True, fill=fill)
        pixels, target = sample(record(grey, np.array([[0, 0, *SIZE[::-1]]]), LABELS[:1]), augmentation, seed)
        x0, y0, x1, y1 = target["boxes"].round().int().tolist()[0]
        outside = np.ones(OUTPUT, bool)
        outside[y0:y1, x0:x1] = False
        assert (pixels[outside] == fill).all() and outside.any()


# ---- several images in one sample ----

OTHERS = [any_boxes(seed, SIZE) for seed in range(8)]
RECORDS = [record(painted(boxes), boxes) for boxes in OTHERS]


def drawn(augmentation: Augmentation, seed: int, epoch: int = 1):
    return augmentation.draw(np.random.default_rng((seed, epoch, 0)), RECORDS, 0, OUTPUT, epoch)


def test_mosaic_is_four_parts_that_fill_the_output():
    augmentation, error, scales = Augmentation(mosaic=1.0), [], []
    for seed in range(60):
        (shots,) = drawn(augmentation, seed)
        pixels, covered = np.asarray(develop(shots, OUTPUT, BLACK)), np.zeros(OUTPUT, int)
        for shot in shots:
            x0, y0, x1, y1 = map(int, shot.view.target)
            covered[y0:y1, x0:x1] += 1
            alone = np.zeros_like(pixels)
            alone[y0:y1, x0:x1] = pixels[y0:y1, x0:x1]
            error.append(errors(alone, target_of([shot])))
            source, target = shot.view.source, shot.view.target
            centres = (shot.record.boxes[:, :2] + shot.record.boxes[:, 2:]) / 2
            inside = ((centres > source[:2]) & (centres < source[2:])).all(axis=1)
            assert shot.kept.tolist() == np.flatnonzero(inside).tolist()
            sides = (
                target.width / source.width / OUTPUT[1] * SIZE[1],
                target.height / source.height / OUTPUT[0] * SIZE[0],
            )
            scales.append(sides)
        assert (covered == 1).all() and any(shot.record is RECORDS[0] for shot in shots)
    error, scales = np.concatenate(error), np.array(scales)
    assert len(error) > 200 and np.abs(error).max() <= 1
    assert np.abs(scales[:, 0] / scales[:, 1] - 1).max() < 0.15, "warped like the image alone, but for rounding"
    assert 0.25 <= scales.min() < 0.5 and 0.9 < scales.max() < 1.1


def test_mixup_is_the_mean_of_two_with_the_objects_of_both():
    augmentation, second = Augmentation(mixup=1.0, iou_crop=True), set()
    for seed in range(40):
        pictures = drawn(augmentation, seed)
        pixels, target = augment(RECORDS, 0, OUTPUT, augmentation, seed=seed, epoch=1)
        each = np.stack([develop(shots, OUTPUT, BLACK) for shots in pictures]).astype(float)
        assert len(each) == 2 and np.abs(pixels - each.mean(axis=0)).max() <= 0.5
        targets = [target_of(shots) for shots in pictures]
        assert torch.equal(target["boxes"], torch.cat([part["boxes"] for part in targets]))
        assert torch.equal(target["labels"], torch.cat([part["labels"] for part in targets]))
        assert pictures[0][0].record is RECORDS[0]
        second.add(id(pictures[1][0].record))
    assert len(second) == len(RECORDS), "any image may be the other one"


@pytest.mark.parametrize(("options", "most"), [({"mosaic": 0.3}, 4), ({"mixup": 0.3}, 2)], ids=["mosaic", "mixup"])
def test_mixing_is_as_frequent_as_asked_for(options, most):
    images = [sum(map(len, drawn(Augmentation(**options), seed))) for seed in range(300)]
    assert set(images) == {1, most} and 0.2 < np.mean(np.array(images) == most) < 0.4


def test_mixing_ends_with_its_last_epoch():
    def draw(augmentation, epoch):
        return augment(RECORDS, 0, OUTPUT, augmentation, seed=0, epoch=epoch)[0].tolist()

    plain = Augmentation(zoom_out=0.5, iou_crop=True)
    mixed = replace(plain, mosaic=1.0, mixup=1.0, mix_epochs=5)
    assert draw(mixed, 6) == draw(plain, 6)
    assert draw(mixed, 5) != draw(plain, 5) and draw(mixed, 5) == draw(replace(mixed, mix_epochs=None), 5)


# ---- options ----


@pytest.mark.parametrize("name", ["flip", "zoom_out", "mosaic", "mixup"])
@pytest.mark.parametrize("value", [-0.1, 1.5])
def test_probabilities_are_checked(name, value):
    with pytest.raises(ValueError, match=rf"transforms.{name} is a probability, in \[0, 1\], got {value}"):
        Augmentation(**{name: value})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"jitter": (0.0, 1.0)}, r"jitter = \(0.0, 1.0\): expected two positive factors"),
        ({"jitter": (2.0, 0.1)}, "the smaller one first"),
        ({"jitter": (0.1, 2.0), "zoom_out": 0.5}, "jitter takes the place of zoom_out and iou_crop"),
        ({"jitter": (0.1, 2.0), "iou_crop": True}, "jitter takes the place of zoom_out and iou_crop"),
        ({"scales": []}, r"scales = \(\): expected one or more positive factors"),
        ({"scales": [1, -1]}, "expected one or more positive factors"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(ValueError, match=f"transforms.*{message}"):
        Augmentation(**options)


def test_sizes_of_batches():
    assert Augmentation().sizes((300, 100)) == [(300, 100)]
    assert Augmentation(scales=[0.9, 1, 1.1]).sizes((300, 100)) == [(288, 96), (300, 100), (352, 128)]
    assert Augmentation(scales=[1.1]).sizes((320, 320)) == [(352, 352)], "1.1 * 320 is a little more than 352"
