"""Many images in parts: by several processes, stopped and gone on with, what is finished is not done again."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress

import numpy as np
import pytest
import torch
from PIL import Image

from detzoo.predict import pipeline
from detzoo.predict.outputs import picture_path
from detzoo.predict.shards import Part, Shards, fingerprint, part_of, write_shard
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
    assert sorted((tmp_path / "shards").iterdir()) == sorted(shards.all)


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


@pytest.mark.parametrize(
    ("name", "picture"),
    [("a.jpg", "a_detections.jpg"), ("in/a.png", "in/a.png_detections.jpg"), ("x", "x_detections.jpg")],
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
    assert not (tmp_path / "one" / "shards").exists()
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
    assert len(list((out / "shards").glob("0*.jsonl"))) == 1

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
    while len(list(out.glob("shards/0*.jsonl"))) < 2 and begun.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    begun.kill()
    begun.wait()
    _kill_those_that_write_to(out)
    finished = {path: path.stat().st_mtime_ns for path in out.glob("shards/0*.jsonl")}
    assert 2 <= len(finished) < 24 and not (out / "detections.jsonl").exists()

    subprocess.run([*several, *options, "--output", str(out)], env=environment, capture_output=True, timeout=300)
    single = subprocess.run(
        [*alone, "--output", str(tmp_path / "one")], env=environment, capture_output=True, text=True
    )
    assert single.returncode == 1 and "95 images, " in single.stderr and "1 unreadable" in single.stderr
    for name in ("detections.jsonl", "coco_detections.json", "coco_images.json"):
        assert (out / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
    assert len(json.loads((out / "coco_images.json").read_text())["images"]) == 95
    assert {path: path.stat().st_mtime_ns for path in finished} == finished, "they were not done again"
    assert not list(out.glob("shards/.*")), "what the killed ones left is gone"


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
