"""What every metric in the table must do, whatever it measures."""

import math
import subprocess
import sys

import numpy as np
import pytest

from detzoo.metrics import METRICS

BOX = [10.0, 10.0, 50.0, 50.0]
FAR = [60.0, 60.0, 90.0, 90.0]
MAIN = {"coco": "AP", "voc": "mAP"}


@pytest.fixture(params=METRICS)
def name(request):
    return request.param


def one_cat(truth):
    return truth([{"boxes": [BOX], "labels": [1]}, {"boxes": [BOX], "labels": [1]}])


def test_perfect_detections_score_one(name, truth, found):
    metric = METRICS[name](one_cat(truth))
    metric.update([10, 20], [found([BOX], [1], [0.9]), found([BOX], [1], [0.8])])
    assert metric.compute()[MAIN[name]] == pytest.approx(1)
    assert metric.per_class()["cat"] == pytest.approx(1)


def test_class_without_ground_truth_is_nan_and_stays_out_of_the_mean(name, truth, found):
    metric = METRICS[name](one_cat(truth))
    metric.update([10, 20], [found([BOX, FAR], [1, 2], [0.9, 0.95]), found([BOX], [1], [0.8])])
    assert metric.compute()[MAIN[name]] == pytest.approx(1)
    assert math.isnan(metric.per_class()["dog"])


def test_no_detection_anywhere_is_zero(name, truth, found):
    metric = METRICS[name](one_cat(truth))
    metric.update([10, 20], [found([], [], []), found([], [], [])])
    assert metric.compute()[MAIN[name]] == 0
    assert metric.per_class()["cat"] == 0


def test_no_ground_truth_anywhere_is_nan(name, truth, found):
    metric = METRICS[name](truth([{"boxes": [], "labels": []}]))
    metric.update([10], [found([BOX], [1], [0.9])])
    assert math.isnan(metric.compute()[MAIN[name]])


def test_only_updated_images_count(name, truth, found):
    metric = METRICS[name](one_cat(truth))
    metric.update([20], [found([BOX], [1], [0.9])])
    assert metric.compute()[MAIN[name]] == pytest.approx(1)
    metric.update([10], [found([], [], [])])
    assert metric.compute()[MAIN[name]] < 0.6


def test_an_image_that_two_ranks_saw_counts_once(name, truth, found):
    """A second copy of the right box would be a false positive: AP 1 only if the repeat was folded."""
    annotations = truth([{"boxes": [BOX], "labels": [1]}, {"boxes": [BOX, FAR], "labels": [1, 1]}])
    first, second = METRICS[name](annotations), METRICS[name](annotations)
    repeat = found([BOX, FAR], [1, 1], [0.9, 0.3])
    first.update([10, 20], [found([BOX], [1], [0.8]), repeat])
    second.update([20], [repeat])
    first.compute()
    first.merge(second.results)
    assert len(first.results) == 2
    assert first.compute()[MAIN[name]] == pytest.approx(1)


def test_ranks_in_any_order_give_the_same_numbers(name, random_truth):
    annotations, detections = random_truth(np.random.default_rng(3))
    ids = annotations.image_ids.tolist()
    whole, parts = METRICS[name](annotations), METRICS[name](annotations)
    whole.update(ids, detections)
    for start in (2, 1, 0):
        rank = METRICS[name](annotations)
        rank.update(ids[start::3], detections[start::3])
        parts.merge(rank.results)
    assert parts.compute() == pytest.approx(whole.compute(), abs=0, nan_ok=True)


def test_background_label_is_dropped(name, truth, found):
    metric = METRICS[name](one_cat(truth))
    metric.update([10], [found([FAR, BOX], [0, 1], [0.99, 0.5])])
    assert metric.compute()[MAIN[name]] == pytest.approx(1)
    assert len(metric.results[10].labels) == 1


def test_reset_forgets(name, truth, found):
    metric = METRICS[name](one_cat(truth))
    metric.update([10], [found([BOX], [1], [0.9])])
    assert metric.compute()[MAIN[name]] == pytest.approx(1)
    metric.reset()
    with pytest.raises(ValueError, match="call update"):
        metric.compute()


def test_nothing_measured_is_an_error(name, truth):
    with pytest.raises(ValueError, match="no detections to measure"):
        METRICS[name](one_cat(truth)).compute()


@pytest.mark.parametrize(
    ("image_ids", "boxes", "labels", "scores", "message"),
    [
        ([30], [BOX], [1], [0.9], "image id 30 is not among the 2"),
        ([10], [BOX], [3], [0.9], r"image 10: labels \[3\] are not in 0..2"),
        ([10], [BOX], [-1], [0.9], r"image 10: labels \[-1\]"),
        ([10], [BOX], [1], [math.nan], "image 10: .*nan"),
        ([10], [[0, 0, math.inf, 1]], [1], [0.5], "image 10: .*infinite"),
        ([10], [BOX, FAR], [1], [0.5], r"image 10: boxes \(2, 4\), labels \(1,\)"),
        ([10, 20], [BOX], [1], [0.5], "got 2 image ids and 1 detections"),
    ],
)
def test_bad_input_names_the_image(name, truth, found, image_ids, boxes, labels, scores, message):
    metric = METRICS[name](one_cat(truth))
    with pytest.raises(ValueError, match=message):
        metric.update(image_ids, [found(boxes, labels, scores)])
    assert metric.results == {}


def test_merge_refuses_results_of_another_data_set(name, truth, found):
    metric = METRICS[name](one_cat(truth))
    other = METRICS[name](truth([{"boxes": [BOX], "labels": [1]}] + [{"boxes": [], "labels": []} for _ in range(3)]))
    other.update([40], [found([BOX], [1], [0.9])])
    with pytest.raises(ValueError, match="image id 40"):
        metric.merge(other.results)


def test_the_table_loads_no_heavy_package():
    code = (
        "import sys, detzoo.metrics; "
        "print([m for m in ('pycocotools', 'faster_coco_eval', 'matplotlib', 'hydra') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
