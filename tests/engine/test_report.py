"""The end of a run: numbers and pictures of the best checkpoint, on all ranks the same one."""

import json

import pytest
import torch
from PIL import Image

from detzoo import distributed
from detzoo.data import SyntheticDataset, evaluation_loader
from detzoo.engine.report import draw_pictures, finish, metric_report
from detzoo.engine.run import Run
from detzoo.metrics import VocMetric
from detzoo.models import build_ssd
from detzoo.models.checkpoint import model_record, save_checkpoint

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def shapes():
    return SyntheticDataset(5, size=(60, 80))


@pytest.fixture
def model(small_config, shapes):
    torch.manual_seed(0)
    return build_ssd(small_config, categories=shapes.categories).eval()


@pytest.fixture
def end(shapes, tmp_path):
    """Finish a run in `tmp_path`; the metric that measured it."""

    def end() -> VocMetric:
        metric = VocMetric(shapes.annotations)
        run = Run(torch.device("cpu"), tmp_path)
        finish(run, metric, evaluation_loader(shapes), pictures=2, score_threshold=0.3)
        return metric

    return end


def test_finish_measures_the_best_checkpoint(end, model, small_config, tmp_path):
    save_checkpoint(tmp_path / "best.pt", {**model_record(model, small_config), "epoch": 7})
    metric = end()
    report = json.loads((tmp_path / "metrics.json").read_text())
    assert report["epoch"] == 7 and report["checkpoint"] == "best.pt" and report["images"] == 5
    assert report["metrics"] == {name: round(value, 6) for name, value in metric.compute().items()}
    assert set(report["losses"]) == {"val_loss", "val_bbox_regression", "val_classification"}
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == ["000000.jpg", "000004.jpg"]


def test_nothing_to_measure_yet(end, tmp_path):
    assert end().results == {}
    assert list(tmp_path.iterdir()) == []


def test_other_ranks_wait_for_the_best_checkpoint_and_write_nothing(end, model, small_config, tmp_path, monkeypatch):
    """Rank 0 writes it while the others are here already; who does not wait takes an older one, or none."""
    record = {**model_record(model, small_config), "epoch": 1}
    monkeypatch.setattr(distributed, "is_main", lambda: False)
    monkeypatch.setattr(distributed, "barrier", lambda: save_checkpoint(tmp_path / "best.pt", record))
    monkeypatch.setattr(distributed, "from_main", lambda nothing: {"AP": 0.5})
    assert len(end().results) == 5
    assert [path.name for path in tmp_path.iterdir()] == ["best.pt"]


def test_a_number_that_is_none_is_null(shapes):
    metric = VocMetric(shapes.annotations)
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64), "scores": torch.zeros(0)}
    metric.update([1], [nothing])
    report = metric_report(metric, {**metric.compute(), "val_loss": float("inf")}, {"source": "x"})
    assert report["losses"] == {"val_loss": None}
    assert None in report["per_class"].values() and report["source"] == "x"
    json.dumps(report, allow_nan=False)


def test_pictures_are_spread_over_the_data_set(model, shapes, tmp_path):
    paths = draw_pictures(model, shapes, tmp_path / "few", count=3, score_threshold=0.3)
    assert [path.name for path in paths] == ["000000.jpg", "000002.jpg", "000004.jpg"]
    assert len(draw_pictures(model, shapes, tmp_path / "all", count=99, score_threshold=0.3)) == 5
    assert draw_pictures(model, shapes, tmp_path / "none", count=0, score_threshold=0.3) == []
    with Image.open(paths[0]) as picture:
        assert picture.width == 2 * 480 + 6, "ground truth beside detections"
