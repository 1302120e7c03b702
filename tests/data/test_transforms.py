"""Augmentation: boxes lie where the pixels went, what is left out is left out, and torchvision would draw the same."""

import io
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import tv_tensors
from torchvision.transforms import v2

from detzoo.data import transforms
from detzoo.data.transforms import Augmentation, Rect, augment, distort_colours, draw_iou_crop, draw_zoom_out

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
}


def painted(boxes: np.ndarray = BOXES, size: tuple[int, int] = SIZE) -> Image.Image:
    """Black, with box k at full brightness in channel k."""
    pixels = np.zeros((*size, 3), np.uint8)
    for channel, (x0, y0, x1, y1) in enumerate(boxes.astype(int)):
        pixels[y0:y1, x0:x1, channel] = 255
    return Image.fromarray(pixels)


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


def errors(pixels: torch.Tensor, target: dict) -> np.ndarray:
    """Where the pixels of each object end minus where its box says they do, [N, 4]."""
    found = [extent(pixels[..., label - 1].numpy()) for label in target["labels"].tolist()]
    return np.array(found) - target["boxes"].numpy()


@pytest.mark.parametrize("options", FAMILY.values(), ids=FAMILY)
def test_boxes_lie_where_the_pixels_went(options):
    augmentation, error = Augmentation(**options, fill=BLACK), []
    for seed in range(100):
        boxes = any_boxes(seed, SIZE)
        error.append(errors(*augment(painted(boxes), SIZE, boxes, LABELS, OUTPUT, augmentation, (seed,))))
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
        error.append(errors(*augment(image, size, boxes, LABELS, output, augmentation, (seed,))))
        decoded.append(image.width)
    error = np.concatenate(error)
    assert np.abs(error).max() <= 1 and np.abs(error.mean(axis=0)).max() < 0.15
    assert np.median(decoded) < size[1] / 3


def test_a_view_of_everything_at_its_own_size_changes_nothing():
    noise = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    for flip in (0.0, 1.0):
        pixels, target = augment(Image.fromarray(noise), SIZE, BOXES, LABELS, SIZE, Augmentation(flip=flip), (0,))
        np.testing.assert_array_equal(pixels.numpy(), noise[:, ::-1] if flip else noise)
        mirrored = BOXES[:, [2, 1, 0, 3]] * (-1, 1, -1, 1) + (SIZE[1], 0, SIZE[1], 0)
        np.testing.assert_array_equal(target["boxes"].numpy(), mirrored if flip else BOXES)


def test_objects_stay_if_their_centre_is_in_the_window():
    augmentation, left_out = Augmentation(iou_crop=True, fill=BLACK), 0
    for seed in range(60):
        window, _ = augmentation.window(np.random.default_rng((seed,)), SIZE, BOXES)
        centres = (BOXES[:, :2] + BOXES[:, 2:]) / 2
        inside = ((centres > window[:2]) & (centres < window[2:])).all(axis=1)
        _, target = augment(painted(), SIZE, BOXES, LABELS, OUTPUT, augmentation, (seed,))
        assert target["labels"].tolist() == LABELS[inside].tolist()
        left_out += (~inside).sum()
    assert left_out > 20, "the window leaves something out now and then"


def test_a_crop_is_a_part_of_its_window_of_admissible_shape():
    rng, window = np.random.default_rng(0), Rect(-100, -50, 400, 300)
    for _ in range(300):
        crop, kept = draw_iou_crop(rng, window, BOXES)
        assert window.x0 <= crop.x0 < crop.x1 <= window.x1 and window.y0 <= crop.y0 < crop.y1 <= window.y1
        assert crop.width >= int(0.3 * window.width) and crop.height >= int(0.3 * window.height)
        assert crop == window or 0.5 <= crop.width / crop.height <= 2
        assert len(kept)


def test_a_box_needs_a_pixel_of_the_image_not_of_the_output():
    boxes, labels = np.array([[10, 10, 10.5, 90], [50, 50, 51.5, 51.5]]), np.array([1, 2])
    for seed in range(20):
        augmentation = Augmentation(zoom_out=1.0)
        _, target = augment(painted(), SIZE, boxes, labels, OUTPUT, augmentation, (seed,))
        assert target["labels"].tolist() == [2]


@pytest.mark.parametrize("options", FAMILY.values(), ids=FAMILY)
def test_image_without_objects(options):
    augmentation = Augmentation(**options, photometric=True)
    pixels, target = augment(painted(), SIZE, np.zeros((0, 4)), np.zeros(0, int), OUTPUT, augmentation, (3,))
    assert pixels.shape == (*OUTPUT, 3)
    assert target["boxes"].shape == (0, 4) and target["labels"].shape == (0,)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "CMYK"])
@pytest.mark.parametrize("photometric", [False, True])
def test_bytes_come_out_in_one_piece(mode, photometric):
    augmentation = Augmentation(flip=1.0, zoom_out=1.0, photometric=photometric)
    pixels, target = augment(painted().convert(mode), SIZE, BOXES, LABELS, OUTPUT, augmentation, (0,))
    assert pixels.dtype == torch.uint8 and pixels.shape == (*OUTPUT, 3) and pixels.is_contiguous()
    assert target["boxes"].dtype == torch.float32 and target["labels"].dtype == torch.int64


def test_same_seed_same_sample():
    def draw(*seed):
        pixels, target = augment(painted(), SIZE, BOXES, LABELS, OUTPUT, augmentation, seed)
        return pixels.numpy().tobytes(), target["boxes"].tolist(), target["labels"].tolist()

    augmentation = Augmentation(zoom_out=0.5, iou_crop=True, photometric=True)
    assert draw(1, 2, 3) == draw(1, 2, 3)
    others = [draw(1, 2, 4), draw(1, 3, 3), draw(2, 2, 3)]
    assert all(draw(1, 2, 3)[part] != other[part] for other in others for part in (0, 1))


def test_around_a_zoomed_out_image_there_is_nothing_but_the_fill():
    white, everything, fill = Image.new("RGB", SIZE[::-1], "white"), np.array([[0, 0, *SIZE[::-1]]]), (10, 200, 30)
    augmentation, covered = Augmentation(zoom_out=1.0, fill=fill), []
    for seed in range(30):
        pixels, target = augment(white, SIZE, everything, LABELS[:1], OUTPUT, augmentation, (seed,))
        image = (pixels == 255).all(dim=-1)
        assert (pixels[~image] == torch.tensor(fill)).all(), "no pixel is a mixture"
        assert extent(image.numpy() * 255) == target["boxes"].round().int().tolist()[0]
        covered.append(image.float().mean().item())
    assert min(covered) < 0.15 and max(covered) > 0.5, "once to sixteen times the area"


@pytest.mark.parametrize("name", ["flip", "zoom_out"])
@pytest.mark.parametrize("value", [-0.1, 1.5])
def test_probabilities_are_checked(name, value):
    with pytest.raises(ValueError, match=rf"transforms.{name} is a probability, in \[0, 1\], got {value}"):
        Augmentation(**{name: value})


# ---- what is drawn, held against torchvision: two-sample Kolmogorov-Smirnov tests, column by column ----


def assert_same_distribution(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Columns of [n, K] and [m, K]; a sound pair fails once in a hundred thousand columns, and seeds are fixed."""
    least = np.sqrt(-np.log(1e-5 / 2) / 2 * (1 / len(ours) + 1 / len(theirs)))
    for column, (a, b) in enumerate(zip(ours.T, theirs.T, strict=True)):
        where = np.concatenate((a, b))
        cdf_a, cdf_b = (np.searchsorted(np.sort(x), where, side="right") / len(x) for x in (a, b))
        distance = np.abs(cdf_a - cdf_b).max()
        assert distance < least, f"column {column} differs by {distance:.3f}, {least:.3f} would be chance"


def inputs_of_torchvision() -> list:
    boxes = tv_tensors.BoundingBoxes(torch.from_numpy(BOXES).float(), format="XYXY", canvas_size=SIZE)
    return [tv_tensors.Image(torch.zeros(3, *SIZE, dtype=torch.uint8)), boxes]


def test_iou_crop_is_distributed_as_torchvisions():
    torch.manual_seed(0)
    transform, inputs, theirs = v2.RandomIoUCrop(), inputs_of_torchvision(), []
    assert (list(transforms.OVERLAPS), transforms.TRIALS) == (transform.options, transform.trials)
    for _ in range(600):
        drawn = transform.make_params(inputs)
        kept = drawn["is_within_crop_area"].sum().item() if drawn else len(BOXES)
        whole = {"left": 0, "top": 0, "width": SIZE[1], "height": SIZE[0]}
        theirs.append([*((drawn or whole)[side] for side in whole), kept])
    rng, ours = np.random.default_rng(0), []
    for _ in range(2000):
        crop, kept = draw_iou_crop(rng, Rect(0, 0, SIZE[1], SIZE[0]), BOXES)
        ours.append([crop.x0, crop.y0, crop.width, crop.height, len(kept)])
    assert_same_distribution(np.array(ours), np.array(theirs))


def test_zoom_out_is_distributed_as_torchvisions():
    torch.manual_seed(0)
    transform, inputs = v2.RandomZoomOut(), inputs_of_torchvision()
    theirs = np.array([transform.make_params(inputs)["padding"] for _ in range(2000)])
    rng, image = np.random.default_rng(0), Rect(0, 0, SIZE[1], SIZE[0])
    windows = np.array([draw_zoom_out(rng, image) for _ in range(2000)])
    ours = windows * (-1, -1, 1, 1) - (0, 0, SIZE[1], SIZE[0])  # padding at the left, top, right and bottom
    both_sides = [np.concatenate((padding, padding[:, :2] + padding[:, 2:]), axis=1) for padding in (ours, theirs)]
    assert_same_distribution(*both_sides)


NEUTRAL = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0}


def test_colour_changes_are_drawn_as_torchvisions(monkeypatch):
    """Amounts of the changes, whether contrast comes before or after the others, and the order of the channels."""
    drawn: dict[str, float] = {}

    def note(name, image, amount):
        drawn[name] = amount
        return image

    for name in NEUTRAL:  # changes nothing, but is noted down
        monkeypatch.setattr(transforms.F, f"adjust_{name}", partial(note, name))
    rng, channels, ours = np.random.default_rng(0), np.array([[[0, 1, 2]]], np.uint8), []
    for _ in range(2000):
        drawn.clear()
        order = distort_colours(rng, channels).ravel().tolist()
        early = list(drawn)[-1:] != ["contrast"]
        sequence = ["brightness", *["contrast"] * early, "saturation", "hue", *["contrast"] * (not early)]
        assert list(drawn) == [name for name in sequence if name in drawn]
        ours.append(row_of(drawn, early, order))

    torch.manual_seed(0)
    transform, theirs = v2.RandomPhotometricDistort(), []
    for _ in range(2000):
        params = transform.make_params([torch.zeros(3, 1, 1)])
        amounts = {name: params[f"{name}_factor"] for name in NEUTRAL if params[f"{name}_factor"] is not None}
        order = params["channel_permutation"]
        theirs.append(row_of(amounts, params["contrast_before"], [0, 1, 2] if order is None else order.tolist()))
    assert_same_distribution(np.array(ours), np.array(theirs))


def row_of(amounts: dict[str, float], early: bool, order: list[int]) -> list[float]:
    """Amounts, when contrast came if one can tell, and the order as a number."""
    can_tell = "contrast" in amounts and not amounts.keys().isdisjoint({"saturation", "hue"})
    return [*{**NEUTRAL, **amounts}.values(), early if can_tell else 0.5, order[0] * 3 + order[1]]


def test_colours_come_out_as_torchvisions():
    ramp = np.linspace(0, 1, 24)
    image = np.stack(np.broadcast_arrays(60 + 150 * ramp, 200 - 90 * ramp[:, None], 40 + 30 * ramp), axis=-1)
    image = image.astype(np.uint8)
    torch.manual_seed(0)
    transform, tensor = v2.RandomPhotometricDistort(), tv_tensors.Image(torch.from_numpy(image).movedim(-1, 0))
    theirs = np.array([colour_statistics(transform(tensor).movedim(0, -1).numpy()) for _ in range(200)])
    rng = np.random.default_rng(0)
    ours = np.array([colour_statistics(distort_colours(rng, image)) for _ in range(200)])
    assert_same_distribution(ours, theirs)
    np.testing.assert_allclose(ours.mean(axis=0), theirs.mean(axis=0), rtol=0.1)


def colour_statistics(pixels: np.ndarray) -> list[float]:
    """Means and deviations of the channels, and how colourful a pixel is."""
    spread = pixels.max(axis=-1).astype(int) - pixels.min(axis=-1)
    return [*pixels.mean(axis=(0, 1)), *pixels.std(axis=(0, 1)), pixels.mean(), spread.mean()]
