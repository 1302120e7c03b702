"""Colours: drawn as torchvision draws them, and what comes out differs from what its operations give by rounding."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from detzoo.data.colour import Colours, change_colours, draw_colours

pytestmark = pytest.mark.usefixtures("one_thread")

CHANGES = {
    "darker": Colours(brightness=0.875),
    "brighter": Colours(brightness=1.125),
    "less contrast": Colours(contrast=0.5),
    "more contrast": Colours(contrast=1.5),
    "brighter, more contrast": Colours(brightness=1.125, contrast=1.5),
    "paler": Colours(saturation=0.5),
    "more colourful": Colours(saturation=1.5),
    "towards green": Colours(hue=0.05),
    "towards red": Colours(hue=-0.05),
    "another order": Colours(order=(2, 0, 1)),
    "all, contrast first": Colours(1.1, 1.4, 1.3, -0.04, True, (1, 0, 2)),
    "all, contrast last": Colours(0.9, 1.4, 1.3, 0.03, False, (1, 2, 0)),
}


@pytest.fixture(scope="module")
def image():
    """Every kind of colour, black and white and greys among them, and more of the pale ones as photographs have."""
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (64, 96, 1)) + rng.normal(0, 40, (64, 96, 3))
    colours[:8] = rng.integers(0, 256, (8, 96, 3))
    colours[8:10] = rng.integers(0, 256, (2, 96, 1))
    colours[10, :48], colours[10, 48:] = 0, 255
    return Image.fromarray(colours.clip(0, 255).astype(np.uint8))


def by_torchvision(image: Image.Image, colours: Colours) -> np.ndarray:
    """The same changes, one operation after the other, each on the whole image."""
    tensor = F.pil_to_tensor(image)
    contrast = (F.adjust_contrast, colours.contrast, 1.0)
    steps = [
        (F.adjust_brightness, colours.brightness, 1.0),
        (F.adjust_saturation, colours.saturation, 1.0),
        (F.adjust_hue, colours.hue, 0.0),
    ]
    steps.insert(1 if colours.contrast_first else 3, contrast)
    for change, amount, nothing in steps:
        if amount != nothing:
            tensor = change(tensor, amount)
    return tensor[list(colours.order)].movedim(0, -1).numpy()


@pytest.mark.parametrize("name", CHANGES)
def test_changes_are_torchvisions_but_for_rounding(image, name):
    """By two levels at most for one change; roundings add up where each change enlarges that of the one before."""
    before, colours = np.array(image), CHANGES[name]
    ours = np.asarray(change_colours(image, colours)).astype(int)
    difference = np.abs(ours - by_torchvision(image, colours))
    assert difference.mean() <= 1 and np.percentile(difference, 99) <= 4
    assert difference.max() <= (8 if name.startswith("all") else 2)
    assert np.abs(ours - before).mean() > 3, "something happened"
    np.testing.assert_array_equal(np.array(image), before)


@pytest.mark.parametrize("turn", [-0.05, -0.013, 0.013, 0.05])
def test_a_turned_hue_is_exact_over_the_whole_circle(turn):
    """Each pair of neighbouring levels of each colour of the circle, in floating point."""
    sixths = np.arange(0, 6, 1 / 64)
    circle = np.stack([(np.abs((sixths - at + 3) % 6 - 3) - 1).clip(0, 1) for at in (3, 5, 1)], axis=-1)
    assert circle[0].tolist() == [1, 0, 0] and circle[64].tolist() == [1, 1, 0], "red, yellow, ..."
    for low, high in ((0, 255), (40, 200), (100, 110), (128, 128)):
        pixels = np.rint(low + (high - low) * circle)
        exact = np.stack([F.adjust_hue(torch.from_numpy(row / 255)[:, None, None], turn)[:, 0, 0] for row in pixels])
        ours = np.asarray(change_colours(Image.fromarray(pixels[None].astype(np.uint8)), Colours(hue=turn)))
        assert np.abs(ours[0] - 255 * exact).max() <= 1.01


def test_nothing_is_nothing(image):
    np.testing.assert_array_equal(np.asarray(change_colours(image, Colours())), np.asarray(image))


def test_a_single_grey_stays_what_contrast_makes_of_it():
    """Contrast is about the mean grey, which here is the only one."""
    grey = Image.new("RGB", (5, 4), (90, 90, 90))
    for colours in (Colours(contrast=1.5), Colours(contrast=0.5), Colours(saturation=1.4, hue=0.05)):
        assert change_colours(grey, colours).getcolors() == [(20, (90, 90, 90))]


# ---- what is drawn, held against torchvision ----

NEUTRAL = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0}


def test_changes_are_drawn_as_torchvisions(same_distribution):
    """Amounts of the changes, whether contrast comes before or after the others, and the order of the channels."""
    rng, ours = np.random.default_rng(0), []
    for _ in range(2000):
        drawn = draw_colours(rng)
        ours.append([*drawn[:4], drawn.contrast_first, drawn.order[0] * 3 + drawn.order[1]])

    torch.manual_seed(0)
    transform, theirs = v2.RandomPhotometricDistort(), []
    for _ in range(2000):
        params = transform.make_params([torch.zeros(3, 1, 1)])
        amounts = [params[f"{name}_factor"] for name in NEUTRAL]
        amounts = [nothing if amount is None else amount for amount, nothing in zip(amounts, NEUTRAL.values())]
        order = params["channel_permutation"]
        order = [0, 1, 2] if order is None else order.tolist()
        theirs.append([*amounts, params["contrast_before"], order[0] * 3 + order[1]])
    same_distribution(np.array(ours), np.array(theirs))


def test_colours_come_out_as_torchvisions(same_distribution):
    ramp = np.linspace(0, 1, 24)
    pixels = np.stack(np.broadcast_arrays(60 + 150 * ramp, 200 - 90 * ramp[:, None], 40 + 30 * ramp), axis=-1)
    image = Image.fromarray(pixels.astype(np.uint8))
    torch.manual_seed(0)
    transform, tensor = v2.RandomPhotometricDistort(), tv_tensors.Image(F.pil_to_tensor(image))
    theirs = np.array([statistics(transform(tensor).movedim(0, -1).numpy()) for _ in range(400)])
    rng = np.random.default_rng(0)
    ours = np.array([statistics(np.asarray(change_colours(image, draw_colours(rng)))) for _ in range(400)])
    same_distribution(ours, theirs)
    np.testing.assert_allclose(ours.mean(axis=0), theirs.mean(axis=0), rtol=0.07)


def statistics(pixels: np.ndarray) -> list[float]:
    """Means and deviations of the channels, and how colourful a pixel is."""
    spread = pixels.max(axis=-1).astype(int) - pixels.min(axis=-1)
    return [*pixels.mean(axis=(0, 1)), *pixels.std(axis=(0, 1)), pixels.mean(), spread.mean()]
