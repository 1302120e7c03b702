"""The end of a run: numbers and pictures of the best checkpoint, on all ranks the same one."""

import json

import pytest
import torch
from PIL import Image

from detzoo import distributed
from detzoo.data import SyntheticDataset, evaluation_loader
from detzoo.engine.checkpoint import Progress
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
def progress(small_config, shapes):
    torch.manual_seed(0)
    model = build_ssd(small_config, categories=shapes.categories)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    return Progress(model, small_config, optimizer, schedule, score="AP")


@pytest.fixture
def model(progress):
    return progress.model.eval()


@pytest.fixture
def end(shapes, progress, tmp_path):
    """Finish a run in `tmp_path`; the metric that measured it."""

    def end(**options) -> VocMetric:
        metric = VocMetric(shapes.annotations)
        run = Run(torch.device("cpu"), tmp_path, **options)
        finish(run, progress, metric, evaluation_loader(shapes), pictures=2, score_threshold=0.3)
        return metric

    return end


def best_of(progress: Progress, epoch: int) -> dict:
    return {**model_record(progress.model, progress.config), "epoch": epoch}


def test_finish_measures_the_best_checkpoint(end, progress, tmp_path):
    save_checkpoint(tmp_path / "best.pt", best_of(progress, 7))
    with torch.no_grad():
        for parameter in progress.model.parameters():  # what training went on to make of it
            parameter.zero_()
    metric = end()
    report = json.loads((tmp_path / "metrics.json").read_text())
    assert report["epoch"] == 7 and report["checkpoint"] == "best.pt" and report["images"] == 5
    assert report["metrics"] == {name: round(value, 6) for name, value in metric.compute().items()}
    assert set(report["losses"]) == {"val_loss", "val_bbox_regression", "val_classification"}
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == ["000000.jpg", "000004.jpg"]
    assert sum(len(found.scores) for found in metric.results.values()) > 0


def test_no_code_comes_from_the_folder(end, progress, tmp_path):
    """The model is built from the config of this run, whatever the file says of parts."""
    record = best_of(progress, 1)
    record["config"]["loss"] = "os.system"
    save_checkpoint(tmp_path / "best.pt", record)
    assert len(end().results) == 5


def test_nothing_to_measure_yet(end, tmp_path):
    assert end().results == {}
    assert list(tmp_path.iterdir()) == []


def test_other_ranks_are_told_what_rank_0_reads_and_write_nothing(end, progress, tmp_path, monkeypatch):
    """A rank on another machine may see no file at all."""
    told = iter([best_of(progress, 1), {"AP": 0.5}])
    monkeypatch.setattr(distributed, "is_main", lambda: False)
    monkeypatch.setattr(distributed, "from_main", lambda nothing: next(told))
    assert len(end().results) == 5
    assert list(tmp_path.iterdir()) == []


def test_a_number_that_is_none_is_null(shapes):
    metric = VocMetric(shapes.annotations)
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64), "scores": torch.zeros(0)}
    metric.update([1], [nothing])
    numbers = {**metric.compute(), "val_loss": float("inf")}
    report = metric_report(metric, numbers, {"source": "x"}, torch.device("cpu"))
    assert report["losses"] == {"val_loss": None}
    assert None in report["per_class"].values() and report["source"] == "x"
    assert report["machine"]["accelerator"] == "none"
    json.dumps(report, allow_nan=False)


def test_pictures_are_spread_over_the_data_set(model, shapes, tmp_path):
    paths = draw_pictures(model, shapes, tmp_path / "few", count=3, score_threshold=0.3)
    assert [path.name for path in paths] == ["000000.jpg", "000002.jpg", "000004.jpg"]
    assert len(draw_pictures(model, shapes, tmp_path / "all", count=99, score_threshold=0.3)) == 5
    assert draw_pictures(model, shapes, tmp_path / "none", count=0, score_threshold=0.3) == []
    with Image.open(paths[0]) as picture:
        assert picture.width == 2 * 480 + 6, "ground truth beside detections"
