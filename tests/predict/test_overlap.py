"""Threads: order is kept, little is ahead, errors come through, and who stops early stops all."""

import threading
import time

import pytest

from detzoo.predict.overlap import batched, in_threads, prefetched


def test_results_come_in_order():
    def slow_if_even(number):
        time.sleep(0.01 * (number % 2 == 0))
        return number * 10

    assert list(in_threads(slow_if_even, range(9), workers=3, ahead=4)) == list(range(0, 90, 10))


@pytest.mark.parametrize("how", ["in_threads", "prefetched"])
def test_little_is_ahead(how):
    taken = []

    def things():
        for number in range(1000):
            taken.append(number)
            yield number

    if how == "in_threads":
        results = in_threads(lambda number: number, things(), workers=2, ahead=5)
    else:
        results = prefetched(things(), ahead=5)
    assert next(results) == 0
    time.sleep(0.05)
    assert len(taken) <= 7
    results.close()


def test_things_are_made_while_others_are_used():
    began = threading.Event()

    def make(number):
        if number == 1:
            began.set()
        return number

    results = in_threads(make, range(2), workers=1, ahead=1)
    assert next(results) == 0 and began.wait(5), "the second is made before it is asked for"


@pytest.mark.parametrize("how", [lambda f, x: in_threads(f, x, 2, 3), lambda f, x: prefetched(map(f, x), 3)])
def test_errors_come_through(how):
    with pytest.raises(ZeroDivisionError):
        list(how(lambda number: 1 / number, [1, 0, 1]))


def test_prefetched_things():
    assert list(prefetched(iter(range(20)), 4)) == list(range(20))
    assert list(prefetched([], 4)) == []


def test_batches():
    assert list(batched(range(5), 2)) == [[0, 1], [2, 3], [4]]
    assert list(batched([], 2)) == []
