"""Default boxes: the published counts, boxes worked out by hand, torchvision's generator."""

import math
from dataclasses import replace

import pytest
import torch
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator as TorchvisionGenerator
from torchvision.models.detection.image_list import ImageList

from detzoo.components import DEFAULT_BOXES, DefaultBoxGenerator
from detzoo.lookup import ConfigError, build_part
from detzoo.models import MODELS, build_ssd

GRIDS = {
    "ssd300_vgg16": (38, 19, 10, 5, 3, 1),
    "ssd512_vgg16": (64, 32, 16, 8, 4, 2, 1),
    "ssdlite320_mobilenet_v3_large": (20, 10, 5, 3, 2, 1),
}
SSD300_RATIOS = [[2], [2, 3], [2, 3], [2, 3], [2], [2]]
SSD300_SCALES = [0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05]
SSD300_STEPS = [8, 16, 32, 64, 100, 300]


def preset(name: str, **options) -> DefaultBoxGenerator:
    config = MODELS[name].config
    return build_part(DEFAULT_BOXES, {**config.default_boxes, **options}, "default_boxes", image_size=config.size)


def boxes_of(name: str, **options) -> torch.Tensor:
    return preset(name, **options)([(side, side) for side in GRIDS[name]], MODELS[name].config.size)


@pytest.mark.parametrize(
    ("name", "count"), [("ssd300_vgg16", 8732), ("ssd512_vgg16", 24564), ("ssdlite320_mobilenet_v3_large", 3234)]
)
def test_published_counts(name, count):
    boxes = boxes_of(name)
    assert boxes.shape == (count, 4) and boxes.dtype == torch.float32
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert count == sum(side**2 * k for side, k in zip(GRIDS[name], preset(name).boxes_per_cell, strict=True))


@pytest.mark.parametrize(
    ("name", "centre", "sizes"),
    [
        # 0.07 * 300 = 21; sqrt(0.07 * 0.15) * 300; 21 * sqrt(2) by 21 / sqrt(2)
        ("ssd300_vgg16", 4, [(21, 21), (30.7409, 30.7409), (29.6985, 14.8492), (14.8492, 29.6985)]),
        # 20.48; sqrt(20.48 * 51.2); 20.48 * sqrt(2) by 20.48 / sqrt(2)
        ("ssd512_vgg16", 4, [(20.48, 20.48), (32.3817, 32.3817), (28.9631, 14.4815), (14.4815, 28.9631)]),
        # 0.2 * 320 = 64; sqrt(0.2 * 0.35) * 320; ratios 2 and 3; 320 / 20 = 16 pixels a cell
        (
            "ssdlite320_mobilenet_v3_large",
            8,
            [(64, 64), (84.6640, 84.6640), (90.5097, 45.2548), (45.2548, 90.5097), (110.8513, 36.9504)],
        ),
    ],
)
def test_first_boxes_by_hand(name, centre, sizes):
    expected = [[centre - w / 2, centre - h / 2, centre + w / 2, centre + h / 2] for w, h in sizes]
    torch.testing.assert_close(boxes_of(name)[: len(sizes)], torch.tensor(expected), rtol=0, atol=2e-4)


def test_cells_go_row_by_row_and_the_boxes_of_a_cell_stay_together():
    boxes = DefaultBoxGenerator([[(0.1, 0.1), (0.2, 0.4)]])([(2, 3)], (100, 300))
    assert boxes.shape == (12, 4)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    expected = [[x, y] for y in (25, 75) for x in (50, 150, 250) for _ in range(2)]
    torch.testing.assert_close(centres, torch.tensor(expected, dtype=torch.float32))
    sizes = boxes[:, 2:] - boxes[:, :2]
    torch.testing.assert_close(sizes, torch.tensor([[30.0, 10.0], [60.0, 40.0]]).repeat(6, 1))


def test_levels_follow_one_another():
    boxes = DefaultBoxGenerator([[(0.1, 0.1)], [(0.5, 0.5)]])([(2, 2), (1, 1)], (100, 100))
    widths = boxes[:, 2] - boxes[:, 0]
    torch.testing.assert_close(widths, torch.tensor([10.0, 10.0, 10.0, 10.0, 50.0]))


def test_a_step_of_32_on_ten_cells_leaves_300_pixels_and_clipping_centres_moves_them_back():
    plain, moved = boxes_of("ssd300_vgg16", clip="sizes"), boxes_of("ssd300_vgg16", clip="centres_and_sizes")
    changed = (plain - moved).abs().amax(dim=1) > 1e-3
    third_level = slice(38 * 38 * 4 + 19 * 19 * 6, 38 * 38 * 4 + 19 * 19 * 6 + 10 * 10 * 6)
    assert changed.sum() == changed[third_level].sum() == 114  # last row and last column: 19 cells of 6 boxes
    centres = (moved[third_level][:, :2] + moved[third_level][:, 2:]) / 2
    assert centres.max().item() == pytest.approx(300)
    assert ((plain[third_level][:, :2] + plain[third_level][:, 2:]) / 2).max().item() == pytest.approx(304)


@pytest.mark.parametrize(
    ("clip", "width", "centre"), [("none", 450, 304), ("sizes", 300, 304), ("centres_and_sizes", 300, 300)]
)
def test_three_ways_to_clip(clip, width, centre):
    generator = DefaultBoxGenerator([[(1.5, 0.5)]], steps=[32], clip=clip)
    box = generator([(10, 10)], (300, 300))[9]  # at the end of the first row
    assert (box[2] - box[0]).item() == pytest.approx(width)
    assert ((box[0] + box[2]) / 2).item() == pytest.approx(centre)
    assert (box[3] - box[1]).item() == pytest.approx(150)
    assert ((box[1] + box[3]) / 2).item() == pytest.approx(16)


def torchvision_boxes(generator: TorchvisionGenerator, grids: list, size: tuple[int, int]) -> torch.Tensor:
    images = ImageList(torch.zeros(1, 3, *size), [size])
    return generator(images, [torch.zeros(1, 1, *grid) for grid in grids])[0]


def test_ssd300_is_torchvisions():
    reference = TorchvisionGenerator(SSD300_RATIOS, scales=SSD300_SCALES, steps=SSD300_STEPS)
    grids = [(side, side) for side in GRIDS["ssd300_vgg16"]]
    found = preset("ssd300_vgg16")(grids, (300, 300))
    torch.testing.assert_close(found, torchvision_boxes(reference, grids, (300, 300)), rtol=0, atol=1e-4)


def test_steps_that_do_not_fit_the_image_give_way_to_the_real_grid():
    """The steps of 100 and 300 pixels would put cells of a 300 x 512 image up to 538 pixels outside of it."""
    grids = [(38, 64), (19, 32), (10, 16), (5, 8), (3, 6), (1, 4)]
    by_steps, by_grid = (preset("ssd300_vgg16", **options) for options in ({}, {"steps": None}))
    boxes, spread = by_steps(grids, (300, 512)), by_grid(grids, (300, 512))
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    assert (centres > 0).all() and (centres < torch.tensor([512 * 1.01, 300 * 1.02])).all()
    last_two = (3 * 6 + 1 * 4) * 4
    assert torch.equal(boxes[-last_two:], spread[-last_two:])
    first = 38 * 64 * 4
    assert (boxes[:first] - spread[:first]).abs().max() == pytest.approx(37.5 * (8 - 300 / 38), abs=1e-3)


@pytest.mark.parametrize("size", [(320, 320), (320, 512)], ids=str)
def test_ssdlite_is_torchvisions(size):
    reference = TorchvisionGenerator([[2, 3] for _ in range(6)], min_ratio=0.2, max_ratio=0.95)
    grids = [(side, math.ceil(side * size[1] / size[0])) for side in GRIDS["ssdlite320_mobilenet_v3_large"]]
    found = preset("ssdlite320_mobilenet_v3_large")(grids, size)
    torch.testing.assert_close(found, torchvision_boxes(reference, grids, size), rtol=0, atol=1e-4)


def test_sizes_in_pixels_say_the_same_as_scales():
    by_scales = DefaultBoxGenerator.from_scales([0.1, 0.3, 0.6], [[2], [3]], clip="none")
    by_sizes = DefaultBoxGenerator.from_sizes([20, 60], [60, 120], [[2], [3]], image_size=(200, 200))
    for shapes, expected in zip(by_sizes.shapes, by_scales.shapes, strict=True):
        torch.testing.assert_close(torch.tensor(shapes), torch.tensor(expected))


def test_sizes_in_pixels_are_squares_on_an_image_that_is_not():
    size = (300, 512)
    generator = DefaultBoxGenerator.from_sizes([30], [120], [[4]], image_size=size, steps=[8])
    boxes = generator([(38, 64)], size)
    expected = [[-11, -11, 19, 19], [-26, -26, 34, 34], [-26, -3.5, 34, 11.5], [-3.5, -26, 11.5, 34]]
    torch.testing.assert_close(boxes[:4], torch.tensor(expected, dtype=torch.float32), rtol=0, atol=1e-4)


def test_a_scale_is_a_fraction_of_each_side():
    boxes = DefaultBoxGenerator.from_scales([0.1, 0.1], [[]])([(1, 1)], (300, 500))
    torch.testing.assert_close(boxes[0], torch.tensor([225.0, 135.0, 275.0, 165.0]))


def linear(num_levels: int = 6, first_stride: int | None = 16, size=(320, 320), **options) -> DefaultBoxGenerator:
    return DefaultBoxGenerator.from_linear(num_levels, first_stride, size, **options)


@pytest.mark.parametrize("min_scale", [0.2, None], ids=["given", "guessed"])
def test_linear_scales_are_ssdlites(min_scale):
    """Four cells of 16 pixels are .2 of 320; the scale behind the last one is 1."""
    found = linear(min_scale=min_scale, max_scale=0.95)
    for shapes, expected in zip(found.shapes, preset("ssdlite320_mobilenet_v3_large").shapes, strict=True):
        torch.testing.assert_close(torch.tensor(shapes), torch.tensor(expected))
    grids = [(side, side) for side in GRIDS["ssdlite320_mobilenet_v3_large"]]
    torch.testing.assert_close(found(grids, (320, 320)), boxes_of("ssdlite320_mobilenet_v3_large"), rtol=0, atol=1e-3)


def squares(generator: DefaultBoxGenerator) -> list[float]:
    return [round(shapes[0][0], 4) for shapes in generator.shapes]


def test_linear_scales_by_hand():
    assert squares(linear(min_scale=0.2)) == [0.2, 0.34, 0.48, 0.62, 0.76, 0.9], "SSD, equation 4, with its numbers"
    assert squares(linear(first_stride=8, size=(300, 300)))[0] == 0.1067
    assert squares(linear(first_stride=8, size=(128, 512)))[0] == 0.125, "the area of 4 x 4 cells"
    (only,) = linear(1, min_scale=0.2, aspect_ratios=()).shapes
    assert [round(width, 4) for width, _ in only] == [0.2, round(math.sqrt(0.2 * 0.9), 4)]
    assert round(linear(2, min_scale=0.2).shapes[1][1][0], 4) == round(math.sqrt(0.9), 4), "the square behind the last"


def test_linear_ratios_for_all_levels_or_for_each():
    assert linear(2).boxes_per_cell == [6, 6]
    assert linear(2, aspect_ratios=[2]).boxes_per_cell == [4, 4]
    assert linear(2, aspect_ratios=[]).boxes_per_cell == [2, 2]
    assert linear(2, aspect_ratios=[[], [2, 3]], steps=[16, 32], clip="none").boxes_per_cell == [2, 6]


def test_linear_by_name_derives_the_rest():
    config = replace(MODELS["ssd300_vgg16"].config, default_boxes="linear", num_classes=3)
    with torch.device("meta"):
        model = build_ssd(config)
    assert model.default_boxes.boxes_per_cell == [6] * 6 and squares(model.default_boxes)[0] == 0.1067
    wrong = replace(config, default_boxes={"name": "linear", "num_levels": 6})
    with pytest.raises(ConfigError, match="default_boxes.num_levels is derived"):
        build_ssd(wrong)


def test_boxes_per_cell():
    assert preset("ssd300_vgg16").boxes_per_cell == [4, 6, 6, 6, 4, 4]
    assert preset("ssd512_vgg16").boxes_per_cell == [4, 6, 6, 6, 6, 4, 4]
    assert DefaultBoxGenerator([[(0.1, 0.1)]] * 3).boxes_per_cell == [1, 1, 1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DefaultBoxGenerator([[(1, 1)]] * 2, steps=[8]), "2 levels need as many steps, got 1"),
        (lambda: DefaultBoxGenerator([[(1, 1)]], steps=[0]), "expected positive steps, got"),
        (lambda: DefaultBoxGenerator([[(1, 1)], []]), "level 1: expected positive"),
        (lambda: DefaultBoxGenerator([[(1, 0)]]), "level 0: expected positive"),
        (lambda: DefaultBoxGenerator([[(1, 1)]], clip="centers"), "clip must be one of .*got 'centers'"),
        (lambda: DefaultBoxGenerator.from_scales([0.1, 0.2], [[2], [2]]), "2 levels .*need 3 scales.*got 2"),
        (lambda: DefaultBoxGenerator.from_scales([0.1, -0.2], [[2]]), "positive.*-0.2"),
        (lambda: DefaultBoxGenerator.from_scales([-0.1, -0.2], [[2]]), "positive.*-0.1"),
        (lambda: DefaultBoxGenerator.from_scales([0.1, 0.2], [[2, 0]]), "positive.*0"),
        (
            lambda: DefaultBoxGenerator.from_sizes([1, 2], [2], [[], []], image_size=(9, 9)),
            "as many min_sizes as max_sizes and aspect_ratios.*got 2, 1 and 2",
        ),
        (lambda: linear(first_stride=None), "min_scale is needed, since the backbone states no first_stride"),
        (lambda: linear(first_stride=32, size=(96, 96)), "expected 0 < min_scale < max_scale <= 1, got 1.33.* is 32"),
        (lambda: linear(min_scale=0.9), "min_scale < max_scale <= 1, got 0.9 and 0.9"),
        (lambda: linear(max_scale=1.05), "got 0.2 and 1.05"),
        (lambda: linear(3, aspect_ratios=[[2], [2]]), "3 levels need as many lists of aspect_ratios.*got 2"),
        (lambda: linear(2, steps=[8]), "2 levels need as many steps, got 1"),
        (lambda: DefaultBoxGenerator([[(1, 1)]])([(2, 2), (1, 1)], (9, 9)), "2 feature maps .* of 1 levels"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_boxes_are_kept_for_the_next_batch_and_not_mixed_up():
    boxes = DefaultBoxGenerator([[(0.5, 0.5)], [(0.9, 0.9)]])
    first = boxes([(4, 4), (2, 2)], (64, 64))
    assert boxes([(4, 4), (2, 2)], (64, 64)) is first
    other = boxes([(4, 4), (2, 2)], (128, 64))
    assert torch.equal(other, first * torch.tensor([1.0, 2.0, 1.0, 2.0]))
    assert boxes([(4, 4), (2, 2)], (64, 64), "meta").is_meta
    for side in range(1, 100):  # sizes without end do not fill the memory
        boxes([(side, side), (1, 1)], (64, 64))
    assert len(boxes._tiled) <= 32
    with torch.inference_mode():
        drawn = DefaultBoxGenerator([[(0.5, 0.5)]])
        assert drawn([(2, 2)], (64, 64)).is_inference()
    assert not drawn([(2, 2)], (64, 64)).is_inference(), "such a tensor cannot be trained with"
