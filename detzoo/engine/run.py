"""A run: its processes, device, seed and folder."""

import ctypes
import logging
import os
import platform
import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torchvision
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from .. import distributed
from ..hub import DownloadError
from ..models.checkpoint import LAST

logger = logging.getLogger("detzoo")

PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Run:
    """Where a run computes and where it writes; `folder` is the same on all ranks, and rank 0 made it."""

    device: torch.device
    folder: Path
    precision: str = "float32"

    def distribute(self, model: nn.Module) -> nn.Module:
        """The module to call in training: the model itself, or its distributed wrapper where there are several
        processes.
        """
        if not distributed.is_distributed():
            return model
        return DistributedDataParallel(model, device_ids=[self.device] if self.device.type == "cuda" else None)

    def workers(self, wanted: int | None) -> int:
        """Loading processes beside this one: as many as wanted, or what suits the device."""
        if wanted is not None or self.device.type == "cpu":
            return wanted or 0
        return min(8, max(1, (os.cpu_count() or 1) // distributed.world_size()))

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
) -> Iterator[Run]:
    """Join the processes that torchrun started, fix the seeds, agree on a folder.

    Args:
        name: first part of the folder's name where none is given.
        folder: of the run; None for runs/<name>-<time>.
        resume: folder of a run to go on with.
        device: auto, cpu or cuda.
        seed: of everything random in this process.
        precision: a name in `PRECISIONS`.

    Raises:
        ValueError: for an unknown device or precision, or a folder that holds another run.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision={precision!r}: expected one of {', '.join(PRECISIONS)}")
    _check_folder(folder, resume)
    with start_processes(device) as chosen:
        _seed(seed)
        yield Run(chosen, _agree_on_folder(name, resume or folder), precision)


@contextmanager
def start_processes(device: str) -> Iterator[torch.device]:
    """Join the processes that torchrun started and start the log; leave the process group at the end.

    Args:
        device: auto (a GPU if there is one), cpu or cuda.

    Raises:
        ValueError: for an unknown device, or a GPU where there is none.
    """
    chosen = _choose_device(device)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        _start_log()
        if chosen.type == "cpu":
            _keep_freed_memory()
        yield chosen
    finally:
        if distributed.is_distributed():
            dist.destroy_process_group()


@contextmanager
def plain_errors() -> Iterator[None]:
    """End the program with one message and status 2 for what a user can mend; HYDRA_FULL_ERROR=1 shows where it came
    from.
    """
    try:
        yield
    except (ValueError, OSError, DownloadError, FloatingPointError) as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        raise SystemExit(2) from error


def machine() -> dict[str, str | int]:
    """What a number depends on besides the code."""
    return {
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "processes": distributed.world_size(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
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


def _choose_device(device: str) -> torch.device:
    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device={device!r}: expected auto, cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device=cuda, but this machine has no GPU that torch can use: say device=cpu or device=auto")
    if device == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    index = int(os.environ.get("LOCAL_RANK", "0"))
    torch.cuda.set_device(index)
    return torch.device("cuda", index)


def _check_folder(folder: str | None, resume: str | None) -> None:
    if resume and not (Path(resume) / LAST).is_file():
        raise ValueError(f"resume={resume}: there is no {LAST} in this folder; expected one that a run wrote to")
    if resume and folder and Path(resume).resolve() != Path(folder).resolve():
        raise ValueError(
            f"resume={resume} and folder={folder} differ: a run goes on in its own folder, leave folder out"
        )
    if folder and not resume and (Path(folder) / LAST).exists():
        raise ValueError(
            f"folder={folder} holds a run already: say resume={folder} to go on with it, or name another folder"
        )


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)  # the same on every rank: DDP starts from rank 0's weights, loaders have seeds of their own


def _agree_on_folder(name: str, folder: str | None) -> Path:
    """Rank 0 chooses; a clock read on each rank would give each its own folder."""
    wanted = Path(folder) if folder else Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    return Path(
        distributed.gather(str(wanted))[0]
    )  # made when the first file is written: a refused start leaves nothing


def _keep_freed_memory() -> None:
    """Tell glibc to keep what tensors free: by default it returns large blocks to the system, and every training step
    on a CPU faults them in again (0.99 s a step against 0.81, SSDlite320 at batch 16 on two cores).
    """
    if platform.libc_ver()[0] != "glibc":
        return
    trim_threshold, mmap_max = -1, -4  # the names of malloc.h: M_TRIM_THRESHOLD, M_MMAP_MAX
    libc = ctypes.CDLL(None)
    libc.mallopt(trim_threshold, 2**31 - 1)
    libc.mallopt(mmap_max, 0)


def _start_log() -> None:
    """Lines of the logger `detzoo` on standard error, of rank 0 only."""
    logger.setLevel(logging.INFO if distributed.is_main() else logging.ERROR)
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
        logger.propagate = False
