"""Which device a process is to use."""

import os
import re

import torch


def choose_device(name: str) -> torch.device:
    """The device of this name; "auto" is a GPU if there is one. Of several GPUs, "auto" and "cuda" are that of this
    process's number (torchrun's `LOCAL_RANK`), and of more processes some have the same.

    Raises:
        ValueError: for one that is not there.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0  # one may be there with too old a driver
    if name in ("auto", "cuda") and count:
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % count)
    if name == "auto":
        return torch.device("cpu")
    if name == "cpu":
        return torch.device("cpu")
    if not re.fullmatch(r"cuda(:\d+)?", name, re.ASCII):
        raise ValueError(f"no device {name!r}: expected auto, cpu, cuda or cuda:N")
    if int(name.partition(":")[2] or 0) >= count:
        raise ValueError(f"no device {name!r}: PyTorch sees {count} GPUs here; auto and cpu are others")
    return torch.device(name)
