import math
from pathlib import Path

import numpy as np
import pytest
import torch

from detzoo.annotations import Annotations, ImageAnnotations
from detzoo.categories import Categories
from detzoo.metrics import VocMetric

GOLDEN = Path(__file__).parents[1] / "golden" / "voc-metric"
BOX, FAR, OFF = [10.0, 10.0, 50.0, 50.0], [60.0, 60.0, 90.0, 90.0], [0.0, 80.0, 9.0, 90.0]


def read(path):
    """Lines of class, score if there is one, x, y, width, height -> boxes xyxy [N, 4] and scores [N]."""
    rows = np.array([line.split()[1:] for line in path.read_text().splitlines()], np.float64)
    boxes = rows[:, -4:]
    boxes[:, 2:] += boxes[:, :2]
    return boxes, rows[:, 0]


@pytest.mark.parametrize(
    ("iou_threshold", "area", "eleven"),
    [
        (0.1, 0.3371980676, 0.3333333333),
        (0.3, 0.2456866804, 0.2683982683),
        (0.5, 0.0222222222, 0.0303030303),
        (0.75, 0.0, 0.0),
    ],
)
def test_golden(iou_threshold, area, eleven):
    files = sorted((GOLDEN / "gts").iterdir())
    images = [(read(file)[0], read(GOLDEN / "dets" / file.name)) for file in files]
    packed = [
        ImageAnnotations(number, (200, 200), boxes, np.ones(len(boxes))) for number, (boxes, _) in enumerate(images)
    ]
    metric = VocMetric(Annotations.pack(Categories(("object",)), packed), iou_threshold, inclusive_pixels=True)
    for number, (_, (boxes, scores)) in enumerate(images):
        labels = torch.ones(len(boxes), dtype=torch.int64)
        found = {"boxes": torch.from_numpy(boxes), "labels": labels, "scores": torch.from_numpy(scores)}
        metric.update([number], [found])
    assert metric.compute() == pytest.approx({"mAP": area, "mAP_11": eleven}, abs=1e-10)
    assert metric.per_class("11-point") == pytest.approx({"object": eleven}, abs=1e-10)
    assert sum(len(boxes) for boxes, _ in images) == 15 and sum(len(scores) for _, (_, scores) in images) == 24


@pytest.mark.parametrize("inclusive", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_against_the_devkit_written_out(random_truth, seed, inclusive):
    annotations, detections = random_truth(np.random.default_rng(seed))
    metric = VocMetric(annotations, inclusive_pixels=inclusive)
    metric.update(annotations.image_ids.tolist(), detections)
    for name, ap in metric.per_class().items():
        label = annotations.categories.names.index(name) + 1
        assert ap == pytest.approx(devkit_ap(annotations, detections, label, float(inclusive)), nan_ok=True)
    assert 0 < metric.compute()["mAP"] < 1


def devkit_ap(annotations, detections, label, extra):
    """VOCevaldet.m and VOCap.m, loop by loop."""
    rows = [
        (score, image, box)
        for image, found in enumerate(detections)
        for box, one, score in zip(found["boxes"].tolist(), found["labels"].tolist(), found["scores"].tolist())
        if one == label
    ]
    rows.sort(key=lambda row: -row[0])
    ignored = annotations.difficult | annotations.crowd
    wanted = int(((annotations.labels == label) & ~ignored).sum())
    if not wanted:
        return math.nan
    taken, right, wrong, curve = set(), 0, 0, []
    for _, image, box in rows:
        best, overlap = None, -math.inf
        for row in range(annotations.offsets[image], annotations.offsets[image + 1]):
            value = iou(box, annotations.boxes[row], extra)
            if annotations.labels[row] == label and value > overlap:
                best, overlap = row, value
        if overlap >= 0.5 and ignored[best]:
            continue
        if overlap >= 0.5 and best not in taken:
            taken.add(best)
            right += 1
        else:
            wrong += 1
        curve.append((right / wanted, right / (right + wrong)))
    steps = sorted({recall for recall, _ in curve} - {0.0})
    return sum(
        (recall - before) * max(precision for reached, precision in curve if reached >= recall)
        for before, recall in zip([0.0, *steps], steps)
    )


def iou(a, b, extra):
    width = min(a[2], b[2]) - max(a[0], b[0]) + extra
    height = min(a[3], b[3]) - max(a[1], b[1]) + extra
    if width <= 0 or height <= 0:
        return -math.inf
    areas = [(box[2] - box[0] + extra) * (box[3] - box[1] + extra) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


def test_curve_by_hand(truth, found):
    """Right, wrong, right of two objects: precision 1 up to recall 1/2, then 2/3; at 1 are six of the eleven points."""
    metric = VocMetric(truth([{"boxes": [BOX, FAR], "labels": [1, 1]}]))
    metric.update([10], [found([BOX, OFF, FAR], [1, 1, 1], [0.9, 0.8, 0.7])])
    assert metric.compute() == pytest.approx({"mAP": 1 / 2 + 1 / 3, "mAP_11": (6 + 5 * 2 / 3) / 11})


def test_second_claim_is_a_false_positive(truth, found):
    metric = VocMetric(truth([{"boxes": [BOX, FAR], "labels": [1, 1]}]))
    metric.update([10], [found([BOX, BOX, FAR], [1, 1, 1], [0.9, 0.8, 0.7])])
    assert metric.compute()["mAP"] == pytest.approx(1 / 2 + 1 / 3)


def test_a_detection_claims_only_the_object_it_overlaps_most(truth, found):
    """The second detection overlaps a free object by more than half, but the taken one by more: the kit says wrong."""
    taken, free = [0, 0, 100, 100], [0, 0, 100, 70]
    metric = VocMetric(truth([{"boxes": [taken, free], "labels": [1, 1]}]))
    metric.update([10], [found([taken, [0, 0, 100, 95]], [1, 1], [0.9, 0.8])])
    assert metric.compute()["mAP"] == pytest.approx(1 / 2)


@pytest.mark.parametrize("flag", ["difficult", "crowd"])
def test_difficult_objects_are_neither_wanted_nor_wrong(truth, found, flag):
    metric = VocMetric(truth([{"boxes": [BOX, FAR], "labels": [1, 1], flag: np.array([False, True])}]))
    metric.update([10], [found([FAR, FAR, BOX], [1, 1, 1], [0.9, 0.8, 0.7])])
    assert metric.compute() == pytest.approx({"mAP": 1, "mAP_11": 1})


def test_a_class_with_difficult_objects_only_is_nan(truth, found):
    metric = VocMetric(truth([{"boxes": [BOX, FAR], "labels": [1, 2], "difficult": np.array([False, True])}]))
    metric.update([10], [found([BOX, FAR], [1, 2], [0.9, 0.8])])
    assert math.isnan(metric.per_class()["dog"])
    assert metric.compute()["mAP"] == pytest.approx(1)


def test_an_object_of_another_image_or_class_is_no_hit(truth, found):
    metric = VocMetric(truth([{"boxes": [BOX], "labels": [1]}, {"boxes": [FAR], "labels": [2]}]))
    metric.update([10, 20], [found([FAR], [2], [0.9]), found([BOX, FAR], [1, 1], [0.9, 0.8])])
    assert metric.per_class() == {"cat": 0, "dog": 0}


def test_equal_scores_keep_their_order(truth, found):
    metric = VocMetric(truth([{"boxes": [BOX], "labels": [1]}]))
    metric.update([10], [found([OFF] * 20 + [BOX], [1] * 21, [0.5] * 21)])
    assert metric.compute()["mAP"] == pytest.approx(1 / 21)


@pytest.mark.parametrize(("right", "points"), [(2, 3), (3, 3), (4, 5)])
def test_eleven_points_round_as_the_ports_of_the_kit_do(truth, found, right, points):
    """Of 10 objects, 2 found reach the points 0, 0.1, 0.2; the third does not reach 3 * 0.1 = 0.30000000000000004."""
    boxes = [[10.0 * k, 0.0, 10.0 * k + 9, 9.0] for k in range(10)]
    metric = VocMetric(truth([{"boxes": boxes, "labels": [1] * 10}]))
    metric.update([10], [found(boxes[:right], [1] * right, [0.9] * right)])
    assert metric.compute() == pytest.approx({"mAP": right / 10, "mAP_11": points / 11})


def test_inclusive_pixels_widen_every_box_by_one(truth, found):
    """10 x 10 against 10 x 5 pixels when both corners count: exactly half; 9 x 9 against 9 x 4 otherwise: below."""
    annotations = truth([{"boxes": [[1, 1, 10, 10]], "labels": [1]}])
    for inclusive, expected in ((True, 1), (False, 0)):
        metric = VocMetric(annotations, 0.5, inclusive_pixels=inclusive)
        metric.update([10], [found([[1, 1, 10, 5]], [1], [0.9])])
        assert metric.compute()["mAP"] == expected


def test_a_box_without_area_is_a_false_positive(truth, found):
    metric = VocMetric(truth([{"boxes": [[10, 10, 10, 10], BOX], "labels": [1, 1]}]))
    metric.update([10], [found([[10, 10, 10, 10], BOX], [1, 1], [0.9, 0.8])])
    assert metric.compute()["mAP"] == pytest.approx(1 / 4)


@pytest.mark.parametrize("threshold", [0, -0.1, 1.5, 50])
def test_threshold_out_of_range(truth, threshold):
    with pytest.raises(ValueError, match=r"expected a number above 0 and up to 1"):
        VocMetric(truth([{"boxes": [BOX], "labels": [1]}]), threshold)


def test_unknown_interpolation(truth):
    with pytest.raises(ValueError, match="'11point'.*'11-point', 'area'"):
        VocMetric(truth([{"boxes": [BOX], "labels": [1]}])).per_class("11point")
