"""Folders as the Hugging Face hub has them, there and back; the hub itself is a folder here."""

import json
import shutil
import sys
import types

import pytest
import torch

import detzoo
from detzoo import Detector
from detzoo.models.checkpoint import SAVED
from detzoo.predict.pretrained import CARD, CONFIG

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A client of the hub whose repositories are folders."""
    monkeypatch.chdir(tmp_path)  # "me/cells" is no path here
    root, said = tmp_path / "hub", []

    class HfApi:
        def __init__(self, token=None):
            said.append(token)

        def create_repo(self, repo_id, *, private, exist_ok):
            (root / repo_id).mkdir(parents=True, exist_ok=exist_ok)
            said.append(private)
            return f"hub/{repo_id}"

        def upload_folder(self, *, repo_id, folder_path, commit_message):
            shutil.copytree(folder_path, root / repo_id, dirs_exist_ok=True)
            said.append(commit_message)

    def snapshot_download(repo_id, *, revision=None, allow_patterns=None):
        assert allow_patterns == [SAVED, CONFIG]
        said.append(revision)
        if not (root / repo_id).is_dir():
            raise OSError("404: no such repository")
        return str(root / repo_id)

    client = types.SimpleNamespace(HfApi=HfApi, snapshot_download=snapshot_download, root=root, said=said)
    monkeypatch.setitem(sys.modules, "huggingface_hub", client)
    return client


def check_same(one, other, photo):
    found = [detector(photo).found for detector in (one, other)]
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0]) and len(found[0]["labels"]) > 10


def test_from_pretrained(detector, checkpoint, photo):
    for source in (checkpoint, str(checkpoint.parent)):
        check_same(Detector.from_pretrained(source, score_threshold=0.05), detector, photo)


def test_there_and_back(detector, photo, tmp_path):
    folder = detector.save_pretrained(tmp_path / "mine", licence="bsd-3-clause")
    assert sorted(path.name for path in folder.iterdir()) == sorted([CARD, CONFIG, SAVED])
    back = Detector.from_pretrained(folder, score_threshold=0.05)
    check_same(back, detector, photo)
    assert (back.names, back.ids, back.config.num_classes) == (detector.names, detector.ids, 3)
    saved = detzoo.load(folder)
    assert saved.postprocess.score_threshold == detector.model.postprocess.score_threshold, (
        "thresholds stay the model's"
    )
    assert json.loads((folder / CONFIG).read_text())["categories"]["names"] == ["cat", "dog"]
    back.save_pretrained(folder)
    check_same(Detector.from_pretrained(folder, score_threshold=0.05), detector, photo)


def test_card(detector, tmp_path):
    text = (detector.save_pretrained(tmp_path / "mine", licence="mit") / CARD).read_text()
    _, head, body = text.split("---\n")
    assert "library_name: detzoo\n" in head and "pipeline_tag: object-detection\n" in head and "license: mit\n" in head
    assert "Classes: cat, dog." in body and 'Detector.from_pretrained("mine")' in body and "96x96 pixels" in body
    assert "license" not in (detector.save_pretrained(tmp_path / "other") / CARD).read_text()
    assert "license: mit\n" in (detector.save_pretrained(tmp_path / "mine") / CARD).read_text(), "saved once more"
    assert "license" not in (detector.save_pretrained(tmp_path / "mine", licence="") / CARD).read_text()


def test_files_of_others_are_not_replaced(detector, photo, tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    mine = {CARD: b"# My project\n", CONFIG: b'{"format": "json"}', SAVED: b"weights of something else"}
    for name, content in mine.items():
        (folder / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"^{folder / name} would be lost: .*overwrite=True"):
            detector.save_pretrained(folder)
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == {name: content}
        (folder / name).unlink()
    for name, content in mine.items():
        (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match="README.md would be lost"):
        detector.save_pretrained(folder)
    detector.save_pretrained(folder, overwrite=True)
    check_same(Detector.from_pretrained(folder, score_threshold=0.05), detector, photo)


def test_a_model_without_config_cannot_be_saved(model, tmp_path):
    with pytest.raises(ValueError, match=r"config .* not known: Detector\(model, config=...\)"):
        Detector(model).save_pretrained(tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


def test_to_the_hub_and_back(detector, hub, photo):
    assert detector.push_to_hub("me/cells", private=True, token="secret", message="cells") == "hub/me/cells"
    assert hub.said == ["secret", True, "cells"]
    assert 'Detector.from_pretrained("me/cells")' in (hub.root / "me" / "cells" / CARD).read_text()
    back = Detector.from_pretrained("me/cells", revision="v1", score_threshold=0.05)
    check_same(back, detector, photo)
    assert hub.said[-1] == "v1"


def test_what_is_here_is_not_looked_for_there(detector, hub, tmp_path):
    detector.save_pretrained(tmp_path / "me" / "cells")
    Detector.from_pretrained("me/cells")
    with pytest.raises(FileNotFoundError, match="no file at me/cels"):
        Detector.from_pretrained("me/cels")  # beside a folder that is there: mistyped
    assert hub.said == []


def test_what_is_in_neither_place(hub, tmp_path, detector):
    with pytest.raises(ValueError, match="no file or folder 'you/dogs' here, and not to be had from the hub: 404"):
        Detector.from_pretrained("you/dogs")
    (hub.root / "you" / "else").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"you/else on the hub has no model.safetensors"):
        Detector.from_pretrained("you/else")
    with pytest.raises(ValueError, match="revision='v1' is for owner/name on the hub"):
        Detector.from_pretrained(detector.save_pretrained(tmp_path / "mine"), revision="v1")
    with pytest.raises(ValueError, match="'cells' is no repository of the hub"):
        detector.push_to_hub("cells")


def test_without_the_client(detector, hub, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for call in (lambda: Detector.from_pretrained("me/cells"), lambda: detector.push_to_hub("me/cells")):
        with pytest.raises(ValueError, match=r"pip install 'detzoo\[hub\]'"):
            call()


def test_the_real_client_takes_what_it_is_given():
    """The names of the arguments are those of huggingface_hub."""
    from inspect import signature

    client = pytest.importorskip("huggingface_hub")
    assert {"repo_id", "private", "exist_ok"} <= signature(client.HfApi.create_repo).parameters.keys()
    assert {"repo_id", "folder_path", "commit_message"} <= signature(client.HfApi.upload_folder).parameters.keys()
    assert {"repo_id", "revision", "allow_patterns"} <= signature(client.snapshot_download).parameters.keys()
    assert "token" in signature(client.HfApi.__init__).parameters
    assert issubclass(client.errors.RepositoryNotFoundError, OSError), "what is caught"
    assert issubclass(client.errors.HFValidationError, ValueError)
