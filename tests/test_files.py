"""A file is whole or not there."""

import json
import os

import pytest

from detzoo.files import replacing, sweep, write_json, write_text


def test_new_file_in_a_new_folder(tmp_path):
    path = tmp_path / "a" / "b" / "note.txt"
    write_text(path, "größer")
    assert path.read_bytes() == "größer".encode()
    assert os.listdir(path.parent) == ["note.txt"]


def test_old_file_stays_until_the_block_ends(tmp_path):
    path = tmp_path / "model.pt"
    path.write_text("old")
    with replacing(str(path)) as unfinished:
        unfinished.write_text("new")
        assert path.read_text() == "old"
        assert unfinished.parent == path.parent, "a rename is atomic within one file system only"
        assert unfinished.suffix == ".pt", "writers choose their format by it"
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["model.pt"]


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()], ids=["disk full", "Ctrl-C"])
def test_failure_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "note.txt"
    path.write_text("old")
    with pytest.raises(type(error)), replacing(path) as unfinished:
        unfinished.write_text("ne")
        raise error
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["note.txt"]


def test_failure_makes_no_file(tmp_path):
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "note.txt") as unfinished:
        unfinished.write_text("ne")
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == []


def test_what_json_cannot_hold_does_not_harm_the_old_file(tmp_path):
    path = tmp_path / "metrics.json"
    write_json(path, {"AP": 0.5})
    with pytest.raises(TypeError):
        write_json(path, {"AP": object()})
    assert json.loads(path.read_text()) == {"AP": 0.5}
    assert path.read_text() == '{\n  "AP": 0.5\n}\n'


def test_sweep_takes_what_a_killed_writer_left_and_nothing_else(tmp_path):
    for name in ("last.pt", ".hidden", f".last.{'a1' * 16}.part.pt", f".log.{'0f' * 16}.part.csv", ".x.part.pt"):
        (tmp_path / name).touch()
    sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"last.pt", ".hidden", ".x.part.pt"}
