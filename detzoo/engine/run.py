"""A run: its processes, device, seed and folder."""

import logging
import os
import platform
import random
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torchvision
from torch import nn
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from .. import distributed
from ..allocator import tune_allocator
from ..devices import choose_device
from ..hub import DownloadError
from .folder import agree_on_folder, temporary_folder
from .precision import PRECISIONS, choose_precision, tune_for_cpu

logger = logging.getLogger("detzoo")

DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class Run:
    """Where a run computes and where it writes.

    Attributes:
        device: of this process.
        folder: the same on all ranks; rank 0 writes.
        precision: a name in `PRECISIONS`.
        goes_on: whether the folder holds a run that this one is the rest of.
        temporary: whether the folder is gone when the run ends.
    """

    device: torch.device
    folder: Path
    precision: str = "float32"
    goes_on: bool = False
    temporary: bool = False

    def distribute(self, model: nn.Module) -> nn.Module:
        """The module to call in training: the model itself, or its distributed wrapper where there are several
        processes.
        """
        if self.device.type == "cpu":
            tune_for_cpu(model, self.precision)
        if not distributed.is_distributed():
            return model
        ids = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=ids, gradient_as_bucket_view=True)

    def workers(self, wanted: int | None) -> int:
        """Loading processes beside this one: as many as wanted, or what suits the device."""
        if wanted is not None or self.device.type == "cpu":
            return wanted or 0
        return min(8, max(1, cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))

    def autocast(self) -> torch.autocast:
        """The context in which a training step is computed."""
        dtype = PRECISIONS[self.precision]
        return torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None)


@contextmanager
def start_run(
    *,
    name: str,
    folder: str | None = None,
    resume: str | None = None,
    device: str,
    seed: int,
    precision: str = "float32",
    epochs: int | None = None,
    throw_away: bool = False,
) -> Iterator[Run]:
    """Join the processes that torchrun started, fix the seeds, agree on a folder.

    Args:
        name: first part of the folder's name where none is given.
        folder: of the run; None for runs/<name>-<time>.
        resume: folder of a run to go on with, or "auto", see `folder.find_folder`.
        device: auto, cpu or cuda.
        seed: of everything random in this process.
        precision: a name in `PRECISIONS`, or auto.
        epochs: of a whole run; one that has them all is not gone on with by "auto".
        throw_away: write to a temporary folder, which is gone in the end.

    Raises:
        ValueError: for an unknown device or precision, or a folder that holds another run.
    """
    with start_processes(device) as chosen, ExitStack() as stack:
        _seed(seed)
        if throw_away:
            path, goes_on = temporary_folder(stack), False
        else:
            path, goes_on = agree_on_folder(stack, name, folder, resume, epochs)
        run = Run(chosen, path, choose_precision(precision, chosen), goes_on, temporary=throw_away)
        logger.info("%s, %s", chosen, run.precision)
        yield run


@contextmanager
def start_processes(device: str) -> Iterator[torch.device]:
    """Join the processes that torchrun started and start the log; leave the process group at the end.

    Args:
        device: auto (a GPU if there is one), cpu or cuda.

    Raises:
        ValueError: for an unknown device, or a GPU where there is none.
    """
    if device not in DEVICES:
        raise ValueError(f"device={device!r}: expected {', '.join(DEVICES)}; torchrun gives each process its GPU")
    chosen = choose_device(device)
    if chosen.type == "cuda":
        _check_gpus()
        torch.cuda.set_device(chosen)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        _join_processes("nccl" if chosen.type == "cuda" else "gloo")
    try:
        _start_log()
        if chosen.type == "cpu":
            tune_allocator()
        yield chosen
    finally:
        if distributed.is_distributed():
            dist.destroy_process_group()


def _join_processes(backend: str) -> None:
    """Start the process group under names that no earlier start of the same processes used.

    torchrun keeps one store over its restarts, so a process that comes back could read where a dead one listened, and
    wait for it. Only the processes of one machine count restarts alike: for several, references/CLUSTERS.md says what
    to set.
    """
    store, rank, world_size = next(rendezvous("env://"))
    alone = os.environ.get("GROUP_WORLD_SIZE", "1") == "1"
    start = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") if alone else "0"
    store = dist.PrefixStore(f"start {start}", store)
    dist.init_process_group(backend, store=store, rank=rank, world_size=world_size)


@contextmanager
def plain_errors() -> Iterator[None]:
    """End the program with one message and status 2 for what a user can mend; HYDRA_FULL_ERROR=1 shows where it came
    from.
    """
    try:
        yield
    except (ValueError, OSError, DownloadError, FloatingPointError) as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1" or _is_one_of_a_sweep():
            raise  # the other jobs of a sweep are still to come, and Hydra tells in the end which ones failed
        print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        raise SystemExit(2) from error
    except KeyboardInterrupt:
        told = "interrupted; a run goes on after its last checkpoint with the same command line and resume=FOLDER"
        print(f"{Path(sys.argv[0]).name}: {told}", file=sys.stderr)
        raise SystemExit(130) from None  # as shells count it


def _is_one_of_a_sweep() -> bool:
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine(device: torch.device) -> dict[str, str | int]:
    """What a number that was made on a device depends on besides the code."""
    return {
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "processes": distributed.world_size(),
        "accelerator": torch.cuda.get_device_name(device) if device.type == "cuda" else "none",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
    }


def _processor() -> str:
    """The processor's name; Linux tells it in a file, other systems to `platform`."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _check_gpus() -> None:
    """Raise a ValueError if processes would have to share a GPU, which gradients cannot be averaged over."""
    processes, gpus = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count()
    if processes > gpus:
        raise ValueError(f"{processes} processes here, and PyTorch sees {gpus} GPUs: --nproc-per-node={gpus}")


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)  # the same on every rank: DDP starts from rank 0's weights, loaders have seeds of their own


def _start_log() -> None:
    """Lines of the logger `detzoo` on standard error, of rank 0 only."""
    logger.setLevel(logging.INFO if distributed.is_main() else logging.ERROR)
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
        logger.propagate = False
