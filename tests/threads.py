"""Threads that begin in the same moment."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier


def at_once(*work: Callable[[], object]) -> list[object]:
    """Begin all ``work`` in the same moment, each in a thread of its own; raise what any of them raises."""
    start = Barrier(len(work))

    def begin(one: Callable[[], object]) -> object:
        start.wait()
        return one()

    with ThreadPoolExecutor(len(work)) as pool:
        return list(pool.map(begin, work))
