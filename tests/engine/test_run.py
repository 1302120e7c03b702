"""The start of a run: device, folder, seed, precision, and what is refused before anything is written."""

import logging
import random

import numpy as np
import pytest
import torch

from detzoo.engine import run as run_module
from detzoo.engine.run import machine, start_run


@pytest.fixture(autouse=True)
def leave_the_process_alone(monkeypatch):
    """Put the logger back as it was, and leave glibc and the environment out of it."""
    logger = logging.getLogger("detzoo")
    state = logger.handlers[:], logger.propagate, logger.level
    monkeypatch.setattr(run_module, "_keep_freed_memory", lambda: None)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    yield
    logger.handlers[:], logger.propagate = state[:2]
    logger.setLevel(state[2])


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def start(**options):
    return start_run(**{"name": "test", "device": "cpu", "seed": 0, **options})


def refusal(**options) -> str:
    with pytest.raises(ValueError) as caught:
        with start(**options):
            pass
    return str(caught.value)


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_device_without_a_gpu(no_gpu, tmp_path, device):
    with start(device=device, folder=str(tmp_path)) as run:
        assert run.device == torch.device("cpu")


def test_device_that_is_not_there(no_gpu, tmp_path):
    folder = tmp_path / "run"
    assert "no GPU that torch can use: say device=cpu" in refusal(device="cuda", folder=str(folder))
    assert "device='gpu': expected auto, cpu or cuda" in refusal(device="gpu", folder=str(folder))
    assert "precision='half': expected one of float32, bfloat16" in refusal(precision="half", folder=str(folder))
    assert not folder.exists()


def test_folder_is_named_but_not_made_before_something_is_written(tmp_path):
    with start(folder=str(tmp_path / "a" / "b")) as run:
        assert run.folder == tmp_path / "a" / "b" and not run.folder.exists()
    with start(folder=str(tmp_path / "a" / "b")):  # a run that failed before its first checkpoint is no run
        pass


def test_folder_by_default(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with start(name="mine") as run:
        assert run.folder.parent.name == "runs" and run.folder.name.startswith("mine-")
        assert run.folder.resolve().parents[1] == tmp_path.resolve()


def test_folder_that_holds_a_run(tmp_path):
    (tmp_path / "last.pt").touch()
    assert f"holds a run already: say resume={tmp_path}" in refusal(folder=str(tmp_path))
    with start(resume=str(tmp_path)) as run:
        assert run.folder == tmp_path
    with start(resume=str(tmp_path), folder=f"{tmp_path}/."):  # said twice, meant once
        pass


def test_nothing_to_resume(tmp_path):
    assert "there is no last.pt" in refusal(resume=str(tmp_path))
    assert "there is no last.pt" in refusal(resume=str(tmp_path / "missing"))
    (tmp_path / "last.pt").touch()
    assert "differ: a run goes on in its own folder" in refusal(resume=str(tmp_path), folder=str(tmp_path / "other"))


def test_seed_fixes_all_generators(tmp_path):
    def draw(seed):
        with start(seed=seed, folder=str(tmp_path)):
            return random.random(), np.random.random(), torch.rand(1).item()

    assert draw(1) == draw(1)
    assert all(one != other for one, other in zip(draw(1), draw(2)))


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_precision(tmp_path, precision, dtype):
    with start(folder=str(tmp_path), precision=precision) as run, run.autocast():
        assert torch.nn.functional.linear(torch.ones(1, 2), torch.ones(3, 2)).dtype == dtype


def test_alone_a_model_is_not_wrapped(tmp_path):
    model = torch.nn.Linear(1, 1)
    with start(folder=str(tmp_path)) as run:
        assert run.distribute(model) is model


def test_log_goes_to_standard_error(tmp_path, capfd):
    with start(folder=str(tmp_path)), start(folder=str(tmp_path)):
        logging.getLogger("detzoo").info("a line")
    captured = capfd.readouterr()
    assert captured.err == "a line\n" and captured.out == ""


def test_machine_is_plain_data():
    facts = machine()
    assert facts["torch"] == torch.__version__ and facts["processes"] == 1 and facts["processor"]
    assert all(isinstance(fact, (str, int)) for fact in facts.values())
