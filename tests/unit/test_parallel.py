"""Many small calls at once: results in order, errors not lost, no more at once than promised."""

import threading

import pytest

from services.shared.parallel import CALLS_AT_ONCE, in_parallel


def test_results_come_in_the_order_of_the_items() -> None:
    first_waits_for_last = threading.Event()

    def work(number: int) -> int:
        if number == 0:
            assert first_waits_for_last.wait(10)
        if number == CALLS_AT_ONCE - 1:
            first_waits_for_last.set()
        return number * number

    assert in_parallel(work, range(CALLS_AT_ONCE)) == [number * number for number in range(CALLS_AT_ONCE)]


def test_nothing_to_do_is_done() -> None:
    assert in_parallel(str, ()) == []


def test_the_first_error_in_the_order_of_the_items_is_raised() -> None:
    second_failed = threading.Event()

    def work(number: int) -> None:
        if number == 1:
            assert second_failed.wait(10)
            raise LookupError("first")
        if number == 2:
            second_failed.set()
            raise ValueError("second")

    with pytest.raises(LookupError, match="first"):
        in_parallel(work, range(3))


def test_so_many_run_at_once_and_no_more() -> None:
    all_there = threading.Barrier(CALLS_AT_ONCE)
    running: set[int] = set()
    most = 0
    lock = threading.Lock()

    def work(number: int) -> None:
        nonlocal most
        with lock:
            running.add(number)
            most = max(most, len(running))
        # Passes only when CALLS_AT_ONCE calls wait at the same time.
        all_there.wait(10)
        with lock:
            running.remove(number)

    in_parallel(work, range(3 * CALLS_AT_ONCE))
    assert most == CALLS_AT_ONCE
