"""The synthetic set: the same everywhere, boxes tight to the drawing, objects in sight, a written copy that agrees."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from detzoo.data import synthetic
from detzoo.data.coco import CocoDataset
from detzoo.data.synthetic import SHAPES, SyntheticDataset


def _pixels(dataset: SyntheticDataset, index: int) -> np.ndarray:
    return np.asarray(dataset.open_image(index))


def _masks(dataset: SyntheticDataset, index: int, zoom: int) -> np.ndarray:
    """Each object of an image drawn alone and `zoom` times larger, [N, H, W]."""
    height, width = dataset.size
    masks = []
    for outline in synthetic._outlines(dataset._objects[dataset.annotations.rows(index)]):
        mask = Image.new("L", (width * zoom, height * zoom))
        ImageDraw.Draw(mask).polygon(synthetic._flat(outline * zoom), fill=1)
        masks.append(np.asarray(mask) > 0)
    return np.stack(masks)


def test_an_image_depends_on_seed_and_index_alone():
    short, long, other = SyntheticDataset(3, 5), SyntheticDataset(300, 5), SyntheticDataset(3, 6)
    objects = int(short.annotations.offsets[-1])
    for field in ("boxes", "labels"):
        np.testing.assert_array_equal(getattr(short.annotations, field), getattr(long.annotations, field)[:objects])
    np.testing.assert_array_equal(_pixels(short, 2), _pixels(long, 2))
    np.testing.assert_array_equal(_pixels(long, 2), _pixels(long, 2))
    for grounds in (
        [np.median(_pixels(long, index), axis=(0, 1)) for index in range(20)],
        [np.median(_pixels(dataset, 1), axis=(0, 1)) for dataset in (short, other)],
    ):
        assert np.std(grounds, axis=0).max() > 10, "other images have other backgrounds"


def test_annotations_are_of_one_piece():
    dataset = SyntheticDataset(300, max_objects=8)
    found = dataset.annotations
    counts = np.diff(found.offsets)
    assert len(dataset) == 300 and found.image_ids.tolist() == list(range(1, 301))
    assert set(counts) == set(range(1, 9)), "1 to 8 objects, each count occurs"
    assert set(found.labels) == set(range(1, len(SHAPES) + 1))
    assert (found.boxes >= 0).all() and (found.boxes <= 160).all()
    longest = (found.boxes[:, 2:] - found.boxes[:, :2]).max(axis=1)
    assert longest.min() >= 0.08 * 160 * 0.8 - 0.1 and longest.max() <= 0.6 * 160 + 0.1
    assert longest.min() < 16 and longest.max() > 80, "small and large ones"


@pytest.mark.parametrize("size", [(160, 160), (96, 150)])
def test_boxes_are_tight_to_what_is_drawn(size):
    dataset, zoom = SyntheticDataset(40, size=size), 4
    for index in range(len(dataset)):
        for box, mask in zip(dataset.annotations.boxes[dataset.annotations.rows(index)], _masks(dataset, index, zoom)):
            y, x = np.nonzero(mask)
            drawn = np.array([x.min(), y.min(), x.max() + 1, y.max() + 1]) / zoom
            np.testing.assert_allclose(box, drawn, atol=0.5)


def test_most_of_every_object_is_in_sight_and_some_are_partly_hidden():
    dataset, seen = SyntheticDataset(150), []
    for index in range(len(dataset)):
        masks = _masks(dataset, index, 1)
        above = np.cumsum(masks[::-1], axis=0)[::-1] - masks  # how many later objects lie on a pixel
        seen += ((masks & (above == 0)).sum(axis=(1, 2)) / masks.sum(axis=(1, 2))).tolist()
    assert min(seen) >= 0.5
    assert np.mean(np.array(seen) < 0.9) > 0.02


def test_objects_stand_out_from_the_ground():
    """Each object has its own colour inside its mask: nearly uniform there, and unlike the picture around it."""
    dataset = SyntheticDataset(60, max_objects=1)
    for index in range(len(dataset)):
        (mask,), pixels = _masks(dataset, index, 1), _pixels(dataset, index).astype(float)
        inside, outside = np.median(pixels[mask], axis=0), np.median(pixels[~mask], axis=0)
        assert np.linalg.norm(inside - outside) > 60


def test_options_reach_the_pictures():
    dataset = SyntheticDataset(50, size=[90, 120], max_objects=2, smallest=0.3, largest=0.4)
    assert dataset.open_image(7).size == (120, 90) and dataset.open_image(7).mode == "RGB"
    assert dataset.annotations.image_sizes[7].tolist() == [90, 120]
    assert np.diff(dataset.annotations.offsets).max() == 2
    longest = (dataset.annotations.boxes[:, 2:] - dataset.annotations.boxes[:, :2]).max(axis=1)
    assert longest.max() <= 0.4 * 90 + 0.1 and longest.min() >= 0.3 * 90 * 0.6


@pytest.mark.parametrize(
    "options",
    [{"num_images": 0}, {"seed": -1}, {"size": (0, 9)}, {"smallest": 0.7}, {"largest": 1.5}, {"max_objects": 0}],
)
def test_senseless_options_are_refused(options):
    with pytest.raises(ValueError, match="expected counts and sizes from 1"):
        SyntheticDataset(**options)


def test_a_written_copy_has_the_same_boxes_and_pixels(tmp_path):
    dataset = SyntheticDataset(12, 3, size=(64, 80))
    dataset.write(tmp_path / "set")
    copy = CocoDataset(tmp_path / "set" / "images", tmp_path / "set" / "annotations.json", invalid="error")
    assert copy.categories == dataset.categories
    for field in ("image_ids", "image_sizes", "offsets", "boxes", "labels", "areas", "crowd", "difficult"):
        expected = getattr(dataset.annotations, field)
        np.testing.assert_array_equal(getattr(copy.annotations, field), expected, err_msg=field)
    for index in (0, 11):
        np.testing.assert_array_equal(np.asarray(copy.open_image(index)), _pixels(dataset, index))
    assert len(list((tmp_path / "set" / "images").iterdir())) == 12


def test_an_interrupted_write_leaves_no_annotations(tmp_path, monkeypatch):
    dataset = SyntheticDataset(3, size=(64, 64))
    dataset.write(tmp_path)
    draw = dataset.open_image

    def stop_at_the_second(index):
        if index == 1:
            raise KeyboardInterrupt
        return draw(index)

    monkeypatch.setattr(dataset, "open_image", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        dataset.write(tmp_path)
    assert not (tmp_path / "annotations.json").exists(), "nothing describes half of a data set"
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == ["000000.png", "000001.png", "000002.png"]
