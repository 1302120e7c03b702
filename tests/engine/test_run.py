"""The start of a run: device, folder, seed, precision, and what is refused before anything is written."""

import logging
import random

import numpy as np
import pytest
import torch

from detzoo.engine.run import machine, start_run

pytestmark = pytest.mark.usefixtures("runs_leave_no_trace")


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)


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
    assert "no device 'cuda': PyTorch sees 0 GPUs here; auto and cpu are others" in refusal(
        device="cuda", folder=str(folder)
    )
    assert "device='gpu': expected auto, cpu, cuda" in refusal(device="gpu", folder=str(folder))
    assert "precision='half': expected one of auto, float32, bfloat16, float16" in refusal(
        precision="half", folder=str(folder)
    )
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
    assert "holds a run already: say resume=auto to go on with it" in refusal(folder=str(tmp_path))
    with start(resume=str(tmp_path)) as run:
        assert run.folder == tmp_path
    with start(resume=str(tmp_path), folder=f"{tmp_path}/."):  # said twice, meant once
        pass


def test_nothing_to_resume(tmp_path):
    assert "there is no last.pt" in refusal(resume=str(tmp_path))
    assert "there is no last.pt" in refusal(resume=str(tmp_path / "missing"))
    (tmp_path / "last.pt").touch()
    assert "differ: a run goes on in its own folder" in refusal(resume=str(tmp_path), folder=str(tmp_path / "other"))


def test_two_runs_in_one_second_have_two_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("detzoo.engine.folder.time.strftime", lambda form: "20260101-100000")
    with start() as one, start() as other:
        assert [run.folder.name for run in (one, other)] == ["test-20260101-100000", "test-20260101-100000-2"]
        (one.folder / "config.yaml").touch()
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["test-20260101-100000"], "an empty one is no run"


def test_a_refused_start_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="refused"), start():
        raise ValueError("refused")
    assert list(tmp_path.iterdir()) == []


def test_auto_leaves_a_finished_run_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / "test-20260101-100000"
    folder.mkdir(parents=True)
    (folder / "last.pt").touch()
    (folder / "log.csv").write_text("epoch,loss\n1,0.5\n2,0.25\n")
    for epochs, goes_on in ((3, True), (2, False), (None, True)):
        with start(resume="auto", epochs=epochs) as run:
            assert run.goes_on is goes_on and (run.folder.name == folder.name) is goes_on


def test_auto_goes_on_with_what_is_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with start(resume="auto") as run:
        assert not run.goes_on and run.folder.name.startswith("test-")
    times = ("20260101-100000", "20260102-100000", "20260103-100000")
    for time in times:
        (tmp_path / "runs" / f"test-{time}").mkdir(parents=True)
    (tmp_path / "runs" / "test-more-20270101-100000").mkdir()  # a run of another name
    for path in (f"test-{times[0]}", f"test-{times[1]}", "test-more-20270101-100000"):
        (tmp_path / "runs" / path / "last.pt").touch()
    with start(resume="auto") as run:  # the last one was killed before its first checkpoint
        assert run.goes_on and run.folder.name == f"test-{times[1]}"
    for folder, goes_on in ((tmp_path / "runs" / f"test-{times[0]}", True), (tmp_path / "new", False)):
        with start(resume="auto", folder=str(folder)) as run:
            assert run.goes_on is goes_on and run.folder == folder


def test_a_folder_to_throw_away_is_gone(tmp_path):
    with start(throw_away=True) as run:
        assert run.temporary and not run.goes_on and run.folder.is_dir()
        (run.folder / "last.pt").touch()
    assert not run.folder.exists()


def test_seed_fixes_all_generators(tmp_path):
    def draw(seed):
        with start(seed=seed, folder=str(tmp_path)):
            return random.random(), np.random.random(), torch.rand(1).item()

    assert draw(1) == draw(1)
    assert all(one != other for one, other in zip(draw(1), draw(2)))


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("float32", torch.float32), ("bfloat16", torch.bfloat16), ("float16", torch.float16)],
)
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
    assert captured.err == "cpu, float32\n" * 2 + "a line\n" and captured.out == ""


def test_machine_is_plain_data():
    facts = machine(torch.device("cpu"))
    assert facts["torch"] == torch.__version__ and facts["processes"] == 1 and facts["processor"]
    assert all(isinstance(fact, (str, int)) for fact in facts.values())
