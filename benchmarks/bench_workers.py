"""How much sooner two workers catch up than one, on SQLite, in the same run.

Each worker is a process. They divide the shares first; the clock runs from there to the moment when
the last of them is at the head. Once with the built-in ``orders`` and ``order_items``, whose work
is the library's alone, and once with a handler that calculates for some microseconds: there the
database is not the limit.

    python -m benchmarks.bench_workers [--events N] [--rounds N]
"""

from __future__ import annotations

import hashlib
import multiprocessing
import tempfile
import time
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.bench_projections import filled, shop
from benchmarks.measuring import arguments, interleaved, rate, ratio, report
from eventcore.events.catalogue import OrderCreated
from eventcore.events.event import DomainEvent
from eventcore.events.garbage import collector_paused
from eventcore.events.recorded import Recorded
from eventcore.projections import Engine, Projection, Table, on
from eventcore.projections import leases as leases_module
from eventcore.projections.leases import Leases
from eventcore.projections.plan import Plan
from eventcore.projections.read_models import OrderItems, Orders
from eventcore.projections.sqlite import SQLiteViews
from eventcore.projections.worker_tables import worker_row
from eventcore.stores.sqlite.log import SQLiteLog

PAGE_EVENTS = 2_000
TARGET = 1.6
ROUNDS_OF_A_HANDLER = 150
SETTLED_SECONDS_MAX = 60.0
PROCESSES = multiprocessing.get_context("spawn")


class ScoreRow(NamedTuple):
    order_id: str
    events: int
    score: str


SCORES = Table("scores", ScoreRow, key=["order_id"])


class Scores(Projection):
    """A read model whose handler has something to do: some 100 µs an event."""

    name = "scores"
    tables = (SCORES,)
    share_by = "stream"

    @on(DomainEvent, key=lambda event: event.id if event.category == "order" else None)
    def add(self, row: ScoreRow | None, event: Recorded[Any]) -> ScoreRow:
        found = row or ScoreRow(event.id, 0, "")
        score = found.score + event.type
        if event.type == OrderCreated.__event__.type:
            score += event.payload.currency
        for _ in range(ROUNDS_OF_A_HANDLER):
            score = hashlib.sha256(score.encode()).hexdigest()
        return ScoreRow(event.id, found.events + 1, score)


KEPT: dict[str, list[Projection]] = {"orders": [Orders(), OrderItems()], "scores": [Scores()]}


def work(  # noqa: PLR0917 - a process's arguments
    file: Path, views_file: Path, what: str, number: int, *, barrier: Barrier
) -> None:
    """One worker: has its part, waits for the others, applies all there is."""
    log, views, projections = SQLiteLog(file), SQLiteViews(views_file), KEPT[what]
    leases_module.BEATS_MISSED_MAX = 1_000_000  # type: ignore[misc]  # who has its part beats no more
    me = worker_row(f"worker-{number}", host="here", pid=number, started="")
    leases = Leases(views, map(Plan, projections), me, lease_seconds=3_600)
    leases.join()
    parts, deadline = barrier.parties - 1, time.monotonic() + SETTLED_SECONDS_MAX
    while len(set(leases.held(projections[0].name, 16))) != 16 // parts:
        assert time.monotonic() < deadline
        leases.beat()
        leases.settle()
        time.sleep(0.02)
    engine = Engine(views, projections, log=log, held=leases.held)
    barrier.wait()
    head = log.head()
    with views.catching_up():
        while engine.position < head:
            with collector_paused():
                engine.apply(log.read_page(engine.position, PAGE_EVENTS, engine.where()))
    barrier.wait()


def seconds(file: Path, what: str, workers: int) -> float:
    """From the moment that all have their part until all are at the head."""
    barrier = PROCESSES.Barrier(workers + 1)
    with tempfile.TemporaryDirectory() as folder:
        target = partial(work, file, Path(folder) / "views.db", what, barrier=barrier)
        processes = [PROCESSES.Process(target=target, args=(n,)) for n in range(workers)]
        for process in processes:
            process.start()
        barrier.wait(SETTLED_SECONDS_MAX)
        begun = time.perf_counter()
        barrier.wait()
        found = time.perf_counter() - begun
        for process in processes:
            process.join()
    return found


def main() -> None:
    """One against two, in turn."""
    options = arguments(__doc__ or "", events=60_000, rounds=3)
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "shop.db"
        filled(file, shop(options.events, {"order": 1})).close()
        for what in KEPT:
            cases = {
                f"{n}": (lambda n=n, what=what: options.events / seconds(file, what, n))
                for n in (1, 2)
            }
            found = interleaved(cases, options.rounds)
            figures += [rate(f"{what}, {n} workers", found[n]) for n in cases]
            target = TARGET if what == "scores" else None
            figures.append(ratio(f"{what}, two against one", found["2"], found["1"], target))
    report(f"Workers on SQLite, {options.events:,} events", figures)


if __name__ == "__main__":
    main()
