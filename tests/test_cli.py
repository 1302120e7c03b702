"""The command `detzoo`: what it prints and writes, and one line and status 2 for what a user got wrong."""

import subprocess
import sys

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from detzoo.categories import Categories
from detzoo.cli import main
from detzoo.models import MODELS, build_ssd
from detzoo.models.checkpoint import model_record, save_checkpoint

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("run")


@pytest.fixture
def checkpoint(run_folder, small_config):
    """Of a model that never learnt anything: its scores are all about alike."""
    torch.manual_seed(0)
    model = build_ssd(small_config, categories=Categories(("cat", "dog")))
    save_checkpoint(run_folder / "last.pt", model_record(model, small_config))
    return run_folder / "last.pt"


@pytest.fixture
def photo(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (70, 110, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture
def predict(tmp_path, checkpoint):
    def predict(*arguments, model=checkpoint, output=tmp_path / "out"):
        return main(["predict", "--model", str(model), "--output", str(output), *map(str, arguments)])

    return predict


@pytest.mark.parametrize("source", ["checkpoint", "run folder"])
def test_predict(predict, checkpoint, photo, tmp_path, capsys, source):
    model = checkpoint if source == "checkpoint" else checkpoint.parent
    assert predict(photo, "--score-threshold", "0.05", model=model) == 0
    first, *boxes = capsys.readouterr().out.splitlines()
    picture = tmp_path / "out" / "photo_detections.jpg"
    assert first == f"{photo}: {len(boxes)} boxes (class, score, x1 y1 x2 y2), drawn in {picture}"
    scores = []
    for line in boxes:
        name, score, *corners = line.split()
        x1, y1, x2, y2 = map(float, corners)
        assert name in ("cat", "dog") and 0 <= x1 <= x2 <= 110 and 0 <= y1 <= y2 <= 70
        scores.append(float(score))
    assert len(boxes) > 1 and scores == sorted(scores, reverse=True) and min(scores) >= 0.05
    with Image.open(picture) as drawn, Image.open(photo) as original:
        plain = original.convert("RGB").resize(drawn.size)
        assert (np.abs(np.asarray(drawn, int) - np.asarray(plain, int)).max(axis=-1) > 60).mean() > 0.02
    assert [file.name for file in picture.parent.iterdir()] == [picture.name]


def test_predict_several_files_and_find_nothing(predict, photo, tmp_path, capsys):
    other = photo.with_name("other.jpg")
    Image.open(photo).save(other)
    assert predict(photo, other, "--score-threshold", "1") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[1].split(" (")[0] for line in lines] == ["0 boxes", "0 boxes"]
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"photo_detections.jpg", "other_detections.jpg"}


@pytest.fixture
def refused(predict, tmp_path, capsys):
    """The one line on standard error of a call that ends with status 2, prints nothing else and writes nothing."""

    def refused(*arguments, **options):
        before = sorted(tmp_path.rglob("*"))
        assert predict(*arguments, **options) == 2
        captured = capsys.readouterr()
        assert captured.out == "" and captured.err.startswith("detzoo: ") and captured.err.count("\n") == 1
        assert sorted(tmp_path.rglob("*")) == before
        return captured.err

    return refused


def test_missing_files(refused, photo, tmp_path):
    line = refused(photo, tmp_path / "a.jpg", tmp_path)
    assert line == f"detzoo: no such image file: {tmp_path / 'a.jpg'}, {tmp_path}\n"


@pytest.mark.parametrize("content", [b"not an image", None])
def test_broken_image(refused, photo, content):
    photo.write_bytes(photo.read_bytes()[:500] if content is None else content)
    assert f"{photo} cannot be read as an image" in refused(photo)


def test_unknown_model(refused, photo):
    assert "no model 'ssd300_vgg_16': not a file or folder that exists, and no name: did you mean 'ssd300_vgg16'?" in (
        refused(photo, model="ssd300_vgg_16")
    )


def test_model_without_published_weights(refused, photo):
    assert "no weights of this model are published" in refused(photo, model="ssdlite320_timm")


def test_model_file_of_something_else(refused, photo, tmp_path):
    """Named, and without torch's advice to read it in a way that would run code from it."""
    torch.save({"weights": torch.zeros(3)}, tmp_path / "other.pt")
    (tmp_path / "half.pt").write_bytes((tmp_path / "other.pt").read_bytes()[:200])
    (tmp_path / "text.pt").write_text("nothing of the kind")
    torch.save({"module": torch.nn.Linear(1, 1)}, tmp_path / "code.pt")
    for name in ("other", "half", "text", "code"):
        line = refused(photo, model=tmp_path / f"{name}.pt")
        assert f"{name}.pt" in line and "weights_only" not in line
    (tmp_path / "empty").mkdir()
    assert f"file at {tmp_path / 'empty' / 'last.pt'}" in refused(photo, model=tmp_path / "empty")


def test_output_that_is_no_folder(refused, photo):
    assert "photo.png" in refused(photo, output=photo)


def test_pictures_of_the_same_name(refused, photo, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    twin = tmp_path / "elsewhere" / "photo.jpg"
    Image.open(photo).save(twin)
    line = refused(photo, twin)
    assert f"{photo} and {twin} would both be drawn in {tmp_path / 'out' / 'photo_detections.jpg'}" in line


@pytest.mark.parametrize("threshold", ["1.5", "-0.1", "nan", "high"])
def test_threshold_that_is_none(predict, photo, tmp_path, capsys, threshold):
    with pytest.raises(SystemExit) as caught:
        predict(photo, f"--score-threshold={threshold}")
    assert caught.value.code == 2 and f"{threshold}: expected a number in [0, 1]" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


# ---- show ----


def test_show(capsys):
    assert main(["show", "ssdlite320_mobilenet_v3_large"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("ssdlite320_mobilenet_v3_large: 320x320 pixels, 91 classes with background, 3234 default")
    rows = [line.split() for line in out.splitlines()]
    assert next(row for row in rows if row[:1] == ["0"])[:7] == ["0", "20x20", "16", "672", "6", "2400", "64x64"]
    assert ["total", "3,440,060", "0.583"] in rows
    assert "COCO_V1: 21.3 AP on COCO-val2017, as torchvision states" in out
    assert "Preprocess(size=(320, 320), mean=[0.5, 0.5, 0.5]" in out and "score_threshold=0.001" in out


def test_show_with_other_classes_and_size(capsys):
    assert main(["show", "tiny_ssd", "--classes", "5", "--size", "128x256"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("tiny_ssd: 128x256 pixels, 5 classes with background, 2724 default boxes")
    assert "16x32" in out and "none published" in out and "Preprocess(size=(128, 256)" in out


def test_show_with_other_parts(capsys):
    """Before the options, between and behind them."""
    changes = ["loss=focal", "neck.name=fpn", "neck.out_channels=8"]
    assert main(["show", "tiny_ssd", changes[0], "--size", "128x128", changes[1], "--classes=5", changes[2]]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"tiny_ssd {' '.join(changes)}: 128x128 pixels, 5 classes with background, ")
    assert "FocalLoss(" in out and "\nneck " in out and "none published" in out


def test_show_with_other_parts_has_no_published_weights(capsys):
    assert main(["show", "ssdlite320_mobilenet_v3_large", "matcher=atss"]) == 0
    out = capsys.readouterr().out
    assert "ATSSMatcher(" in out and "COCO_V1" not in out and "none published" in out


@pytest.mark.parametrize("arguments", [["show", "tiny_ssd", "loss=focal", "--sise"], ["list", "loss=focal"]])
def test_arguments_that_nobody_knows(capsys, arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2 and f"unrecognized arguments: {arguments[-1]}" in capsys.readouterr().err


def test_show_a_checkpoint_at_another_size(checkpoint, capsys):
    assert main(["show", str(checkpoint), "--size", "192x96"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{checkpoint}: 192x96 pixels, 3 classes with background, 1440 default boxes")
    assert "Preprocess(size=(96, 96)" in out, "the checkpoint is what it was"


@pytest.mark.parametrize("source", ["checkpoint", "run folder"])
def test_show_a_trained_model_and_its_boxes(checkpoint, photo, tmp_path, capsys, source):
    model = checkpoint if source == "checkpoint" else checkpoint.parent
    picture = tmp_path / "new" / "boxes.png"
    assert main(["show", str(model), "--picture", str(photo), "--output", str(picture)]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{model}: 96x96 pixels, 3 classes with background, 720 default boxes")
    assert out.endswith(f"drawn in {picture}\n") and [file.name for file in picture.parent.iterdir()] == [picture.name]
    with Image.open(picture) as drawn:
        assert drawn.width > drawn.height > 110


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ssd300_vgg_16"], "no model 'ssd300_vgg_16': not a file or folder that exists, and no name: did you mean"),
        (["tiny_ssd", "--picture", "PHOTO"], "--picture IMAGE and --output FILE go together"),
        (["tiny_ssd", "--output", "OUT/boxes.png"], "--picture IMAGE and --output FILE go together"),
        (["tiny_ssd", "--picture", "OUT/no.png", "--output", "OUT/boxes.png"], "no.png cannot be read as an image"),
        (["tiny_ssd", "--picture", "PHOTO", "--output", "OUT/boxes.txt"], "boxes.txt is not the name of a picture"),
        (["tiny_ssd", "--picture", "PHOTO", "--output", "OUT/boxes.psd"], "boxes.psd is not the name of a picture"),
        (["ssd300_vgg16", "--size", "100x100"], "the network cannot take images of 100x100 pixels "),
        (["CHECKPOINT", "--classes", "9"], "is a trained model, of 3 classes: other classes and sizes is for names"),
        (["CHECKPOINT", "loss=focal"], "is a trained model, of 3 classes: loss=focal is for names of the zoo"),
        (["tiny_ssd", "focal"], "'focal': expected a part and what to put in its place, such as loss=focal"),
    ],
)
def test_show_refuses(checkpoint, photo, tmp_path, capsys, arguments, message):
    before = sorted(tmp_path.rglob("*"))
    names = {"PHOTO": str(photo), "CHECKPOINT": str(checkpoint)}
    arguments = [names.get(word, word.replace("OUT", str(tmp_path))) for word in arguments]
    assert main(["show", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("detzoo: ") and captured.err.count("\n") == 1
    assert message in captured.err and sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "option", ["--classes=1", "--classes=many", "--classes=-3", "--size=300", "--size=0x300", "--size=300x300x3"]
)
def test_show_options_that_are_none(capsys, option):
    with pytest.raises(SystemExit) as caught:
        main(["show", "tiny_ssd", option])
    assert caught.value.code == 2 and f"{option.partition('=')[2]}: expected" in capsys.readouterr().err


@pytest.fixture
def theirs(tmp_path):
    """torchvision's SSDlite, and its file."""
    torch.manual_seed(0)
    model = torchvision.models.detection.ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=21
    )
    torch.save(model.state_dict(), tmp_path / "lite.pth")
    return model, tmp_path / "lite.pth"


def test_inspect(theirs, capsys):
    assert main(["inspect", str(theirs[1])]) == 0
    printed = capsys.readouterr().out
    assert "torchvision/ssdlite320_mobilenet_v3_large" in printed and "aeroplane, bicycle" in printed


def test_inspect_what_is_no_such_file(theirs, capsys):
    assert main(["inspect", str(theirs[1]), "--origin", "ssd.pytorch"]) == 2
    assert "is no file of ssd.pytorch" in capsys.readouterr().err


def test_convert_there_and_back(theirs, tmp_path, capsys):
    model, path = theirs
    ours, back = tmp_path / "ours.safetensors", tmp_path / "back.pth"
    assert main(["convert", str(path), "-o", str(ours)]) == 0
    assert main(["convert", str(ours), "--to", "torchvision", "-o", str(back)]) == 0
    assert f"written: {ours}, {ours.with_suffix('.json')}" in capsys.readouterr().out
    again = torch.load(back, weights_only=True)
    assert all(torch.equal(again[name], tensor) for name, tensor in model.state_dict().items())


def test_convert_overwrites_nothing(theirs, capsys):
    before = theirs[1].read_bytes()
    assert main(["convert", str(theirs[1]), "-o", str(theirs[1])]) == 2
    assert "is there already and would be lost" in capsys.readouterr().err
    assert theirs[1].read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "ours.onnx"], "ours.onnx: expected the name of a file that ends in one of"),
        (["-o", "ours.pth", "--despite-numbers"], "--despite-numbers goes with --to"),
        (["-o", "ours.pth", "--to", "ssd.pytorch"], "ssd.pytorch has no detector of this architecture"),
    ],
)
def test_convert_refuses(theirs, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main(["convert", str(theirs[1]), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["lite.pth"]


def test_list(capsys):
    assert main(["list"]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert list(lines) == sorted(MODELS)
    assert lines["ssd300_vgg16"].startswith("COCO_V1") and lines["ssdlite320_timm"] == "no published weights"


def test_no_command(capsys):
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2 and "COMMAND" in capsys.readouterr().err


@pytest.mark.slow
def test_as_a_module(tmp_path):
    command = [sys.executable, "-m", "detzoo", "predict", "nothing.jpg"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 2 and done.stdout == "" and done.stderr == "detzoo: no such image file: nothing.jpg\n"
