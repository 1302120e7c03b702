"""`detzoo predict`: what it prints and writes, and its exit status: 1 where an image could not be read, 2 and one line
for what a user got wrong.
"""

import csv
import json
import shutil
from itertools import groupby

import numpy as np
import pytest
import torch
from PIL import Image

from detzoo.cli import main
from detzoo.data.csv_boxes import CsvDataset
from detzoo.predict import Detector, read_image
from detzoo.predict.report import Report

pytestmark = pytest.mark.usefixtures("one_thread")


def names_below(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def boxes_of(line):
    return [(found["label"], found["score"], *found["box"]) for found in line["detections"]]


def read_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("source", ["checkpoint", "run folder"])
def test_boxes_are_printed_and_drawn(predict, checkpoint, photo, tmp_path, capsys, source):
    assert predict(photo, model=checkpoint if source == "checkpoint" else checkpoint.parent) == 0
    captured = capsys.readouterr()
    first, *boxes = captured.out.splitlines()
    assert first == f"{photo}: {len(boxes)} boxes (class, score, x1 y1 x2 y2)"
    scores = []
    for line in boxes:
        name, score, *corners = line.split()
        x1, y1, x2, y2 = map(float, corners)
        assert name in ("cat", "dog") and 0 <= x1 <= x2 <= 110 and 0 <= y1 <= y2 <= 70
        scores.append(float(score))
    assert len(boxes) > 1 and scores == sorted(scores, reverse=True) and min(scores) >= 0.05
    told = captured.err.splitlines()
    assert told[0].startswith(f"detzoo: 1 image, {len(boxes)} boxes, ") and told[0].endswith(" images a second")
    assert told[1:] == [f"detzoo: written: {tmp_path / 'out'}"]
    assert names_below(tmp_path / "out") == ["photo.png_detections.jpg"]
    with Image.open(tmp_path / "out" / "photo.png_detections.jpg") as drawn, Image.open(photo) as original:
        assert drawn.format == "JPEG" and drawn.size == (480, 305)
        plain = original.convert("RGB").resize(drawn.size)
        assert (np.abs(np.asarray(drawn, int) - np.asarray(plain, int)).max(axis=-1) > 60).mean() > 0.02


def test_a_folder_and_every_format(predict, photos, model, tmp_path, capsys):
    out = tmp_path / "out"
    assert predict(photos, "--format", "pictures,coco", "csv", "jsonl", "--quiet") == 0
    assert capsys.readouterr().out == ""
    names = ["a.png", "b.JPG", "in/c.png", "in/deep/d.jpg", "z.bmp"]
    tables = ["coco_detections.json", "coco_images.json", "detections.csv", "detections.jsonl"]
    assert names_below(out) == sorted([f"{name}_detections.jpg" for name in names] + tables)
    lines = read_lines(out / "detections.jsonl")
    assert [line["image"] for line in lines] == [str(photos / name) for name in names]

    detector = Detector(model, score_threshold=0.05)
    for line in lines:
        result = detector(line["image"])
        assert (line["height"], line["width"]) == result.size == (70, 110)
        assert len(result) > 5 and [box[0] for box in boxes_of(line)] == [("cat", "dog")[k - 1] for k in result.labels]
        numbers = np.array([box[1:] for box in boxes_of(line)])
        np.testing.assert_allclose(numbers[:, 0], result.scores, atol=1e-5)
        np.testing.assert_allclose(numbers[:, 1:], result.boxes, atol=2e-3)

    with (out / "detections.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for (image, group), line in zip(groupby(rows, key=lambda row: row["image"]), lines, strict=True):
        assert image == line["image"]
        sides = ("score", "xmin", "ymin", "xmax", "ymax")
        told = [(row["label"], *(float(row[side]) for side in sides)) for row in group]
        assert told == boxes_of(line) and {row["frame"] for row in rows} == {""}


def test_coco_files_are_read_by_pycocotools(predict, photos, tmp_path, capsys):
    from pycocotools.coco import COCO

    out = tmp_path / "out"
    assert predict(photos, "--format", "coco", "jsonl") == 0
    truth = COCO(out / "coco_images.json")
    found = truth.loadRes(str(out / "coco_detections.json"))
    lines = read_lines(out / "detections.jsonl")
    assert [truth.imgs[number]["file_name"] for number in range(1, 6)] == [line["image"] for line in lines]
    assert truth.cats == {17: {"id": 17, "name": "cat"}, 18: {"id": 18, "name": "dog"}}
    for number, line in enumerate(lines, 1):
        rows = [found.anns[key] for key in found.getAnnIds(imgIds=[number])]
        assert [row["score"] for row in rows] == [box[1] for box in boxes_of(line)]
        assert {row["category_id"] for row in rows} <= {17, 18}
        x1, y1, x2, y2 = boxes_of(line)[0][2:]
        np.testing.assert_allclose(rows[0]["bbox"], [x1, y1, x2 - x1, y2 - y1], atol=1e-3)


def test_numbers_that_files_are_called_by_are_those_of_coco(predict, photos, tmp_path):
    for name, number in {"a.png": "000000000139.png", "b.JPG": "7.jpg", "z.bmp": "8.bmp"}.items():
        (photos / name).rename(photos / number)
    shutil.rmtree(photos / "in")
    assert predict(photos, "--format", "coco") == 0
    images = json.loads((tmp_path / "out" / "coco_images.json").read_text())["images"]
    assert [image["id"] for image in images] == [139, 7, 8]
    shutil.copy(photos / "8.bmp", photos / "008.bmp")
    assert predict(photos, "--format", "coco", output=tmp_path / "other") == 0
    images = json.loads((tmp_path / "other" / "coco_images.json").read_text())["images"]
    assert [image["id"] for image in images] == [1, 2, 3, 4], "two are called 8"


def test_the_table_is_a_data_set(predict, photos, tmp_path):
    """What was found can be corrected by hand and trained on."""
    assert predict(photos / "a.png", photos / "z.bmp", "--format", "csv", threshold=0.3) == 0
    dataset = CsvDataset("/", tmp_path / "out" / "detections.csv")
    assert len(dataset) == 2 and set(dataset.categories.names) <= {"cat", "dog"}
    assert predict(photos / "a.png", photos / "z.bmp", "--format", "csv", threshold=1, output=tmp_path / "none") == 0
    assert len((tmp_path / "none" / "detections.csv").read_text().splitlines()) == 3, "a line each, without a box"


def test_broken_files_are_told_of_and_the_others_are_done(predict, photos, tmp_path, capsys):
    (photos / "b.JPG").write_bytes((photos / "b.JPG").read_bytes()[:300])
    (photos / "in" / "empty.png").touch()
    (photos / "movie.mp4").write_bytes(b"no movie")
    assert predict(photos, "--format", "pictures", "jsonl", "csv", "coco") == 1
    err = capsys.readouterr().err
    broken = {photos / "b.JPG": "an image", photos / "in" / "empty.png": "an image", photos / "movie.mp4": "a video"}
    for path, kind in broken.items():
        assert f"detzoo: {path} cannot be read as {kind}: " in err
    assert "4 images, " in err and "3 unreadable" in err
    lines = read_lines(tmp_path / "out" / "detections.jsonl")
    assert {line["image"] for line in lines if "error" in line} == set(map(str, broken)) and len(lines) == 7
    assert len(list((tmp_path / "out").rglob("*.jpg"))) == 4
    assert len(json.loads((tmp_path / "out" / "coco_images.json").read_text())["images"]) == 4
    assert "b.JPG" not in (tmp_path / "out" / "detections.csv").read_text()


def test_files_of_one_name_in_two_folders(predict, photos, tmp_path):
    shutil.copy(photos / "a.png", photos / "in" / "a.png")
    assert predict(photos / "a.png", photos / "in" / "a.png") == 0
    assert names_below(tmp_path / "out") == ["a.png_detections.jpg", "in/a.png_detections.jpg"]


def test_what_is_kept(predict, photo, tmp_path):
    def found(*options, threshold=0.05):
        output = tmp_path / "-".join(["out", *map(str, options), str(threshold)])
        assert predict(photo, "--format", "jsonl", *options, output=output, threshold=threshold) == 0
        return boxes_of(read_lines(output / "detections.jsonl")[0])

    everything = found()
    assert found("--top", 3) == everything[:3]
    dogs = [box for box in everything if box[0] == "dog"]
    assert found("--classes", "dog") == dogs and 0 < len(dogs) < len(everything)
    assert found("--classes", "dog,cat") == everything
    middle = everything[len(everything) // 2][1]
    assert len(found(threshold=middle - 1e-5)) < len(everything)
    assert len(found("--iou-threshold", "0.1")) < len(found("--iou-threshold", "0.3")) < len(everything)


def test_batches_make_no_difference(predict, photos, tmp_path):
    lines = []
    for size in (1, 4):
        assert predict(photos, "--format", "jsonl", "--batch-size", size, output=tmp_path / str(size)) == 0
        lines.append(read_lines(tmp_path / str(size) / "detections.jsonl"))
    for one, other in zip(*lines, strict=True):
        assert [box[0] for box in boxes_of(one)] == [box[0] for box in boxes_of(other)]
        rows = [np.array([box[1:] for box in boxes_of(line)]) for line in (one, other)]
        np.testing.assert_allclose(*rows, atol=1e-2)


def test_pictures_in_the_folder_that_is_searched_are_not_found_again(predict, photos, capsys):
    assert predict(photos, output=photos / "found") == 0
    assert predict(photos, output=photos / "found") == 0
    assert capsys.readouterr().err.count("5 images, ") == 2


def test_patterns_do_not_find_their_own_pictures(predict, photos, tmp_path):
    pattern = photos / "**" / "*.[jp]*g"
    for _ in range(2):
        assert predict(pattern, "--resume", "--quiet", output=photos / "found") == 0
    pictures = [name for name in names_below(photos / "found") if name.endswith(".jpg")]
    assert pictures == ["a.png_detections.jpg", "in/c.png_detections.jpg", "in/deep/d.jpg_detections.jpg"]


def test_what_is_in_a_folder_called_shards_stays(predict, photos, tmp_path):
    """Whether a person put it there, or it is a picture of an image in a folder of that name."""
    (photos / "in").rename(photos / "shards")
    (tmp_path / "out" / "shards").mkdir(parents=True)
    (tmp_path / "out" / "shards" / "options.json").write_text("{}")
    assert predict(photos / "shards", photos / "a.png", "--quiet") == 0
    assert names_below(tmp_path / "out" / "shards") == [
        "c.png_detections.jpg", "deep/d.jpg_detections.jpg", "options.json",
    ]  # fmt: skip


def test_a_file_that_is_named_twice(predict, photo, tmp_path):
    assert predict(photo, photo, "--format", "jsonl") == 0
    assert len(read_lines(tmp_path / "out" / "detections.jsonl")) == 1


def test_two_files_that_are_called_alike(predict, photos, tmp_path):
    shutil.copy(photos / "in" / "deep" / "d.jpg", photos / "a.png.jpg")
    shutil.copy(photos / "a.png", photos / "a")
    assert predict(photos / "a.png.jpg", photos / "a.png", photos / "a", "--quiet") == 0
    assert names_below(tmp_path / "out") == ["a.png.jpg_detections.jpg", "a.png_detections.jpg", "a_detections.jpg"]


@pytest.mark.parametrize("options", [["--classes", "cat", "dog", "--"], ["--classes", "cat,dog", "--top", "3"]])
def test_lists_before_sources(checkpoint, photo, tmp_path, options):
    options = ["--model", str(checkpoint), "--output", str(tmp_path / "out"), *options]
    assert main(["predict", *options, str(photo)]) == 0


def test_videos_are_counted_by_their_frames():
    report = Report(quiet=True, total=3)
    report.expect(40)
    report.expect(5)
    assert report.total == 46, "the third may be an image"
    report.expect(None)
    report.expect(7)
    assert report.total is None
    report.close()


# ---- what a user gets wrong ----


def test_a_list_that_has_taken_the_sources(photo, capsys):
    for option in ("--classes", "--format", "--calibration"):
        with pytest.raises(SystemExit) as caught:
            main(["predict", option, "cat", str(photo)])
        told = capsys.readouterr().err
        assert caught.value.code == 2 and "--classes cat dog -- photos" in told and "required: SOURCE" in told


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


def test_sources_that_are_not_there(refused, photo, tmp_path):
    line = refused(photo, tmp_path / "a.jpg", tmp_path / "*.gif")
    assert line.endswith(f": {tmp_path / 'a.jpg'}, {tmp_path / '*.gif'}\n")


def test_nothing_to_be_found(predict, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert predict(tmp_path / "empty") == 2
    assert f"no image and no video in {tmp_path / 'empty'}" in capsys.readouterr().err
    assert names_below(tmp_path / "out") == []


def test_unknown_model(refused, photo):
    assert "no model 'ssd300_vgg_16'" in refused(photo, model="ssd300_vgg_16")


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
    assert f"{tmp_path / 'empty'} is a folder with no best.pt" in refused(photo, model=tmp_path / "empty")


def test_output_that_is_no_folder(refused, photo):
    assert "photo.png" in refused(photo, output=photo)


@pytest.mark.parametrize("pattern", ["", "*.png", "**/*.png", "i?"])
def test_output_among_the_images(refused, photos, pattern):
    assert "choose another one" in refused(photos / pattern, output=photos)


def test_tables_are_not_overwritten(predict, refused, photo, tmp_path, capsys):
    assert predict(photo, "--format", "csv", "coco") == 0
    capsys.readouterr()
    for options in ([], ["--resume"], ["--shard", "1/2"]):
        line = refused(photo, "--format", "csv", "jsonl", *options)
        assert f"{tmp_path / 'out' / 'detections.csv'} would be lost" in line


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--format", "cocoa"], "did you mean 'coco'?"),
        (["--classes", "doge"], "no class 'doge': did you mean 'dog'?"),
        (["--device", "gpu"], "no device 'gpu'"),
        (["--shard", "3/2"], "expected K/N"),
        (["-", "--shard", "1/2"], "- cannot be shared by several processes"),
    ],
)
def test_options_that_are_none(refused, photo, options, words):
    assert words in refused(photo, *options)


@pytest.mark.parametrize("threshold", ["1.5", "-0.1", "nan", "high"])
def test_threshold_that_is_none(photo, tmp_path, capsys, threshold):
    with pytest.raises(SystemExit) as caught:
        main(["predict", str(photo), f"--score-threshold={threshold}"])
    assert caught.value.code == 2 and f"{threshold}: expected a number in [0, 1]" in capsys.readouterr().err


def test_read_image_is_what_the_command_sees(photo):
    assert read_image(photo).shape == (3, 70, 110)
