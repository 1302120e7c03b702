"""Devices by name."""

import pytest
import torch

from detzoo.devices import choose_device
from detzoo.engine.run import start_processes


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.parametrize(
    ("name", "rank", "device"),
    [("auto", "1", "cuda:1"), ("cuda", "3", "cuda:1"), ("cuda:0", "1", "cuda:0"), ("cpu", "1", "cpu")],
)
def test_a_gpu_for_each_process(two_gpus, monkeypatch, name, rank, device):
    monkeypatch.setenv("LOCAL_RANK", rank)
    assert choose_device(name) == torch.device(device)


@pytest.mark.parametrize("name", ["gpu", "mps", "cuda:", "cuda:x", "cpu:5", "meta", ""])
def test_other_devices_are_refused(two_gpus, name):
    with pytest.raises(ValueError, match="no device .*: expected auto, cpu, cuda or cuda:N"):
        choose_device(name)
    with pytest.raises(ValueError, match="no device 'cuda:2': PyTorch sees 2 GPUs here"):
        choose_device("cuda:2")


def test_a_gpu_that_pytorch_cannot_use(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert choose_device("auto") == torch.device("cpu")
    with pytest.raises(ValueError, match="no device 'cuda': PyTorch sees 0 GPUs here"):
        choose_device("cuda")


def test_processes_do_not_share_a_gpu_in_training(two_gpus, monkeypatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    with pytest.raises(ValueError, match="4 processes here, and PyTorch sees 2 GPUs: --nproc-per-node=2"):
        with start_processes("cuda"):
            pass
