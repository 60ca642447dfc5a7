"""Single appends of 16 processes on Postgres where a flush to disk takes a millisecond.

The flush is emulated: with ``commit_delay = 1000`` and ``commit_siblings = 0`` the server waits a
millisecond before it flushes, as if it had a slower disk; commits that arrive meanwhile share the
flush. Whoever holds a lock while committing shares with nobody. Like is compared with like, as in
``bench_postgres_append``.

Each process has every side open, and one thread; all processes work on one side at a time.

    python -m benchmarks.bench_postgres_processes [--processes N] [--rounds N] [--milliseconds N]
"""

from __future__ import annotations

import multiprocessing
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.measuring import Figure, arguments, interleaved, rate, ratio, report
from benchmarks.postgres_server import new_schema, server, settle, version
from benchmarks.postgres_writers import Appending, AppendingBytes, Side, drive
from benchmarks.rivals_eventsourcing import OURS, Inserting, Saving, environment
from benchmarks.rivals_psycopg import PlainInserts
from eventcore.stores.postgres.log import PostgresLog

EVENTCORE = "eventcore"
BYTES = "eventcore, bytes made before"
MODULE = "eventsourcing app.save on eventcore's persistence module"
SAVE = "eventsourcing app.save, default"
RECORDER = "eventsourcing recorder, bytes made before"
FUNCTIONS = "eventsourcing with DB functions (loses events, no rival)"
PLAIN = "plain psycopg, as many indexes"
PLAIN_TWO = "plain psycopg, two indexes"
TARGETS = {SAVE: 8.0, RECORDER: 8.0, PLAIN: 0.7}
COMPARED = {SAVE: EVENTCORE, RECORDER: BYTES, PLAIN: BYTES, PLAIN_TWO: BYTES}
"""Each rival, and which side of ours does the same work."""

SCHEMAS = {
    EVENTCORE: "eventcore",
    SAVE: "saved",
    BYTES: "bytes",
    PLAIN: "plain",
    RECORDER: "recorded",
    MODULE: "module",
    FUNCTIONS: "functions",
    PLAIN_TWO: "plain_two",
}
SLOW_FLUSH = {"commit_delay": "1000", "commit_siblings": "0"}
CONNECTIONS = 400
"""Every process has every side open, whoever is at work."""


def open_side(name: str, url: str, *, create: bool) -> Side:
    """One side; the first process creates the tables."""
    schema = SCHEMAS[name]
    if create and name not in {PLAIN, PLAIN_TWO}:
        new_schema(url, schema)
    if name == EVENTCORE:
        return Appending(url, schema, create=create)
    if name == BYTES:
        return AppendingBytes(PostgresLog(url, schema=schema, create=create))
    if name in {PLAIN, PLAIN_TWO}:
        return PlainInserts(url, schema, create=create, event_id_index=name == PLAIN)
    # One connection does for one thread; the default of five a process would be eighty idle ones.
    options = {"POSTGRES_POOL_SIZE": "1", "CREATE_TABLE": "y" if create else "n"}
    if name == FUNCTIONS:
        options["POSTGRES_ENABLE_DB_FUNCTIONS"] = "y"
    module = {"module": OURS} if name == MODULE else {}
    env = environment(url, schema, **module, **options)
    return Inserting(env) if name == RECORDER else Saving(env)


def work(url: str, requests: Connection) -> None:
    """One process: runs what it is asked to, until nothing more is asked."""
    warnings.simplefilter("ignore")
    sides = {name: open_side(name, url, create=False) for name in SCHEMAS}
    writers = {name: side.writer(1) for name, side in sides.items()}
    requests.send(None)
    while (asked := requests.recv()) is not None:
        name, seconds = asked
        requests.send(drive([writers[name]], seconds))
    for side in sides.values():
        side.close()


def asking(workers: list[Connection[Any, Any]], name: str, seconds: float) -> Callable[[], float]:
    """One measurement: every process works on this side, their rates are added."""

    def measure() -> float:
        for worker in workers:
            worker.send((name, seconds))
        return sum(float(worker.recv()) for worker in workers)

    return measure


def measure(url: str, processes: int, *, rounds: int, seconds: float) -> list[Figure]:
    for name in SCHEMAS:
        open_side(name, url, create=True).close()
    context = multiprocessing.get_context("spawn")
    started, workers = [], []
    for _ in range(processes):
        ours, theirs = context.Pipe()
        process = context.Process(target=work, args=(url, theirs), daemon=True)
        process.start()
        started.append(process)
        workers.append(ours)
    for worker in workers:
        worker.recv()
    settle(url)
    found = interleaved({name: asking(workers, name, seconds) for name in SCHEMAS}, rounds)
    for worker in workers:
        worker.send(None)
    for process in started:
        process.join()
    figures = [
        ratio(f"over {name}", found[mine], found[name], TARGETS.get(name))
        for name, mine in COMPARED.items()
    ]
    figures.append(ratio(f"made and encoded, over {PLAIN}", found[EVENTCORE], found[PLAIN]))
    return figures + [rate(name, values) for name, values in found.items()]


def main() -> None:
    """Measure on a fresh server whose flushes take a millisecond longer."""
    warnings.simplefilter("ignore")
    options = arguments(__doc__ or "", processes=16, rounds=5, milliseconds=800)
    with server(**SLOW_FLUSH, max_connections=str(CONNECTIONS)) as url:
        figures = measure(
            url,
            options.processes,
            rounds=options.rounds,
            seconds=options.milliseconds / 1000,
        )
        title = (
            f"single appends of {options.processes} processes, a flush of 1 ms, "
            f"Postgres {version(url)}"
        )
    report(title, figures)


if __name__ == "__main__":
    main()
