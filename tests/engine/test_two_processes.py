"""One step of two processes is one step of one process with the same batch: losses, gradients, batch statistics."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from detzoo import distributed
from detzoo.data import Batch, SyntheticDataset, training_loader
from detzoo.data.transforms import Augmentation
from detzoo.engine.run import Run
from detzoo.engine.sync_norm import GatheredBatchNorm2d, synchronise_batch_norm
from detzoo.engine.train import Updater
from detzoo.models import SSDConfig, build_ssd
from detzoo.structures import PaddedTargets

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
STEPS = 6


def learn(config: SSDConfig) -> dict[str, torch.Tensor]:
    """Losses and gradients of a few steps of gradient descent, and the model in the end."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    shapes = SyntheticDataset(8, size=(96, 96))
    model = synchronise_batch_norm(build_ssd(config, categories=shapes.categories), CPU).double().train()
    trainee = DistributedDataParallel(model) if distributed.is_distributed() else model
    loader, seen = training_loader(shapes, (96, 96), Augmentation(iou_crop=True), batch_size=4), {}
    for number in range(STEPS):
        loader.begin(number)
        batch = next(iter(loader))
        model.zero_grad()
        losses = trainee(batch.images, batch.targets)
        sum(losses.values()).backward()
        seen |= {f"{name} {number}": distributed.mean_tensor(loss.detach()) for name, loss in losses.items()}
        seen |= {f"{name} {number}": p.grad.clone() for name, p in model.named_parameters()}
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 0.01 * parameter.grad
    return seen | model.state_dict()


def work(rank: int, config: SSDConfig, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    torch.save(learn(config), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


LOSSES = {
    "plain": {"name": "multibox"},
    "more negatives": {"name": "multibox", "minimum_negatives": 40},
    "focal": {"name": "focal"},
    "quality focal, GIoU": {"name": "quality_focal", "box": "giou"},
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_two_processes_are_one(small_config, tmp_path, one_thread, loss):
    config = SSDConfig(**{**small_config.as_dict(), "loss": loss})
    expected = learn(config)
    torch.multiprocessing.spawn(work, (config, str(tmp_path)), nprocs=2)
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert found.keys() == expected.keys()
        for name, tensor in expected.items():
            torch.testing.assert_close(found[name], tensor, rtol=1e-6, atol=1e-7, msg=lambda m, n=name: f"{n}: {m}")


class Slope(nn.Module):
    """A loss that is linear in one weight, and a mean over images."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.5))

    def forward(self, images, targets):
        return {"a": (self.weight * images.float()).mean()}


def step_in_parts(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    trainee = DistributedDataParallel(Slope())
    optimizer = torch.optim.SGD(trainee.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    updater = Updater(trainee, optimizer, schedule, Run(CPU, Path(folder)), scaler, accumulate=2)
    images = torch.tensor([[10, 20], [30, 100]][rank], dtype=torch.uint8)[:, None, None, None]
    targets = PaddedTargets(torch.zeros(2, 1, 4), torch.zeros(2, 1), torch.zeros(2, 1))
    exchanges = []
    trainee.register_comm_hook(None, lambda _, bucket: exchanges.append(1) or mean_of(bucket))
    updater.step(Batch(images, targets, torch.arange(2)))
    torch.save({"weight": trainee.module.weight.detach(), "exchanges": len(exchanges)}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def mean_of(bucket) -> torch.futures.Future:
    done = dist.all_reduce(bucket.buffer().div_(2), async_op=True).get_future()
    return done.then(lambda future: future.value()[0])


def test_parts_of_a_step_are_exchanged_once(tmp_path):
    torch.multiprocessing.spawn(step_in_parts, (str(tmp_path),), nprocs=2)
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert found["weight"].item() == pytest.approx(0.5 - 0.1 * 40) and found["exchanges"] == 1


def test_alone_it_is_batch_norm(one_thread):
    torch.manual_seed(0)
    plain = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4, momentum=0.3))
    expected = plain[1]
    gathered = synchronise_batch_norm(plain, CPU)[1]
    assert isinstance(gathered, GatheredBatchNorm2d) and gathered.momentum == 0.3
    assert gathered.weight is expected.weight and gathered.running_mean is expected.running_mean
    x = torch.rand(2, 4, 3, 3)
    assert torch.equal(gathered(x), torch.nn.functional.batch_norm(x, None, None, training=True))


JOIN = """
from detzoo.engine.run import start_processes
print("ready", flush=True)
with start_processes("cpu"):
    print("joined")
"""


def test_processes_started_again_do_not_wait_for_the_dead(monkeypatch):
    """torchrun keeps its store over restarts: whoever comes back first finds where processes listened that are gone."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True)
    told = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "WORLD_SIZE": "2", "GROUP_WORLD_SIZE": "1"}
    for name, value in (told | {"TORCHELASTIC_USE_AGENT_STORE": "True"}).items():
        monkeypatch.setenv(name, value)

    def start(rank: int) -> subprocess.Popen:
        environment = os.environ | {"RANK": str(rank), "TORCHELASTIC_RESTART_COUNT": str(restart)}
        process = subprocess.Popen([sys.executable, "-c", JOIN], env=environment, stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "ready\n"
        return process

    for restart in range(2):
        first = start(1)
        time.sleep(3 * restart)  # while it asks the store for rank 0, where an answer of the last start would be
        for process in (first, start(0)):
            assert process.communicate(timeout=60)[0] == "joined\n"
