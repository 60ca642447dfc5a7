"""Whether the log on Postgres gets slower as it grows: the same work at four sizes.

The logs stand side by side on one server and take turns, so that a slow minute hits all of them.
Appends are single events of one thread, ten to a stream, in streams that are new; reads are pages
of 500 events, among the newest 10,000 (where followers are) and anywhere in the log. The server
may keep 4 GB in memory: that a log outgrows the default of 128 MB is not what is asked.
``python -m benchmarks.plotting`` draws what was found.

    python -m benchmarks.bench_postgres_growth [--rounds N] [--events N]
"""

from __future__ import annotations

import random
import statistics
import time
import warnings
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from functools import partial

from benchmarks.measuring import Figure, arguments, rate, report
from benchmarks.postgres_filling import fill_log
from benchmarks.postgres_server import new_schema, server, settle, version
from benchmarks.postgres_writers import Appending

SHARES = (500, 50, 5, 1)
"""The largest log over each: 10,000, 100,000, 1,000,000 and 5,000,000 events."""

EVENTS_A_STREAM = 10
HEAD_EVENTS = 10_000
PAGE_EVENTS = 500
APPEND_SECONDS = 0.25
PAGES_A_ROUND = 150
LEVEL_MIN = 0.8
"""Within 20 % of each other: the slowest over the fastest."""

Rates = dict[int, float]
"""Events a second by size of the log."""


def append(side: Appending) -> float:
    """Single appends a second."""
    made = 0
    started = time.perf_counter()
    while time.perf_counter() - started < APPEND_SECONDS:
        one = side.writer(1)
        for _ in range(EVENTS_A_STREAM):
            one()
        made += EVENTS_A_STREAM
    return made / (time.perf_counter() - started)


def read(sides: Mapping[int, Appending], within: int | None, places: random.Random) -> Rates:
    """Events a second of each log, read a page here and a page there in turn.

    Args:
        sides: The logs, by size.
        within: Only the newest so many events; None for all of them.
        places: Where each page begins.
    """
    taken: dict[int, list[float]] = {size: [] for size in sides}
    turn = deque(sides.items())
    for _ in range(PAGES_A_ROUND):
        turn.rotate()
        for size, side in turn:
            stretch = min(size, within or size)
            start = size - stretch + places.randrange(stretch - PAGE_EVENTS)
            started = time.perf_counter()
            page = side.log.read_page(start, PAGE_EVENTS)
            taken[size].append(time.perf_counter() - started)
            assert len(page.events) == PAGE_EVENTS
    return {size: PAGE_EVENTS / statistics.median(found) for size, found in taken.items()}


def figures_of(kind: str, rounds: list[Rates]) -> list[Figure]:
    found = {size: [rates[size] for rates in rounds] for size in rounds[0]}
    medians = [statistics.median(values) for values in found.values()]
    level = Figure(f"{kind}: slowest over fastest", min(medians) / max(medians), "x", LEVEL_MIN)
    return [level, *(rate(f"{kind} at {size:,} events", found[size]) for size in found)]


def measure(url: str, largest: int, rounds: int) -> list[Figure]:
    with ExitStack() as stack:
        sides: dict[int, Appending] = {}
        for share in SHARES:
            size = largest // share
            schema = new_schema(url, f"events_{size}")
            sides[size] = stack.enter_context(closing(Appending(url, schema)))
            fill_log(url, schema, size)
        settle(url)
        places = random.Random(7)
        works: dict[str, Callable[[], Rates]] = {
            "page reads near the head": partial(read, sides, HEAD_EVENTS, places),
            "page reads from anywhere": partial(read, sides, None, places),
            "appends": lambda: {size: append(side) for size, side in sides.items()},
        }
        figures = []
        for kind, work in works.items():
            work()  # caches, connections and statements
            figures += figures_of(kind, [work() for _ in range(rounds)])
    return figures


def main() -> None:
    """Measure on a fresh server."""
    warnings.simplefilter("ignore")
    options = arguments(__doc__ or "", rounds=12, events=5_000_000)
    # Room for the write-ahead log of the filling, which is not what is measured.
    with server(max_wal_size="8GB", shared_buffers="4GB") as url:
        figures = measure(url, options.events, options.rounds)
        title = f"cost growth on Postgres {version(url)}"
    report(title, figures)


if __name__ == "__main__":
    main()
