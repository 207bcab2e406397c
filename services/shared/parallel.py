"""Waiting for many small remote calls at once."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

CALLS_AT_ONCE = 16


def in_parallel[T, R](work: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Applies `work` to each item on threads; results in the order of the items, the first error raised."""
    with ThreadPoolExecutor(CALLS_AT_ONCE) as threads:
        return list(threads.map(work, items))
