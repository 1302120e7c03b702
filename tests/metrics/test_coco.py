import importlib.util
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from detzoo.annotations import Annotations, ImageAnnotations
from detzoo.categories import UNUSED, Categories
from detzoo.metrics import CocoMetric

GOLDEN = Path(__file__).parents[1] / "golden" / "coco-metric"
PUBLISHED = {
    "AP": 0.503647, "AP50": 0.696973, "AP75": 0.571667,
    "AP_small": 0.593252, "AP_medium": 0.557991, "AP_large": 0.489363,
    "AR1": 0.386813, "AR10": 0.593680, "AR100": 0.595353,
    "AR_small": 0.654764, "AR_medium": 0.603130, "AR_large": 0.553744,
}  # fmt: skip
BACKENDS = ("faster", "pycocotools")
BOX = [10.0, 10.0, 50.0, 50.0]


@pytest.fixture(scope="module")
def golden():
    """The golden files as annotations, image ids and detections; double boxes, as some overlaps lie on a threshold."""
    truth = json.loads((GOLDEN / "ground_truth.json").read_text())
    results = json.loads((GOLDEN / "detections.json").read_text())
    names, ids = zip(*((category["name"], category["id"]) for category in truth["categories"]))
    images, detections = [], []
    for image in truth["images"]:
        objects = columns([row for row in truth["annotations"] if row["image_id"] == image["id"]], ids)
        areas = [row["area"] for row in truth["annotations"] if row["image_id"] == image["id"]]
        images.append(ImageAnnotations(image["id"], (image["height"], image["width"]), *objects, np.array(areas)))
        rows = [row for row in results if row["image_id"] == image["id"]]
        boxes, labels = (torch.from_numpy(column) for column in columns(rows, ids))
        scores = torch.tensor([row["score"] for row in rows], dtype=torch.float64)
        detections.append({"boxes": boxes, "labels": labels, "scores": scores})
    return Annotations.pack(Categories(names, ids), images), [image["id"] for image in truth["images"]], detections


def columns(rows, ids):
    boxes = np.array([row["bbox"] for row in rows], np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return boxes, np.array([ids.index(row["category_id"]) + 1 for row in rows], np.int64)


@pytest.mark.parametrize("backend", BACKENDS)
def test_golden(golden, backend):
    annotations, image_ids, detections = golden
    metric = CocoMetric(annotations, backend)
    metric.update(image_ids, detections)
    assert metric.compute() == pytest.approx(PUBLISHED, abs=1e-6)
    per_class = metric.per_class()
    assert len(per_class) == 80
    assert np.nanmean(list(per_class.values())) == pytest.approx(PUBLISHED["AP"], abs=1e-6)


def test_rows_are_the_result_file(golden):
    annotations, image_ids, detections = golden
    metric = CocoMetric(annotations)
    metric.update(image_ids, detections)
    expected = json.loads((GOLDEN / "detections.json").read_text())
    place = {image_id: number for number, image_id in enumerate(image_ids)}
    expected.sort(key=lambda row: place[row["image_id"]])  # stable: within an image the file's own order
    rows = metric.rows()
    assert [(row["image_id"], row["category_id"], row["score"]) for row in rows] == [
        (row["image_id"], row["category_id"], row["score"]) for row in expected
    ]
    np.testing.assert_allclose([row["bbox"] for row in rows], [row["bbox"] for row in expected], atol=1e-9)
    json.dumps(rows)


@pytest.mark.parametrize("seed", range(3))
def test_backends_agree(random_truth, seed):
    """Random boxes with ties, crowds, empty images, more than 100 detections and ids out of order."""
    annotations, detections = random_truth(np.random.default_rng(seed))
    ours, oracle = CocoMetric(annotations, "faster"), CocoMetric(annotations, "pycocotools")
    for metric in (ours, oracle):
        metric.update(annotations.image_ids.tolist(), detections)
    assert ours.compute() == pytest.approx(oracle.compute(), abs=1e-12, nan_ok=True)
    assert ours.per_class() == pytest.approx(oracle.per_class(), abs=1e-12, nan_ok=True)
    assert 0 < ours.compute()["AP"] < 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_class_ids_out_of_order_keep_their_names(truth, found, backend):
    annotations = truth([{"boxes": [BOX], "labels": [1]}, {"boxes": [BOX], "labels": [2]}], ids=(9, 2))
    metric = CocoMetric(annotations, backend)
    metric.update([10, 20], [found([BOX], [1], [0.9]), found([], [], [])])
    assert metric.per_class() == pytest.approx({"cat": 1, "dog": 0})


@pytest.mark.parametrize("backend", BACKENDS)
def test_duplicates_are_false_positives(truth, found, backend):
    """Two objects; the second copy of the first ranks above the other object: precision 1 up to recall .5, then 2/3."""
    far = [60.0, 60.0, 90.0, 90.0]
    metric = CocoMetric(truth([{"boxes": [BOX, far], "labels": [1, 1]}]), backend)
    metric.update([10], [found([BOX, BOX, far], [1, 1, 1], [0.9, 0.8, 0.7])])
    assert metric.compute()["AP"] == pytest.approx((51 + 50 * 2 / 3) / 101)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("crowd", [False, True])
def test_detections_inside_a_crowd_cost_nothing(truth, found, backend, crowd):
    """Inside a crowd the overlap is over the detection's own area, and many may lie there; elsewhere they are wrong."""
    boxes, labels = [BOX, [60, 0, 100, 100]], [1, 1]
    metric = CocoMetric(truth([{"boxes": boxes, "labels": labels, "crowd": np.array([False, crowd])}]), backend)
    inside = [[62.0, 0.0, 72.0, 10.0], [62.0, 20.0, 72.0, 30.0]]
    metric.update([10], [found([*inside, BOX], [1, 1, 1], [0.9, 0.8, 0.7])])
    expected = 1 if crowd else 51 / 101 / 3
    assert metric.compute()["AP"] == pytest.approx(expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_size_comes_from_the_area_and_a_missing_size_is_nan(truth, found, backend):
    metric = CocoMetric(truth([{"boxes": [BOX], "labels": [1], "areas": np.array([900.0])}]), backend)
    metric.update([10], [found([BOX], [1], [0.9])])
    numbers = metric.compute()
    assert numbers["AP_small"] == pytest.approx(1)  # 1600 by its box, 900 by its mask
    assert math.isnan(numbers["AP_medium"]) and math.isnan(numbers["AR_large"])


@pytest.mark.parametrize("backend", BACKENDS)
def test_slots_that_are_never_used_do_not_count(truth, found, backend):
    annotations = truth([{"boxes": [BOX], "labels": [2]}], names=(UNUSED, "cat", UNUSED))
    metric = CocoMetric(annotations, backend)
    metric.update([10], [found([BOX, BOX], [1, 2], [0.9, 0.8])])
    assert metric.compute()["AP"] == pytest.approx(1)
    assert metric.per_class() == pytest.approx({"cat": 1})


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_is_printed(truth, found, backend, capfd):
    metric = CocoMetric(truth([{"boxes": [BOX], "labels": [1]}]), backend)
    metric.update([10], [found([BOX], [1], [0.9])])
    metric.compute()
    assert capfd.readouterr() == ("", "")


def test_without_faster_coco_eval(truth, found, monkeypatch, caplog):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        "detzoo.metrics.coco.find_spec", lambda name: None if name == "faster_coco_eval" else find_spec(name)
    )
    annotations = truth([{"boxes": [BOX], "labels": [1]}])
    with caplog.at_level("INFO", logger="detzoo"):
        metric = CocoMetric(annotations)
    assert metric.backend == "pycocotools" and "pycocotools" in caplog.text
    metric.update([10], [found([BOX], [1], [0.9])])
    assert metric.compute()["AP"] == pytest.approx(1)
    with pytest.raises(ImportError, match="pip install faster-coco-eval"):
        CocoMetric(annotations, "faster")


def test_auto_prefers_the_compiled_one(truth):
    assert CocoMetric(truth([{"boxes": [BOX], "labels": [1]}])).backend == "faster"


def test_unknown_backend(truth):
    with pytest.raises(ValueError, match="'slow'.*expected auto, faster or pycocotools"):
        CocoMetric(truth([{"boxes": [BOX], "labels": [1]}]), "slow")
