"""Several things at once: files are read, and pictures written, while the network computes."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Thing = TypeVar("Thing")
Made = TypeVar("Made")

WORKERS = min(4, os.cpu_count() or 1)  # threads; Pillow and NumPy let others run while they work
_END = object()


def in_threads(function: Callable[[Thing], Made], things: Iterable[Thing], workers: int, ahead: int) -> Iterator[Made]:
    """`map` in threads: results in order, at most `ahead` of them made before they are asked for."""
    pool = ThreadPoolExecutor(workers)
    waiting = deque()
    try:
        for thing in things:
            waiting.append(pool.submit(function, thing))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def prefetched(things: Iterable[Thing], ahead: int) -> Iterator[Thing]:
    """The same things, at most `ahead` of them fetched by a thread before they are asked for."""
    iterator = iter(things)
    pool = ThreadPoolExecutor(1)  # one, so that they come in order
    try:
        waiting = deque(pool.submit(next, iterator, _END) for _ in range(ahead))
        while (thing := waiting.popleft().result()) is not _END:
            waiting.append(pool.submit(next, iterator, _END))
            yield thing
    finally:
        pool.shutdown(cancel_futures=True)


def batched(things: Iterable[Thing], size: int) -> Iterator[list[Thing]]:
    """Lists of so many things, the last one perhaps shorter."""
    iterator = iter(things)
    while batch := list(islice(iterator, size)):
        yield batch
