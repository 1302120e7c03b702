"""Pictures: pixels change where boxes and words are drawn, and nowhere else."""

import numpy as np
import pytest
import torch

from detzoo.viz import CANVAS, SCALE_UP_TO, colour_of, draw_box_groups, draw_boxes, side_by_side

NAMES = ("cat", "dog")
GREY = torch.full((3, 480, 600), 128, dtype=torch.uint8)
LABEL = 24  # pixels above a box that its name may take


def found(boxes, labels, scores=None):
    columns = {"boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), "labels": torch.tensor(labels).long()}
    return columns if scores is None else {**columns, "scores": torch.tensor(scores)}


def changed(picture) -> np.ndarray:
    return (np.asarray(picture) != 128).any(axis=-1)


def test_pixels_change_along_the_box_and_at_its_name():
    touched = changed(draw_boxes(GREY, found([[100, 150, 300, 350]], [1], [0.5]), NAMES))
    assert touched[150:351, 100].all() and touched[150:351, 300].all(), "left and right"
    assert touched[150, 100:301].all() and touched[350, 100:301].all(), "top and bottom"
    assert touched[150 - LABEL : 149, 100:140].mean() > 0.5, "the name stands above the box"
    assert not touched[153:348, 103:298].any(), "what was found stays visible"
    touched[150 - LABEL : 351, 100:301] = False
    assert not touched.any(), "and nothing else changes"


def test_colours_and_words_tell_the_labels_apart():
    one, other = (np.asarray(draw_boxes(GREY, found([[100, 150, 300, 350]], [label]), NAMES)) for label in (1, 2))
    assert tuple(one[250, 100]) == colour_of(1) and tuple(other[250, 100]) == colour_of(2)
    assert np.abs(np.subtract(colour_of(1), colour_of(2))).max() > 100
    scored = np.asarray(draw_boxes(GREY, found([[100, 150, 300, 350]], [1], [0.5]), NAMES))
    assert (scored[:150] != one[:150]).any(), "a score is written where there is one"


def test_threshold():
    boxes = [[100, 150, 200, 250], [300, 150, 400, 250]]
    touched = changed(draw_boxes(GREY, found(boxes, [1, 2], [0.5, 0.3]), NAMES, score_threshold=0.4))
    assert touched[:, :250].any() and not touched[:, 250:].any()
    assert changed(draw_boxes(GREY, found(boxes, [1, 2], [0.5, 0.3]), NAMES, score_threshold=0.3))[:, 250:].any()


def test_the_best_box_is_on_top():
    box = [100, 150, 300, 350]
    picture = np.asarray(draw_boxes(GREY, found([box, box], [2, 1], [0.9, 0.1]), NAMES))
    assert tuple(picture[250, 100]) == colour_of(2)


def test_no_line_goes_through_a_name():
    alone = np.asarray(draw_boxes(GREY, found([[100, 150, 300, 350]], [1], [0.5]), NAMES))
    crossed = np.asarray(
        draw_boxes(GREY, found([[110, 100, 130, 300], [100, 150, 300, 350]], [2, 1], [0.9, 0.5]), NAMES)
    )
    name = changed(alone)
    name[149:] = False
    assert name.any() and np.array_equal(alone[name], crossed[name])


def test_nothing_found_nothing_drawn():
    assert not changed(draw_boxes(GREY, found([], [], []), NAMES)).any()


@pytest.mark.parametrize("box", [[0, 0, 600, 480], [590, 470, 600, 480], [-20, -20, 700, 600], [0, 0, 0, 0]])
def test_boxes_at_the_border(box):
    picture = draw_boxes(GREY, found([box], [1], [0.5]), NAMES)
    assert picture.size == (600, 480) and changed(picture).any()


def test_small_images_are_enlarged_with_their_boxes():
    small = torch.full((3, 60, 120), 128, dtype=torch.uint8)
    factor = SCALE_UP_TO / 120
    picture = draw_boxes(small, found([[30, 30, 90, 50]], [1]), NAMES)
    assert picture.size == (SCALE_UP_TO, SCALE_UP_TO / 2)
    rows, columns = np.nonzero((np.asarray(picture) == colour_of(1)).all(axis=-1))
    assert [columns.min(), rows.max(), columns.max()] == [30 * factor, 50 * factor, 90 * factor]


def test_the_image_itself_is_not_drawn_on():
    before = GREY.clone()
    draw_boxes(GREY, found([[100, 150, 300, 350]], [1]), NAMES)
    assert torch.equal(GREY, before)


def test_title_stands_above():
    plain, titled = (draw_boxes(GREY, found([], []), NAMES, title=title) for title in ("", "ground truth"))
    band = titled.height - plain.height
    assert band > 0 and titled.width == plain.width
    np.testing.assert_array_equal(np.asarray(titled)[band:], np.asarray(plain))
    assert (np.asarray(titled)[:band] < 100).any(), "something is written"


def test_side_by_side():
    pictures = [draw_boxes(GREY, found([], []), NAMES), draw_boxes(GREY[:, :300, :500], found([], []), NAMES)]
    row = np.asarray(side_by_side(pictures, gap=10))
    assert row.shape == (480, 600 + 10 + 500, 3)
    assert (row[:, :600] == 128).all() and (row[:, 600:610] == 255).all()
    assert (row[:300, 610:] == 128).all() and (row[300:, 610:] == 255).all()


def columns_and_rows_of(picture, colour) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero((np.asarray(picture) == colour).all(axis=-1))
    return columns.min(), rows.min(), columns.max(), rows.max()


def test_groups_of_boxes_and_their_legend():
    black = torch.zeros(3, 450, 900, dtype=torch.uint8)
    groups = [torch.tensor([[100.0, 50, 200, 150]]), torch.tensor([[300.0, 100, 800, 400], [400, 100, 700, 400]])]
    picture = draw_box_groups(black, groups, ["small ones", "large ones"])
    pixels = np.asarray(picture)
    assert picture.height == 450 + 4 and picture.width > CANVAS + 100, "an image of the canvas's size, and the legend"
    first, second = (tuple(pixels[y + 10, CANVAS + 4 + 30]) for y in (16, 48))
    assert np.abs(np.subtract(first, second, dtype=int)).max() > 100
    drawn = pixels[:, :CANVAS]
    np.testing.assert_allclose(columns_and_rows_of(drawn, first), (102, 52, 202, 152), atol=1)
    np.testing.assert_allclose(columns_and_rows_of(drawn, second), (302, 102, 802, 402), atol=1)
    assert tuple(drawn[252, 402]) == second, "the second box of a group"
    assert tuple(drawn[102, 152]) == first, "a dot at the centre"
    assert 60 < drawn[30, 30].min() == drawn[30, 30].max() < 120, "the image is paler than it was"
    words = pixels[:80, CANVAS + 50 :]
    assert (words[:40] < 100).any() and (words[40:] < 100).any(), "both captions are written"


def test_boxes_that_reach_beyond_the_image_are_seen():
    black = torch.zeros(3, 100, 100, dtype=torch.uint8)
    picture = draw_box_groups(black, [torch.tensor([[-50.0, 20, 150, 80]])], ["wide"])
    factor = CANVAS / 200
    pixels = np.asarray(picture)[:, : CANVAS + 4]
    colour = tuple(np.asarray(picture)[26, CANVAS + 4 + 30])
    assert picture.height == 100 * factor + 4
    assert columns_and_rows_of(pixels, colour) == (2, 2 + 20 * factor, 2 + CANVAS, 2 + 80 * factor)
    assert (pixels[:, : int(40 * factor)] == 255).any(axis=-1).mean() > 0.9, "white where there is no image"
    assert (black == 0).all(), "the image itself is not drawn on"


def test_a_legend_longer_than_the_picture():
    flat = torch.zeros(3, 20, 900, dtype=torch.uint8)
    picture = draw_box_groups(flat, [torch.tensor([[0.0, 0, 10, 10]])] * 9, [f"level {k}" for k in range(9)])
    assert (np.asarray(picture)[-60:, CANVAS + 50 :] < 100).any(), "the last caption is there"
