import numpy as np
import pytest
import torch
from PIL import Image

from detzoo.categories import Categories
from detzoo.cli import main
from detzoo.models import build_ssd
from detzoo.models.checkpoint import model_record, save_checkpoint
from detzoo.predict import Detector


@pytest.fixture
def model(small_config):
    """One that never learnt anything: its scores are all about alike."""
    torch.manual_seed(0)
    return build_ssd(small_config, categories=Categories(("cat", "dog"), (17, 18))).eval()


@pytest.fixture
def detector(model, small_config):
    """Keeps enough of what that model says."""
    return Detector(model, score_threshold=0.05, batch_size=2, config=small_config)


@pytest.fixture
def checkpoint(model, small_config, tmp_path):
    """In a folder of its own, as training leaves it."""
    save_checkpoint(tmp_path / "run" / "last.pt", model_record(model, small_config))
    return tmp_path / "run" / "last.pt"


def noise(seed=0, size=(70, 110)):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


@pytest.fixture
def photo(tmp_path):
    Image.fromarray(noise()).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture
def photos(tmp_path):
    """Five good pictures in a folder and its subfolders, among files that are none."""
    folder = tmp_path / "photos"
    for seed, name in enumerate(("a.png", "b.JPG", "in/c.png", "in/deep/d.jpg", "z.bmp")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(seed)).save(folder / name)
    (folder / "in" / "notes.txt").write_text("no picture")
    (folder / ".hidden.png").write_bytes(b"nothing to see")
    return folder


@pytest.fixture
def predict(tmp_path, checkpoint, monkeypatch):
    """The command on that model; the exit status."""
    for name in ("RANK", "WORLD_SIZE", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)

    def predict(*arguments, model=checkpoint, output=tmp_path / "out", threshold=0.05):
        options = ("--model", model, "--output", output, "--score-threshold", threshold)
        return main(["predict", *map(str, arguments), *map(str, options)])

    return predict
