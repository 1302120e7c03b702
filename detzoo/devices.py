"""Which device a process is to use."""

import os

import torch


def choose_device(name: str) -> torch.device:
    """The device of this name; "auto" is a GPU if there is one. Of several GPUs, "auto" and "cuda" are that of this
    process's number (torchrun's `LOCAL_RANK`).

    Raises:
        ValueError: for one that is not there.
    """
    count = torch.cuda.device_count()
    if name in ("auto", "cuda") and count:
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % count)
    if name == "auto":
        return torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"no device {name!r}: expected auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda" and (device.index or 0) >= count:
        raise ValueError(f"no device {name!r}: PyTorch sees {count} GPUs here; auto and cpu are others")
    return device
