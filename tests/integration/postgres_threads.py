"""Doing several things at the same time, and seeing what came of each."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

HANG_SECONDS = 60.0
"""What takes longer hangs, which fails the test."""


@contextmanager
def in_thread(work: Callable[[], Any]) -> Iterator[list[Any]]:
    """Do something meanwhile; what came of it, or the error, is in the list afterwards."""
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(work())
        except Exception as error:  # noqa: BLE001 - whatever it is, the test looks at it
            results.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield results
    thread.join(HANG_SECONDS)
    assert results, "it hangs"


def at_once(works: Sequence[Callable[[], Any]]) -> list[Any]:
    """Do all of this at the same time; results and errors in the order given."""
    barrier = threading.Barrier(len(works))
    results: list[Any] = [None] * len(works)

    def run(number: int) -> None:
        barrier.wait(HANG_SECONDS)
        try:
            results[number] = works[number]()
        except Exception as error:  # noqa: BLE001 - whatever it is, the test looks at it
            results[number] = error

    threads = [
        threading.Thread(target=run, args=(number,), daemon=True) for number in range(len(works))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANG_SECONDS)
    return results
