"""Windows: what is drawn is what torchvision would draw, by two-sample tests, and what the papers say."""

import numpy as np
import pytest
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from detzoo.data import geometry
from detzoo.data.geometry import Rect, draw_iou_crop, draw_jitter, draw_panels, draw_part, draw_zoom_out

pytestmark = pytest.mark.usefixtures("one_thread")

SIZE = (240, 320)  # height, width
IMAGE = Rect(0, 0, SIZE[1], SIZE[0])
BOXES = np.array([[40, 60, 120, 130], [150, 20, 230, 110], [200, 130, 300, 220]], float)


def test_a_crop_is_a_part_of_its_window_of_admissible_shape():
    rng, window, shares = np.random.default_rng(0), Rect(-100, -50, 400, 300), []
    for _ in range(300):
        crop, kept = draw_iou_crop(rng, window, BOXES)
        assert window.x0 <= crop.x0 < crop.x1 <= window.x1 and window.y0 <= crop.y0 < crop.y1 <= window.y1
        assert crop.width >= int(0.3 * window.width) and crop.height >= int(0.3 * window.height)
        assert crop == window or 0.5 <= crop.width / crop.height <= 2
        assert len(kept)
        shares.append((crop.width / window.width, crop.height / window.height))
    assert (np.min(shares, axis=0) < 0.33).all() and np.sum(np.array(shares) > 0.97) > 50, "from 0.3 to 1"


def test_jitter_scales_both_sides_alike_and_cuts_or_pads(same_distribution):
    rng, (low, high) = np.random.default_rng(0), (0.1, 2.0)
    windows = np.array([draw_jitter(rng, IMAGE, (low, high)) for _ in range(1000)])
    sides = windows[:, 2:] - windows[:, :2]
    scales = SIZE[1] / sides[:, 0]
    np.testing.assert_allclose(scales, SIZE[0] / sides[:, 1])
    same_distribution(scales[:, None], np.linspace(low, high, 5000)[:, None])
    over = np.array([IMAGE.x1, IMAGE.y1]) - windows[:, 2:]  # on the far side, as windows[:, :2] is on the near one
    assert (windows[:, :2] * over >= -1e-9).all(), "inside on both sides, or beyond on both"
    position = windows[:, :2] / (np.array([IMAGE.x1, IMAGE.y1]) - sides)
    same_distribution(position, np.random.default_rng(1).random((5000, 2)))


def test_a_part_lies_in_the_image_and_has_the_shape_of_its_panel():
    rng = np.random.default_rng(0)
    for share in ((0.25, 0.6), (0.75, 0.75), (1.0, 0.3)):
        for _ in range(100):
            part = draw_part(rng, IMAGE, share)
            assert part.x0 >= 0 and part.y0 >= 0 and part.x1 <= IMAGE.x1 + 1e-9 and part.y1 <= IMAGE.y1 + 1e-9
            scales = share[0] * IMAGE.width / part.width, share[1] * IMAGE.height / part.height
            assert scales[0] == pytest.approx(scales[1]) and max(share) - 1e-9 <= scales[0] <= 1


def test_panels_meet_in_the_middle_half():
    rng, meetings = np.random.default_rng(0), []
    for _ in range(200):
        panels = draw_panels(rng, SIZE)
        x, y = panels[0][2:]
        assert panels == [(0, 0, x, y), (x, 0, 320, y), (0, y, x, 240), (x, y, 320, 240)]
        meetings.append((x / 320, y / 240))
    assert 0.24 < np.min(meetings) < 0.3 and 0.7 < np.max(meetings) < 0.76


# ---- held against torchvision: two-sample Kolmogorov-Smirnov tests, column by column ----


def inputs_of_torchvision() -> list:
    boxes = tv_tensors.BoundingBoxes(torch.from_numpy(BOXES).float(), format="XYXY", canvas_size=SIZE)
    return [tv_tensors.Image(torch.zeros(3, *SIZE, dtype=torch.uint8)), boxes]


def test_iou_crop_is_distributed_as_torchvisions(same_distribution):
    torch.manual_seed(0)
    transform, inputs, theirs = v2.RandomIoUCrop(), inputs_of_torchvision(), []
    assert (list(geometry.OVERLAPS), geometry.TRIALS) == (transform.options, transform.trials)
    for _ in range(600):
        drawn = transform.make_params(inputs)
        kept = drawn["is_within_crop_area"].sum().item() if drawn else len(BOXES)
        whole = {"left": 0, "top": 0, "width": SIZE[1], "height": SIZE[0]}
        theirs.append([*((drawn or whole)[side] for side in whole), kept])
    rng, ours = np.random.default_rng(0), []
    for _ in range(2000):
        crop, kept = draw_iou_crop(rng, IMAGE, BOXES)
        ours.append([crop.x0, crop.y0, crop.width, crop.height, len(kept)])
    same_distribution(with_aspect(ours), with_aspect(theirs))


def with_aspect(crops: list[list[float]]) -> np.ndarray:
    """Left, top, width, height and boxes kept, and width by height."""
    crops = np.array(crops)
    return np.concatenate((crops, crops[:, 2:3] / crops[:, 3:4]), axis=1)


def test_zoom_out_is_distributed_as_torchvisions(same_distribution):
    torch.manual_seed(0)
    transform, inputs = v2.RandomZoomOut(), inputs_of_torchvision()
    theirs = np.array([transform.make_params(inputs)["padding"] for _ in range(2000)])
    rng = np.random.default_rng(0)
    windows = np.array([draw_zoom_out(rng, IMAGE) for _ in range(2000)])
    ours = windows * (-1, -1, 1, 1) - (0, 0, SIZE[1], SIZE[0])  # padding at the left, top, right and bottom
    both_sides = [np.concatenate((padding, padding[:, :2] + padding[:, 2:]), axis=1) for padding in (ours, theirs)]
    same_distribution(*both_sides)
