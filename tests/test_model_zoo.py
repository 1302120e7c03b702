"""Cards and MODEL_ZOO.md, which is made of them: it is what they say, bad ones are refused, none tells of a machine."""

import dataclasses
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
import yaml
from defusedxml.ElementTree import fromstring

import detzoo
from detzoo.deploy.check import STRAY
from detzoo.engine import made as made_module
from detzoo.engine.card_kinds import (
    KINDS,
    Ablation,
    CostRow,
    Costs,
    Data,
    Export,
    ExportRow,
    Measured,
    Origins,
    Parity,
    Speed,
    SpeedRow,
    Trained,
)
from detzoo.engine.cards import read_card, read_cards, write_card
from detzoo.engine.config import EvaluateConfig
from detzoo.engine.made import commit, made_here, portable
from detzoo.models import MODELS
from detzoo.models.checkpoint import model_record, save_checkpoint
from detzoo.models.weights import Weights

ROOT = Path(__file__).parents[1]
CARDS = ROOT / "references" / "cards"
CPU = torch.device("cpu")
MADE = made_here(CPU)
GPU = dataclasses.replace(MADE, machine=dataclasses.replace(MADE.machine, gpu="Some GPU"))


@pytest.fixture(scope="module")
def zoo():
    """The script, with the folder beside it importable as it is when people start it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "references"))
        import make_model_zoo

        yield make_model_zoo


@pytest.fixture(scope="module")
def cards():
    return read_cards(CARDS)


@pytest.fixture(scope="module")
def files(zoo, cards):
    return zoo.made(cards)


def speed(*rows: SpeedRow, subject="inference", made=MADE) -> Speed:
    return Speed(subject=subject, clock="from bytes to boxes", rows=rows, made=made)


def row(model="ssd300_vgg16", backend="eager", precision="float32", batch=1, ms=100.0) -> SpeedRow:
    return SpeedRow(
        model=model, backend=backend, precision=precision, batch=batch, threads=2, ms_per_image=ms, ratio=1.5,
        candidates_per_image=500, baseline="torchvision float32", same=0.999,
    )  # fmt: skip


# ---- the committed files ----


@pytest.mark.parametrize("name", ["MODEL_ZOO.md", "references/model_zoo.svg"])
def test_committed_files_are_what_the_cards_say(files, name):
    told = "run python references/make_model_zoo.py"
    assert (ROOT / name).read_text(encoding="utf-8") == files[name], told


def test_every_published_file_is_in_the_table(files):
    lines = files["MODEL_ZOO.md"].splitlines()
    members = [(model, member) for model, entry in MODELS.items() for member in entry.weights or ()]
    assert len(members) > 50
    for model, member in members:
        (line,) = [line for line in lines if line.startswith(f"| `{model}` | [`{member.name}`]({member.url})")]
        assert f"| {member.meta['licence'] or 'none stated'} | {member.meta['state']} |" in line
        for values in member.meta["metrics"].values():
            assert all(f"{value} {metric} (" in line for metric, value in values.items())


def test_every_member_of_the_zoo_is_in_the_table(files):
    members = files["MODEL_ZOO.md"].partition("## Members")[2]
    assert all(f"| `{name}` | {entry.config.size[0]}x" in members for name, entry in MODELS.items())


def test_parameters_that_origins_state_are_counted_here(files, cards):
    members = files["MODEL_ZOO.md"].partition("## Members")[2]
    rows = [row for card in cards.values() if type(card) is Origins for row in card.rows]
    exact = [row for row in rows if re.fullmatch(r"[\d,]+", row.parameters)]
    assert len(exact) > 10
    for row in exact:
        line = f"| `{row.model}` | {row.origin} | {row.classes} | {row.parameters} | {row.parameters} |"
        assert line in members


def test_the_card_of_parity_is_of_all_golden_files(cards):
    golden = {path.stem for path in (ROOT / "tests" / "origins" / "golden").glob("*.npz")}
    (parity,) = [card for card in cards.values() if type(card) is Parity]
    told = "run python tests/origins/report.py"
    assert {row.golden for row in parity.rows if not row.golden.startswith("torchvision-")} == golden, told
    assert all(max(row.logits, row.deltas) < 1e-5 and row.boxes < 1e-2 and row.scores < 1e-4 for row in parity.rows)


def test_check_prints_what_differs_and_writes_nothing(zoo, files, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(zoo, "ROOT", tmp_path)
    monkeypatch.setattr(zoo, "made", lambda cards: files)
    assert zoo.main(["--check"]) == 1
    assert list(tmp_path.iterdir()) == [] and "+# Model zoo" in capsys.readouterr().out
    assert zoo.main([]) == 0 and zoo.main(["--check"]) == 0
    assert capsys.readouterr().out == ""
    path = tmp_path / "MODEL_ZOO.md"
    path.write_text(path.read_text().replace("verified", "proven", 1))
    assert zoo.main(["--check"]) == 1
    assert [line[0] for line in capsys.readouterr().out.splitlines() if "proven" in line] == ["-"]


def test_a_bad_card_is_one_message(zoo, tmp_path, monkeypatch, capsys):
    (tmp_path / "a.json").write_text("{}")
    monkeypatch.setattr(zoo, "CARDS", tmp_path)
    with pytest.raises(SystemExit):
        zoo.main([])
    assert "a.json is no card: expected a mapping with a 'kind'" in capsys.readouterr().err


# ---- what a card says is where it belongs ----


def cells(lines: list[str], start: str) -> dict[str, str]:
    """The row of a table that begins with these cells, by the heads of its columns."""
    number = next(number for number, line in enumerate(lines) if line.startswith(start))
    head = next(number for number in range(number, 0, -1) if lines[number].startswith("|---")) - 1
    split = [[cell.strip() for cell in lines[at].strip("| ").split(" | ")] for at in (head, number)]
    return dict(zip(*split, strict=True))


def test_numbers_measured_here_and_published_are_two_columns(zoo):
    member = MODELS["ssd300_vgg16"].weights["COCO_V1"]
    card = Measured(
        model="ssd300_vgg16", weights="COCO_V1", sha256="0" * 64, data=Data(name="coco", split="val2017", images=5000),
        metrics={"AP": 0.2499, "AP50": 0.4}, per_class={}, made=MADE,
    )  # fmt: skip
    start = f"| `ssd300_vgg16` | [`COCO_V1`]({member.url})"
    found = cells(zoo.pretrained.section({"a": card}), start)
    assert found["published by the origin"] == "25.1 AP (COCO-val2017)"
    assert found["measured here"] == ".250 AP (coco val2017, 5000 images)"
    assert found["scores"] == found["verified: raw outputs"] == "-"
    assert cells(zoo.pretrained.section({}), start)["measured here"] == "-"


def test_a_changed_card_changes_the_file(zoo, cards):
    name = "trained/bccd_ssdlite320"
    changed = dataclasses.replace(cards[name], metrics={**cards[name].metrics, "AP": 0.987654})
    before, after = (zoo.trained.section(each) for each in (cards, {**cards, name: changed}))
    assert len(set(after) - set(before)) == 1 and any("AP .988, AP50 .676" in line for line in after)
    (parity,) = [card for card in cards.values() if type(card) is Parity]
    rows = [dataclasses.replace(row, boxes=123.0) for row in parity.rows]
    after = zoo.pretrained.section({"parity": dataclasses.replace(parity, rows=tuple(rows))})
    assert sum("| 1e+02 |" in line for line in after) >= len(rows)


def test_sections_without_a_card_say_so(zoo):
    for section in (zoo.trained.section, zoo.trained.ablations, zoo.speed.section, zoo.exports.section):
        assert section({})[-1] == "No card yet."
    assert "Nothing is verified" in "\n".join(zoo.pretrained.section({}))


def test_the_table_of_speed_has_the_fastest_of_each_form_and_dashes(zoo):
    rows = (
        row(backend="torchvision", ms=200), row(ms=100), row(backend="openvino", precision="bfloat16", ms=50),
        row(backend="openvino", batch=8, ms=1), row(model="tiny_ssd", ms=7),
    )  # fmt: skip
    cards = {"speed/cpu": speed(*rows), "speed/gpu": speed(row(backend="compiled", ms=2), made=GPU)}
    cards["speed/other"] = speed(row(ms=0.5), subject="train-step")
    lines = zoo.speed.section(cards)
    assert cells(lines, "| `ssd300_vgg16` |") == {
        "model": "`ssd300_vgg16`", "torchvision, CPU": "200.0", "eager float32, CPU": "100.0",
        "fastest, CPU": "50.0, openvino bfloat16", "torchvision, GPU": "-", "fastest, GPU": "2.0, compiled float32",
    }  # fmt: skip
    assert set(cells(lines, "| `ssd512_vgg16` |").values()) == {"`ssd512_vgg16`", "-"}
    whole = next(line for line in lines if line.startswith("| `ssd300_vgg16` | openvino | bfloat16"))
    assert whole.endswith("| 1 | 2 | 50.00 | 1.50 | torchvision float32 | 99.9 % | 500 |")


def test_costs_have_the_columns_of_their_card(zoo):
    rows = (CostRow(name="a", numbers={"MiB": 3}), CostRow(name="b", numbers={"MiB": None, "seconds": 1.25}))
    lines = zoo.speed.section({"costs/memory": Costs(subject="memory", clock="all", rows=rows, made=MADE)})
    assert lines[-4:] == ["|  | MiB | seconds |", "|---|---|---|", "| a | 3.00 | - |", "| b | - | 1.25 |"]


def test_exports_are_a_matrix(zoo):
    def export(level, differences, problem=None):
        where = {"model": "tiny_ssd", "to": "onnx", "level": level, "precision": "float32"}
        return ExportRow(**where, differences=differences, bytes=1, problem=problem)

    rows = export("raw", {"logits": 1e-6, "deltas": 2e-6, "default_boxes": 1.0}), export("nms", None, "soft")
    rows += (export("decoded", {"boxes": 1e-4, "scores": 2e-7}),)
    lines = zoo.exports.section({"export": Export(rows=rows, made=MADE)})
    assert cells(lines, "| `tiny_ssd` |") == {
        "model": "`tiny_ssd`", "onnx raw float32": "2e-06", "onnx nms float32": "cannot be",
        "onnx decoded float32": "1e-04 px, 2e-07",
    }  # fmt: skip
    assert set(cells(lines, "| `ssd300_vgg16` |").values()) == {"`ssd300_vgg16`", "-"}
    assert "No card yet of `openvino`, `torch-export`, `executorch`." in lines
    stray = export("nms", {"boxes": 1e-4, "scores": 2e-7, STRAY: 0.5})
    lines = zoo.exports.section({"export": Export(rows=(stray,), made=MADE)})
    assert cells(lines, "| `tiny_ssd` |")["onnx nms float32"] == "1e-04 px, 2e-07, 0.5 % other detections"


# ---- the picture ----


def texts(svg: str) -> dict[str, ElementTree.Element]:
    return {element.text: element for element in fromstring(svg).iter("{http://www.w3.org/2000/svg}text")}


def test_the_picture_of_no_card_says_so(zoo):
    assert "no model is timed yet" in texts(zoo.picture.svg({}))


def test_the_picture_has_models_and_engines_and_is_the_same_twice(zoo):
    lite = "ssdlite320_mobilenet_v3_large"
    rows = [row(ms=200), row(model="ssd512_vgg16", ms=600), row(model=lite, ms=20), row(model="tiny_ssd", ms=3)]
    rows += [row(model=lite, backend="openvino & co", ms=5), row(model="ssdlite320_mobilenet_v2", ms=5.2)]
    svg = zoo.picture.svg({"a": speed(*rows), "b": speed(*rows, row(ms=100, batch=8))})
    assert svg == zoo.picture.svg({"a": speed(*reversed(rows))})
    found = texts(svg)
    assert {"ssd300_vgg16", "ssd512_vgg16", lite, "openvino & co float32", "eager float32"} <= found.keys()
    assert "tiny_ssd" not in found, "nobody published an AP on COCO of it"
    points = zoo.picture.points({"a": speed(*rows)})
    assert [(point.model, point.ms, point.ap) for point in points if point.engine == "eager float32"] == [
        ("ssd300_vgg16", 200, 25.1), ("ssd512_vgg16", 600, 29.5), ("ssdlite320_mobilenet_v2", 5.2, 21.3),
        (lite, 20, 21.3),
    ]  # fmt: skip
    # Both have 21.3 and nearly the same time: their names must not cover one another.
    heights = [float(found[name].attrib["y"]) for name in ("ssdlite320_mobilenet_v2", lite)]
    assert abs(heights[0] - heights[1]) >= zoo.picture.LINE
    assert "prefers-color-scheme: dark" in svg and "var(" not in svg


def test_faster_is_further_left_and_better_is_further_up(zoo):
    frame = zoo.picture.Frame.around(zoo.picture.points({"a": speed(row(ms=200), row(model="ssd512_vgg16", ms=600))}))
    assert frame.x(200) < frame.x(600) and frame.y(29.5) < frame.y(25.1)
    assert frame.x(200) > zoo.picture.LEFT and frame.x(600) < zoo.picture.WIDTH - zoo.picture.RIGHT


# ---- cards ----


def test_a_card_comes_back_as_it_was(tmp_path):
    card = speed(row(), row(batch=8))
    write_card(tmp_path / "deep" / "a.json", card)
    assert read_cards(tmp_path) == {"deep/a": card}


def test_committed_cards_are_of_all_kinds_that_are_known(cards):
    assert {Parity, Trained, Ablation, Origins} <= {type(card) for card in cards.values()} <= set(KINDS.values())


def edited(tmp_path: Path, **changes) -> Path:
    """A file that was a good card before these keys changed; a value of `...` takes the key away."""
    path = tmp_path / "card.json"
    write_card(path, speed(row()))
    content = json.loads(path.read_text())
    for place, value in changes.items():
        *parents, key = place.split("__")
        where = content
        for parent in parents:
            where = where[int(parent) if parent.isdecimal() else parent]
        where[int(key) if key.isdecimal() else key] = value
        if value is ...:
            del where[key]
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "sped"}, "unknown kind 'sped': did you mean 'speed'?"),
        ({"kind": 3}, "expected a mapping with a 'kind'"),
        ({"clock": ...}, "speed lacks the key 'clock'"),
        ({"clok": "all"}, "speed has no key 'clok': did you mean 'clock'?"),
        ({"rows__0__same": ...}, r"speed.rows\[0\] lacks the key 'same'"),
        ({"rows__0__batch": "1"}, r"speed.rows\[0\].batch = '1' \(str\): expected int"),
        ({"rows__0__threads": True}, r"speed.rows\[0\].threads = True \(bool\): expected int | None"),
        ({"rows__0": 3}, r"speed.rows\[0\] is 3: expected a mapping"),
        ({"rows": {}}, r"speed.rows = \{\} \(dict\)"),
        ({"made": None}, "speed.made = None"),
        ({"made__machine__cores": "two"}, "speed.made.machine.cores = 'two'"),
        ({"made__log": "gone.csv"}, "the log 'gone.csv', which is not there"),
    ],
)
def test_a_bad_card_is_refused(tmp_path, changes, message):
    path = edited(tmp_path, **changes)
    with pytest.raises(ValueError, match=rf"{re.escape(str(path))} (is no card|names)(.|\n)*{message}"):
        read_cards(tmp_path)


def test_all_that_is_wrong_is_said_at_once(tmp_path):
    with pytest.raises(ValueError) as caught:
        read_card(edited(tmp_path, clock=..., subjekt="x", rows__0__batch=None, made__date=3))
    assert str(caught.value).count("\n  - ") == 4


def test_no_json_is_no_card(tmp_path):
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ValueError, match="a.json is no card: it is no JSON"):
        read_cards(tmp_path)


@pytest.mark.parametrize(
    ("bad", "message"), [(row(ms=float("nan")), "a number that is none is None"), (row(batch="1"), "rows.0..batch")]
)
def test_a_card_that_would_be_refused_is_not_written(tmp_path, bad, message):
    with pytest.raises(ValueError, match=message):
        write_card(tmp_path / "a.json", speed(bad))
    assert list(tmp_path.iterdir()) == []


# ---- what made it, and whose machine that was nobody is told ----


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("source=/home/me/runs/a dataset.root=/data/bccd", "source=PATH/a dataset.root=PATH/bccd"),
        ("'{images: [/a/b.jpg, /c]}'", "'{images: [PATH/b.jpg, PATH/c]}'"),
        ("--folder /tmp/runs/", "--folder PATH/runs"),
        ("source=runs/mine ../shared/x ./y ~/z 3/4", "source=runs/mine ../shared/x ./y ~/z 3/4"),
        ("https://example.org/a/b", "https://example.org/a/b"),
    ],
)
def test_absolute_paths_are_told_by_their_last_name(said, told):
    assert portable(said) == told


def test_paths_are_found_wherever_they_are():
    config = {"root": Path("/data/bccd"), "sets": [{"root": "/a/b"}, 3, None], 1: True}
    assert portable(config) == {"root": "PATH/bccd", "sets": [{"root": "PATH/b"}, 3, None], "1": True}


def test_committed_cards_tell_of_no_machine():
    for path in CARDS.rglob("*"):
        if path.is_file():
            text = path.read_text()
            assert portable(text) == text, f"{path.name} has an absolute path in it"


def test_what_made_a_number(monkeypatch):
    script = ROOT / "references" / "benchmark.py"
    monkeypatch.setattr("sys.argv", [str(script), "inference", "--card", "/somewhere/a.json"])
    found = made_here(CPU, config={"batch": [1, 8]}, packages=["pytest"])
    assert found.command == "python references/benchmark.py inference --card PATH/a.json"
    assert found.versions["pytest"] == pytest.__version__ and found.versions["detzoo"] == detzoo.__version__
    assert found.machine.gpu is None and found.machine.threads == torch.get_num_threads()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", found.date) and found.config == {"batch": [1, 8]}


def test_an_installed_package_has_no_commit(tmp_path, monkeypatch):
    monkeypatch.setattr(made_module, "ROOT", tmp_path)
    assert commit() is None
    monkeypatch.setattr(made_module, "ROOT", ROOT)
    assert commit() is None or re.fullmatch(r"[0-9a-f]{40}(-dirty)?", commit())


# ---- references/evaluate.py ----


@pytest.fixture
def evaluate_card(zoo, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "references"))
    import evaluate_card

    return evaluate_card


DATA = {"name": "synthetic", "num_images": 3, "size": [64, 64], "seed": 1}
REPORT = {"metrics": {"AP": 0.5, "AP_large": None}, "per_class": {"star": 0.4}, "images": 3}


@pytest.fixture
def run_folder(tmp_path, small_config):
    """What references/train.py leaves of two epochs."""
    folder = tmp_path / "somewhere" / "mine"
    folder.mkdir(parents=True)
    config = {
        "model": small_config.as_dict(), "dataset": {"train": {**DATA, "num_images": 5}, "val": DATA}, "epochs": 2,
        "precision": "float32", "seed": 7, "folder": str(folder), "weights": None,
    }  # fmt: skip
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "log.csv").write_text("epoch,seconds,AP\n1,10.5,\n2,20.0,0.5\n")
    machine = {"processor": "one", "threads": 2, "accelerator": "none"}
    command = f"{ROOT}/references/train.py experiment=demo 'a={{b: c}}' folder={folder} log_every=3"
    (folder / "metrics.json").write_text(json.dumps({"command": command, "machine": machine}))
    save_checkpoint(
        folder / "best.pt",
        model_record(detzoo.build_ssd(dataclasses.replace(small_config, num_classes=7)), small_config),
    )
    return folder


def test_the_card_of_a_run(evaluate_card, run_folder, small_config, tmp_path):
    path = tmp_path / "cards" / "mine.json"
    config = EvaluateConfig(source=str(run_folder), card=str(path))
    evaluate_card.check_whole(config.source)
    evaluate_card.write_card_of(config, small_config, DATA, REPORT, CPU)
    card = read_card(path)
    assert card.model == "tiny, 96x96" and card.metrics == REPORT["metrics"] and card.suppression == "nms"
    assert card.data == Data(name="synthetic", split="val", images=3) and len(card.sha256) == 64
    training = card.training
    assert training.command == "python references/train.py experiment=demo 'a={b: c}'" and training.recipe == "demo"
    assert (training.epochs, training.seconds, training.seed, training.data.images) == (2, 30.5, 7, 5)
    assert training.machine.threads == 2 and "folder" not in training.config
    assert (path.parent / card.made.log).read_text() == (run_folder / "log.csv").read_text()
    assert portable(path.read_text()) == path.read_text(), "no path of this machine"
    assert card.made.config["source"] == "PATH/mine"


def test_a_run_that_was_not_finished_has_no_card(evaluate_card, run_folder):
    (run_folder / "log.csv").write_text("epoch,seconds\n1,10.5\n")
    with pytest.raises(ValueError, match="has 1 of 2 epochs: a card is of a run that came to its end"):
        evaluate_card.check_whole(str(run_folder / "best.pt"))


def test_the_card_of_published_weights(evaluate_card, tmp_path, monkeypatch):
    file = tmp_path / "weights.pth"
    file.write_bytes(b"abc")
    monkeypatch.setattr(Weights, "fetch", lambda self, progress: file)
    config = EvaluateConfig(source="ssd300_vgg16", card=str(tmp_path / "a.json"))
    data = {"name": "coco", "images": "/data/coco/val2017", "annotations": "/data/coco/annotations/a.json"}
    evaluate_card.check_whole(config.source)
    evaluate_card.write_card_of(config, MODELS["ssd300_vgg16"].config, data, REPORT, CPU)
    card = read_card(config.card)
    assert (type(card), card.model, card.weights) == (Measured, "ssd300_vgg16", "COCO_V1")
    assert card.sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # of "abc", FIPS 180
    assert card.data == Data(name="coco", split="val2017", images=3)


def test_a_network_is_named_as_in_the_zoo(evaluate_card):
    for name, entry in MODELS.items():
        assert evaluate_card.model_name(dataclasses.replace(entry.config, num_classes=5)) == name


def test_data_sets_joined_have_both_names(evaluate_card):
    sets = [{"name": "voc", "root": f"/data/{name}", "split": "trainval"} for name in ("VOC2007", "VOC2012")]
    found = evaluate_card.data_facts({"name": "union", "sets": sets}, "train", 16551)
    assert found == Data(name="VOC2007 + VOC2012", split="trainval", images=16551)


def test_data_sets_are_named_by_their_folder(evaluate_card):
    for images, annotations, name in [
        ("/data/mine/images", "/data/mine/boxes.json", "mine"),
        ("/home/ann/set/evaluation_pictures", "/home/ann/boxes.json", "evaluation_pictures"),
        ("/home/ann/pictures", "/home/ann/boxes.json", "pictures"),
        ("/data/sets/mine", "/data/labels/mine.json", "mine"),
    ]:
        part = {"name": "coco", "images": images, "annotations": annotations}
        assert evaluate_card.data_facts(part, "val", 3) == Data(name=name, split="val", images=3)


# ---- the other scripts ----


def test_the_card_of_an_ablation(zoo, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT / "references"))
    import ablation

    common = ["model=tiny_ssd", "dataset.train.num_images=4", "dataset.val.num_images=2", "epochs=3"]
    rows = [
        ablation.Row("plain", (), [0.4, 0.5], [0.6, 0.7], 0.25),
        ablation.Row("FPN", ("x=y",), [0.5, 0.5], [0.7, 0.7]),
    ]
    card = ablation.card_of(ablation.composed(common), common, [0, 1], rows, MADE)
    write_card(tmp_path / "a.json", card)
    assert card.data == Data(name="synthetic", split="val", images=2) and card.training.data.images == 4
    assert card.training.command == f"python references/train.py {' '.join(common)}" and card.training.recipe is None
    lines = zoo.trained.ablations({"ablation/a": card})
    assert lines[-2:] == ["| plain | .450 | .650 | +0.0 | 0.25 | - |", "| FPN | .500 | .700 | +5.0 | - | `x=y` |"]


def test_benchmarks_write_cards(zoo, monkeypatch, tmp_path, one_thread, capsys):
    monkeypatch.syspath_prepend(str(ROOT / "references"))
    import benchmark

    path = tmp_path / "data.json"
    options = ["--images", "1", "--rounds", "1", "--size", "32", "--card", str(path)]
    benchmark.main(["data", *options])
    card = read_card(path)
    assert type(card) is Costs and card.subject == "data" and len(card.rows) == 4
    printed = capsys.readouterr().out.splitlines()
    (line,) = [line for line in printed if line.startswith(card.rows[2].name)]
    assert card.rows[2].numbers["ms an image"] == pytest.approx(float(line[24:].split()[0]), abs=0.006)


def test_a_step_of_training_as_a_card(zoo, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "references"))
    import argparse

    import benchmark_train_step

    options = argparse.Namespace(model="ssd300_vgg16", batch=4)
    seconds = {"torchvision, float32": [2.0, 2.0], "detzoo, bfloat16, compiled": [0.4, 0.6]}
    first, second = benchmark_train_step.card_rows(seconds, options)
    assert (first.backend, first.precision, first.ms_per_image, first.ratio) == ("torchvision", "float32", 500, 1)
    assert (second.precision, second.ms_per_image, second.ratio) == ("bfloat16, compiled", 125, 4)
    assert second.baseline == "torchvision, float32"
