"""What becomes of memory that tensors free."""

import ctypes
import platform


def keep_freed_memory() -> None:
    """Tell glibc to keep what tensors free, for the rest of this process.

    By default it returns large blocks to the system, and every step on a CPU faults them in again: 0.99 s a training
    step against 0.81 (SSDlite320, batch 16, two cores), 341 ms an image against 281 in detection (SSD300, batch 8).
    """
    if platform.libc_ver()[0] != "glibc":
        return
    trim_threshold, mmap_max = -1, -4  # the names of malloc.h: M_TRIM_THRESHOLD, M_MMAP_MAX
    libc = ctypes.CDLL(None)
    libc.mallopt(trim_threshold, 2**31 - 1)
    libc.mallopt(mmap_max, 0)
