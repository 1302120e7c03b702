"""The command `detzoo`: what it prints and writes, and one line and status 2 for what a user got wrong."""

import os
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
        (["CHECKPOINT", "--classes", "9"], "is a trained model: other classes and sizes is for names"),
        (["CHECKPOINT", "loss=focal"], "is a trained model: loss=focal is for names of the zoo"),
        (["ssd300_vgg_16", "loss=focal"], "no model 'ssd300_vgg_16': not a file or folder that exists"),
        (["no/such.pth", "loss=focal"], "no file at no/such.pth"),
        (["http://127.0.0.1:9/a.pth", "loss=focal"], "a.pth is a trained model: loss=focal is for names"),
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


def test_inspect_what_does_not_load(theirs, tmp_path, capsys):
    state = torch.load(theirs[1], weights_only=True)
    del state["backbone.features.0.2.block.0.0.weight"]
    torch.save(state, tmp_path / "half.pth")
    assert main(["inspect", str(tmp_path / "half.pth")]) == 2
    assert "does not load: missing: backbone.features.0.2.block.0.0.weight" in capsys.readouterr().out


def test_inspect_a_name(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    assert main(["inspect", "SSD300_VGG16_Weights.COCO_V1"]) == 0
    assert "b556d3b4" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["list"], ["--help"]])
def test_nobody_reads_on(arguments, monkeypatch, capsys):
    """As behind `| head -0`: no message, neither now nor when Python ends."""
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        assert main(arguments) == 141
    monkeypatch.undo()
    assert capsys.readouterr().err == ""


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
        (["-o", "ours.params", "--to", "torchvision"], "ours.params: expected the name of a file that ends in one of"),
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
    lines = capsys.readouterr().out.splitlines()
    names = [line.partition(": ")[0] for line in lines[: lines.index("")] if not line.startswith(" ")]
    assert names == sorted(MODELS) and "ssdlite320_timm: no published weights" in lines
    below = " ".join(lines[lines.index("ssd300_vgg16") + 1].split())
    assert below == "* COCO_V1 25.1 AP on COCO-val2017 verified architecture BSD-3-Clause fetched"


def test_show_of_published_weights_says_what_is_known_before_they_are_fetched(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    assert main(["show", "SSD512_VGG16_Weights.COCO_CAFFE"]) == 0
    out, err = capsys.readouterr()
    assert "28.8 AP on COCO-test-dev2015" in out and "BSD-2-Clause" in out and "verified architecture" in out
    assert "by hand from https://drive.google.com/" in out and f"its file is not at {tmp_path}" in out and err == ""


def test_show_of_published_weights_fetches_nothing_that_it_would_refuse(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setattr("detzoo.hub._open", lambda *args: pytest.fail("fetched"))
    assert main(["show", "SSD300_VGG16_Weights.COCO_V1", "loss=focal"]) == 2
    assert "COCO_V1 is a trained model: loss=focal is for names of the zoo" in capsys.readouterr().err


def test_no_command(capsys):
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2 and "COMMAND" in capsys.readouterr().err


@pytest.mark.slow
def test_as_a_module(tmp_path):
    command = [sys.executable, "-m", "detzoo", "predict", "nothing.jpg"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 2 and done.stdout == "" and done.stderr.startswith("detzoo: no such file")
