"""Many images in parts: by several processes, stopped and gone on with, what is finished is not done again."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from argparse import Namespace
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from detzoo.predict import command, pipeline
from detzoo.predict.outputs import picture_path
from detzoo.predict.shards import FOLDER, OPTIONS, Part, Shards, fingerprint, part_of, under_torchrun, write_shard
from detzoo.predict.sources import Item

pytestmark = pytest.mark.usefixtures("one_thread")


def items(*names):
    return [Item(name, name, "image") for name in names]


@pytest.mark.parametrize(
    ("text", "environment", "part"),
    [
        (None, {}, (0, 1)),
        (None, {"RANK": "2", "WORLD_SIZE": "4"}, (2, 4)),
        ("3/4", {}, (2, 4)),
        ("1/1", {"RANK": "0", "WORLD_SIZE": "1"}, (0, 1)),
    ],
)
def test_part(text, environment, part):
    assert part_of(text, environment) == part


@pytest.mark.parametrize("text", ["0/2", "3/2", "2", "a/b", "-1/2", "1/2/3", ""])
def test_part_that_is_none(text):
    with pytest.raises(ValueError, match="expected K/N"):
        part_of(text, {})


def test_part_said_twice():
    with pytest.raises(ValueError, match="say one of them"):
        part_of("1/2", {"RANK": "0", "WORLD_SIZE": "2"})


@pytest.mark.parametrize(
    ("environment", "answer"),
    [
        ({}, False),
        ({"WORLD_SIZE": "1"}, False),
        ({"WORLD_SIZE": "2", "RANK": "0"}, True),
        ({"WORLD_SIZE": "1", "TORCHELASTIC_RUN_ID": "none"}, True),
    ],
)
def test_under_torchrun(environment, answer):
    assert under_torchrun(environment) is answer


def test_of_processes_that_begin_at_the_same_time_one_notes_its_options(tmp_path):
    """The others see what it noted, whole."""
    started = threading.Barrier(8)

    def begin(number):
        started.wait()
        try:
            Shards(tmp_path / "out", 1, Part(number, 8)).begin({"top": number, "long": "x" * 10_000}, resume=True)
        except ValueError as error:
            return str(error)

    for _ in range(5):
        with ThreadPoolExecutor(8) as pool:
            refused = list(pool.map(begin, range(8)))
        noted = json.loads((tmp_path / "out" / FOLDER / OPTIONS).read_text())["top"]
        assert [number for number, error in enumerate(refused) if error is None] == [noted]
        assert all(f"(top was {noted}, is {k})" in error for k, error in enumerate(refused) if k != noted)
        assert [path.name for path in (tmp_path / "out").iterdir()] == [FOLDER], "nothing is left of the others"
        shutil.rmtree(tmp_path / "out")


def test_options_that_are_gone(tmp_path):
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "mine.txt").touch()
    with pytest.raises(ValueError, match=r"options.json in it cannot be read .*: delete this folder"):
        Shards(tmp_path, 1, Part(0, 1)).begin({}, resume=True)


def test_long_options_are_cut_in_messages(tmp_path):
    Shards(tmp_path, 1, Part(0, 1)).begin({"sources": ["x.jpg"] * 1000}, resume=True)
    with pytest.raises(ValueError, match=r"sources was \['x.jpg', .*\.\.\., is \['y'\]\)") as caught:
        Shards(tmp_path, 1, Part(0, 1)).begin({"sources": ["y"]}, resume=True)
    assert len(str(caught.value)) < 400 + len(str(tmp_path))


@pytest.mark.parametrize("how", ["remove", "remove_if_empty"])
def test_only_what_was_written_is_removed(tmp_path, how):
    shards = Shards(tmp_path, 1, Part(0, 1))
    shards.begin({}, resume=False)
    theirs = [shards.folder / name for name in ("notes.txt", "2024.jsonl", "deep")]
    theirs[0].touch()
    theirs[1].touch()
    theirs[2].mkdir()
    (shards.folder / f".000000-x.{'0' * 32}.part.jsonl").touch()
    if how == "remove":
        write_shard(shards.folder / f"000000-{'0' * 16}.jsonl", [])
    getattr(shards, how)()
    assert sorted(shards.folder.iterdir()) == sorted(theirs)
    for path in theirs[:2]:
        path.unlink()
    theirs[2].rmdir()
    shards.remove()
    assert not shards.folder.exists()


def test_each_shard_is_of_one_process(tmp_path):
    names = [f"{number}.jpg" for number in range(23)]
    done, everything = [], []
    for index in range(3):
        shards = Shards(tmp_path, 5, Part(index, 3))
        done += [(shard.path, [item.path for item in shard.items]) for shard in shards.mine(iter(items(*names)))]
        everything.append(shards.all)
    assert everything[0] == everything[1] == everything[2] == sorted(path for path, _ in done)
    assert sum((paths for _, paths in sorted(done)), []) == names


def test_finished_shards_are_left_out_unless_their_images_have_changed(tmp_path):
    shards = Shards(tmp_path, 2, Part(0, 1))
    for shard in shards.mine(items(*"abcdef")):
        write_shard(shard.path, [])
    assert shards.are_finished() and list(shards.mine(items(*"abcdef"))) == []
    (changed,) = shards.mine(items(*"abxdef"))
    assert [item.path for item in changed.items] == ["x", "d"] and not shards.are_finished()
    write_shard(changed.path, [])
    shards.clean()
    assert sorted((tmp_path / FOLDER).iterdir()) == sorted(shards.all)


def test_a_shard_has_its_name_when_all_is_in_it(tmp_path):
    def records():
        yield {"image": "a"}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shard(tmp_path / "0.jsonl", records())
    assert list(tmp_path.iterdir()) == []


def test_fingerprint(model):
    before = fingerprint(model)
    assert before == fingerprint(model)
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] += 1e-3
    assert fingerprint(model) != before


def test_what_no_state_dict_has_is_in_the_fingerprint(model):
    hashes = [fingerprint(model), fingerprint(model, ["cat"]), fingerprint(model, ["dog"])]
    model.preprocess.mean += 1e-6  # less than is shown of it
    hashes.append(fingerprint(model))
    model.postprocess.iou_threshold = 0.3
    hashes.append(fingerprint(model))
    assert len(set(hashes)) == 5


def test_where_a_part_lies_is_not_in_the_fingerprint():
    class Part(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.maker = object()

        def extra_repr(self):
            return f"made by {self.maker!r}"

    one, other = Part(), Part()
    assert repr(one) != repr(other)
    assert fingerprint(one) == fingerprint(other)


@pytest.mark.parametrize(
    ("name", "picture"),
    [
        ("a.jpg", "a.jpg_detections.jpg"),
        ("in/a.png", "in/a.png_detections.jpg"),
        ("a.png.jpg", "a.png.jpg_detections.jpg"),
        ("x", "x_detections.jpg"),
    ],
)
def test_pictures_have_names_of_their_own(tmp_path, name, picture):
    assert picture_path(tmp_path, name, ".jpg") == tmp_path / picture


# ---- the command ----


def lines(folder):
    return (folder / "detections.jsonl").read_text()


TABLES = ("--format", "jsonl", "pictures", "--shard-size", 2)


def test_two_processes_find_what_one_finds(predict, photos, tmp_path, capsys):
    (photos / "b.JPG").write_bytes(b"")
    assert predict(photos, *TABLES, output=tmp_path / "one") == 1
    assert not (tmp_path / "one" / FOLDER).exists()
    assert predict(photos, *TABLES, "--shard", "1/2", output=tmp_path / "two") == 1
    assert not (tmp_path / "two" / "detections.jsonl").exists(), "the other one is not there yet"
    capsys.readouterr()
    assert predict(photos, *TABLES, "--shard", "2/2", output=tmp_path / "two") == 1, "the other one saw it"
    told = capsys.readouterr()
    assert told.out == "" and "4 images, " in told.err and "1 unreadable in all, written: " in told.err
    assert lines(tmp_path / "one") == lines(tmp_path / "two")
    pictures = [sorted(path.name for path in (tmp_path / name).rglob("*.jpg")) for name in ("one", "two")]
    assert pictures[0] == pictures[1] and len(pictures[0]) == 4


class Stopped(BaseException):
    """As a kill would, in one process."""


def test_a_run_that_was_stopped_goes_on(predict, photos, tmp_path, monkeypatch, capsys):
    assert predict(photos, *TABLES, output=tmp_path / "one") == 0
    out, decode = tmp_path / "out", pipeline.decode
    read, seen = "detzoo.predict.pipeline.decode", []

    def stop_at_d(file, name):
        seen.append(name)
        if name.endswith("d.jpg"):
            raise Stopped
        return decode(file, name)

    monkeypatch.setattr(read, stop_at_d)
    with pytest.raises(Stopped):
        predict(photos, *TABLES)
    assert len(list((out / FOLDER).glob("0*.jsonl"))) == 1

    def note(file, name):
        seen.append(name)
        return decode(file, name)

    monkeypatch.setattr(read, note)
    capsys.readouterr()
    assert predict(photos, *TABLES) == 2
    assert "holds a run that was not finished: --resume goes on with it" in capsys.readouterr().err
    seen.clear()
    assert predict(photos, *TABLES, "--resume", threshold=0.06) == 2
    assert "other options (score_threshold was 0.05, is 0.06)" in capsys.readouterr().err
    assert predict(photos, *TABLES, "--resume") == 0
    assert [os.path.basename(name) for name in seen] == ["c.png", "d.jpg", "z.bmp"]
    assert lines(out) == lines(tmp_path / "one")
    seen.clear()
    assert predict(photos, *TABLES, "--resume") == 0 and seen == [], "all is done"
    Image.new("RGB", (50, 50)).save(photos / "zz.png")
    assert predict(photos, *TABLES, "--resume") == 0
    assert [os.path.basename(name) for name in seen] == ["z.bmp", "zz.png"], "the shard that has grown"


def test_other_weights_are_other_options(predict, photos, model, small_config, checkpoint, capsys):
    from detzoo.models.checkpoint import model_record, save_checkpoint

    assert predict(photos, "--resume", "--quiet") == 0
    with torch.no_grad():
        next(model.parameters()).mul_(2)
    save_checkpoint(checkpoint, model_record(model, small_config))
    capsys.readouterr()
    assert predict(photos, "--resume") == 2
    assert "other options (weights was " in capsys.readouterr().err


def test_other_sources_are_other_options(predict, photos, capsys):
    assert predict(photos / "in", *TABLES, "--resume") == 0
    capsys.readouterr()
    assert predict(photos, *TABLES, "--resume") == 2
    assert "other options (sources was " in capsys.readouterr().err


def test_names_and_default_boxes_are_in_no_state_dict(predict, photo, model, small_config, checkpoint, capsys):
    from detzoo.categories import Categories
    from detzoo.models.checkpoint import model_record, save_checkpoint

    assert predict(photo, "--resume", "--quiet") == 0
    before = model.categories
    model.categories = Categories(("cow", "dog"), (17, 18))
    save_checkpoint(checkpoint, model_record(model, small_config))
    assert predict(photo, "--resume", "--quiet") == 2
    model.categories = before
    default_boxes = {**small_config.default_boxes, "scales": (0.2, 0.5, 0.8)}
    save_checkpoint(checkpoint, model_record(model, replace(small_config, default_boxes=default_boxes)))
    assert predict(photo, "--resume", "--quiet") == 2
    assert capsys.readouterr().err.count("other options (weights was ") == 2


def test_calibration_is_an_option_like_others(predict, photo, photos, monkeypatch, capsys):
    """Numbers of int8 depend on it; here, nothing else does."""
    made = command._detector
    monkeypatch.setattr(command, "_detector", lambda options: made(Namespace(**{**vars(options), "calibration": None})))
    assert predict(photo, "--resume", "--quiet", "--calibration", photos) == 0
    assert predict(photo, "--resume", "--quiet", "--calibration", photos / "in") == 2
    assert "other options (calibration was " in capsys.readouterr().err


def test_a_broken_image_does_not_end_the_others(predict, photos, monkeypatch, capsys):
    """torchrun ends all processes when one of them ends with an error."""
    (photos / "a.png").write_bytes(b"")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert predict(photos, "--quiet") == 0
    assert "exit status 0 in spite of 1 unreadable" in capsys.readouterr().err


@pytest.mark.slow
def test_torchrun_with_a_broken_image_in_the_short_part(tmp_path, checkpoint):
    """The process that is done at once must not end the other one."""
    folder, out = tmp_path / "photos", tmp_path / "out"
    folder.mkdir()
    for number in range(40):
        pixels = np.random.default_rng(number).integers(0, 256, (600, 800, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03d}.png")
    (folder / "040.png").write_bytes(b"broken")
    line = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "detzoo"]
    line += ["predict", str(folder), "--model", str(checkpoint), "--output", str(out), "--shard-size", "40"]
    line += ["--format", "jsonl", "--workers", "1", "--device", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    found = [json.loads(line) for line in lines(out).splitlines()]
    assert len(found) == 41 and [line["image"] for line in found if "error" in line] == [str(folder / "040.png")]


def test_interrupted_by_hand(predict, photos, tmp_path, monkeypatch, capsys):
    def interrupt(file, name):
        raise KeyboardInterrupt

    monkeypatch.setattr("detzoo.predict.pipeline.decode", interrupt)
    assert predict(photos) == 130
    assert "the same line with --resume goes on with it" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == [], "nothing was finished, and nothing is in the way"


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc"), reason="finds what torchrun started in /proc, which is not here")
def test_killed_under_torchrun_and_started_again(tmp_path, checkpoint):
    """Two processes, killed hard in the middle; the same line goes on, to what one process finds."""
    folder, out = tmp_path / "photos", tmp_path / "two"
    folder.mkdir()
    for number in range(96):
        pixels = np.random.default_rng(number).integers(0, 256, (300, 400, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03d}.jpg")
    (folder / "050.jpg").write_bytes(b"broken")
    options = ["predict", str(folder), "--model", str(checkpoint), "--score-threshold", "0.34", "--quiet"]
    options += ["--shard-size", "4", "--format", "jsonl", "coco", "--workers", "1", "--device", "cpu"]
    alone = [sys.executable, "-m", "detzoo", *options]
    several = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "detzoo"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    begun = subprocess.Popen([*several, *options, "--output", str(out)], env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(list(out.glob(f"{FOLDER}/0*.jsonl"))) < 2 and begun.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    begun.kill()
    begun.wait()
    _kill_those_that_write_to(out)
    finished = {path: path.stat().st_mtime_ns for path in out.glob(f"{FOLDER}/0*.jsonl")}
    assert 2 <= len(finished) < 24 and not (out / "detections.jsonl").exists()

    line = [*several, *options, "--output", str(out)]
    assert subprocess.run(line, env=environment, capture_output=True, timeout=300).returncode == 0
    single = subprocess.run(
        [*alone, "--output", str(tmp_path / "one")], env=environment, capture_output=True, text=True
    )
    assert single.returncode == 1 and "95 images, " in single.stderr and "1 unreadable" in single.stderr
    for name in ("detections.jsonl", "coco_detections.json", "coco_images.json"):
        assert (out / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
    assert len(json.loads((out / "coco_images.json").read_text())["images"]) == 95
    assert {path: path.stat().st_mtime_ns for path in finished} == finished, "they were not done again"
    assert not list(out.glob(f"{FOLDER}/.*")), "what the killed ones left is gone"


def _kill_those_that_write_to(folder):
    """The workers, which go on without torchrun."""
    for process in (entry for entry in os.listdir("/proc") if entry.isdecimal()):
        with suppress(OSError), open(f"/proc/{process}/cmdline", "rb") as file:
            if os.fsencode(str(folder)) in file.read():
                os.kill(int(process), signal.SIGKILL)
    time.sleep(0.5)


def test_the_output_can_be_moved(predict, photos, tmp_path):
    """Nothing in a shard says where it lies."""
    assert predict(photos, *TABLES, "--resume", output=tmp_path / "one") == 0
    shutil.move(tmp_path / "one", tmp_path / "two")
    before = lines(tmp_path / "two")
    assert predict(photos, *TABLES, "--resume", output=tmp_path / "two") == 0
    assert lines(tmp_path / "two") == before
