"""From an append in one process to a follower in another, on Postgres.

The time from just before the append until the follower has the event, so it holds the append
itself as well. Once with long pauses between the appends, once at a moderate rate; both libraries
take turns. Both processes read the same monotonic clock.

    python -m benchmarks.bench_postgres_latency [--appends N]
"""

from __future__ import annotations

import multiprocessing
import statistics
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.measuring import Figure, arguments, report
from benchmarks.postgres_server import new_schema, server, settle, version
from benchmarks.postgres_writers import Appending, Side
from benchmarks.rivals_eventsourcing import Saving, environment

SIDES = ("eventcore", "eventsourcing")
PACES = {"20 a second": (0.05, 1), "500 a second": (0.002, 10)}
"""Seconds between two appends, and how many times as many of them there are."""

TURNS = 2
WARM_UP = 5
"""First appends of a turn, which are not counted."""

ARRIVAL_SECONDS = 30.0
"""How long the last event may take before the benchmark gives up."""


def open_side(name: str, url: str) -> Side:
    return Appending(url, name) if name == "eventcore" else Saving(environment(url, name))


def write(url: str, requests: Connection) -> None:
    """The writing process: appends as often as asked, and answers when each append began."""
    warnings.simplefilter("ignore")
    sides = {name: open_side(name, url) for name in SIDES}
    while (asked := requests.recv()) is not None:
        name, appends, pause = asked
        append = sides[name].writer(1)
        append()
        requests.send("ready")
        requests.recv()
        begun = []
        due = time.perf_counter()
        for _ in range(appends):
            due += pause
            time.sleep(max(0.0, due - time.perf_counter()))
            begun.append(time.perf_counter())
            append()
        requests.send(begun)
    for side in sides.values():
        side.close()


@contextmanager
def following(side: Any, arrivals: list[float], arrived: threading.Semaphore) -> Iterator[None]:
    """Note when each event arrives, in a thread, while the block runs."""
    if isinstance(side, Appending):
        subscription: Any = side.log.subscribe(side.log.head())
        end: Callable[[], None] = subscription.close
    else:
        recorder = side.app.recorder
        subscription = recorder.subscribe(gt=recorder.max_notification_id() or 0)
        end = subscription.stop

    def follow() -> None:
        for _ in subscription:
            arrivals.append(time.perf_counter())
            arrived.release()

    thread = threading.Thread(target=follow, daemon=True)
    with subscription:
        thread.start()
        yield
        end()
        thread.join()


def waits(
    name: str, side: Side, requests: Connection, *, appends: int, pause: float
) -> list[float]:
    """Milliseconds from each append to its arrival."""
    requests.send((name, appends + WARM_UP, pause))
    requests.recv()
    arrivals: list[float] = []
    arrived = threading.Semaphore(0)
    with following(side, arrivals, arrived):
        time.sleep(0.3)  # the subscription is waiting by then
        requests.send("go")
        begun = requests.recv()
        for _ in begun:
            assert arrived.acquire(timeout=ARRIVAL_SECONDS)
    pairs = zip(begun, arrivals, strict=True)
    return [(there - here) * 1000 for here, there in pairs][WARM_UP:]


def measure(url: str, appends: int) -> list[Figure]:
    sides = {name: open_side(new_schema(url, name), url) for name in SIDES}
    settle(url)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=write, args=(url, theirs), daemon=True)
    process.start()
    figures = []
    for pace, (pause, times) in PACES.items():
        found: dict[str, list[float]] = {name: [] for name in SIDES}
        for _ in range(TURNS):
            for name, side in sides.items():
                found[name] += waits(name, side, ours, appends=appends * times, pause=pause)
        for name, values in found.items():
            values.sort()
            title = f"{name}, {pace}"
            figures += [
                Figure(f"{title}: p50", statistics.median(values), "ms"),
                Figure(f"{title}: p99", values[int(len(values) * 0.99)], "ms"),
            ]
    ours.send(None)
    process.join()
    for side in sides.values():
        side.close()
    return figures


def main() -> None:
    """Measure on a fresh server."""
    warnings.simplefilter("ignore")
    options = arguments(__doc__ or "", appends=100)
    with server() as url:
        figures = measure(url, options.appends)
        title = f"append to follower in another process, Postgres {version(url)}"
    report(title, figures)


if __name__ == "__main__":
    main()
