"""The table of parts: its rows are real parts, it trains, measures and times them, and goes on where it was stopped."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from detzoo.components import POSTPROCESSES
from detzoo.lookup import build_part
from detzoo.models import build_ssd
from detzoo.models.config import read_config

REFERENCES = Path(__file__).parents[1] / "references"
TINY = (
    "model=tiny_ssd", "dataset.train.num_images=4", "dataset.val.num_images=2", "dataset.train.size=[64,64]",
    "dataset.val.size=[64,64]", "loader.batch_size=2", "epochs=1", "schedule.warmup_steps=0", "pictures=0",
    "device=cpu",
)  # fmt: skip


@pytest.fixture
def ablation(monkeypatch, one_thread, runs_leave_no_trace):
    monkeypatch.syspath_prepend(str(REFERENCES))
    import ablation

    return ablation


def test_every_row_is_a_detector_of_its_own(ablation):
    described = set()
    for name, overrides in ablation.VARIANTS.items():
        config = ablation.composed(["experiment=bccd_ssdlite320", "dataset.root=nowhere", *overrides])
        model = build_ssd(replace(read_config(config.model), num_classes=3))
        described.add(repr((model.matcher, model.loss, model.neck, model.default_boxes.shapes)))
        assert (name == ablation.PLAIN) is (not overrides)
    assert len(described) == len(ablation.VARIANTS)


def test_every_suppression_is_one(ablation):
    config = ablation.composed(["model=tiny_ssd"])
    built = [
        repr(build_part(POSTPROCESSES, ablation.suppression(config, name), "postprocess"))
        for name in ablation.SUPPRESSIONS
    ]
    assert len(set(built)) == len(built)


def test_rows_of_suppression_keep_the_limits_and_nothing_else_of_the_recipe(ablation):
    config = ablation.composed(["experiment=bccd_ssdlite320", "dataset.root=nowhere", "+model.postprocess.sigma=0.4"])
    assert ablation.suppression(config, "NMS") == {
        "name": "nms", "score_threshold": 0.001, "iou_threshold": 0.55, "top_k": 300, "detections_per_image": 300
    }  # fmt: skip
    assert ablation.suppression(config, "soft NMS, the paper's threshold")["iou_threshold"] is None


def test_a_running_mean_is_refused_before_anything_is_trained(ablation, tmp_path):
    with pytest.raises(ValueError, match="ema.decay"):
        ablation.main([*TINY, "ema.decay=0.9", "--folder", str(tmp_path / "parts")])
    assert list(tmp_path.iterdir()) == []


def test_means_over_seeds_and_distance_to_the_first(ablation):
    rows = [
        ablation.Row("plain", (), [0.40, 0.42], [0.6, 0.7], 0.5),
        ablation.Row("other", ("a=b",), [0.45, 0.39], [0.6, 0.6], None),
    ]
    assert ablation.table(rows).splitlines()[2:] == [
        "| plain | 0.410 | 0.650 | +0.0 | 0.50 s |",
        "| other | 0.420 | 0.600 | +1.0 |  |",
    ]


@pytest.mark.slow
def test_a_table_from_nothing_and_the_same_again_without_training(ablation, tmp_path, capsys):
    command = [
        *TINY,
        "--folder",
        str(tmp_path / "parts"),
        "--variants",
        "plain",
        "focal",
        "--rounds",
        "1",
        "--jobs",
        "2",
    ]
    ablation.main(command)
    lines = capsys.readouterr().out.splitlines()
    rows = [line for line in lines if line.startswith("| ")]
    names = [row.split("|")[1].strip() for row in rows[1:]]
    assert names == ["plain", "focal", *ablation.SUPPRESSIONS]
    assert rows[1].endswith(" s |") and rows[-1].endswith("|  |")
    card = json.loads((tmp_path / "parts" / "ablation.json").read_text())
    assert [row["name"] for row in card["rows"]] == names and card["seeds"] == [0]

    written = (tmp_path / "parts" / "focal-0" / "log.csv").read_text()
    ablation.main([*command, "--rounds", "0"])
    assert (tmp_path / "parts" / "focal-0" / "log.csv").read_text() == written, "nothing is trained again"
    again = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert [row.split("|")[1:5] for row in again[1:]] == [row.split("|")[1:5] for row in rows[1:]]
    with pytest.raises(RuntimeError, match="trainings failed"):  # of something else under the same name
        ablation.main([*command, "optimizer.lr=0.001", "--rounds", "0"])
    assert "optimizer.lr was" in (tmp_path / "parts" / "plain-0.log").read_text()


@pytest.mark.slow
def test_a_training_that_fails_is_named(ablation, tmp_path):
    with pytest.raises(RuntimeError, match="trainings failed, see .*plain-0.log"):
        ablation.main([*TINY, "epochs=-1", "--folder", str(tmp_path), "--variants", "plain"])
    assert "epochs" in (tmp_path / "plain-0.log").read_text()
