"""Single appends on SQLite against raw ``sqlite3`` with the same durability, in one run.

Raw is what a careful program without this library would do: the same table and indexes (but no
triggers), WAL, ``synchronous=FULL``, one ``BEGIN IMMEDIATE``, ``INSERT``, ``COMMIT`` an event.
Rounds of both take turns, each on a file of its own in one folder, so that a slow minute of the
machine slows both.

    python -m benchmarks.bench_append [--rounds N] [--appends N] [--threads N]
"""

from __future__ import annotations

import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

from benchmarks.measuring import arguments, rate, ratio, report
from eventcore.events.recorded import EncodedEvent
from eventcore.stores.log import StreamAppend
from eventcore.stores.sqlite.log import SQLiteLog
from eventcore.stores.statements import load_statements

RATIO_MIN = 0.8
AT = "2026-11-22T21:34:28.123456Z"
STATE = b'{"v":1,"id":"%b","at":"%b","data":{"orderId":"536365","amount":"12.50"}}'
INSERT = "INSERT INTO eventcore_log (stream, version, type, event_id, state) VALUES (?, ?, ?, ?, ?)"


def event(number: int) -> EncodedEvent:
    event_id = str(UUID(int=number))
    return EncodedEvent(event_id, "order.paid", AT, STATE % (event_id.encode(), AT.encode()))


def open_raw(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    schema = load_statements("eventcore.stores.sqlite", "sql/schema.sql")
    for name in ("create_log", "create_log_by_stream", "create_log_by_event_id"):
        connection.execute(schema[name])
    return connection


def append_raw(connection: sqlite3.Connection, numbers: range) -> None:
    for number in numbers:
        made = event(number)
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(INSERT, (f"order-{number}", 1, made.type, made.event_id, made.state))
        connection.execute("COMMIT")


def append_log(log: SQLiteLog, numbers: range) -> None:
    for number in numbers:
        log.append([StreamAppend(f"order-{number}", 0, [event(number)])])


def seconds(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def compare(folder: Path, rounds: int, appends: int) -> tuple[list[float], list[float]]:
    """Appends a second of the log and of raw ``sqlite3``, a pair for each round."""
    raw, log = open_raw(folder / "raw.db"), SQLiteLog(folder / "log.db")
    append_raw(raw, range(1, 50))
    append_log(log, range(1, 50))
    ours, theirs = [], []
    for turn in range(rounds):
        numbers = range(50 + turn * appends, 50 + (turn + 1) * appends)
        works = [lambda n=numbers: append_raw(raw, n), lambda n=numbers: append_log(log, n)]
        # Who goes first changes with every round.
        order = (0, 1) if turn % 2 else (1, 0)
        taken = {which: seconds(works[which]) for which in order}
        theirs.append(appends / taken[0])
        ours.append(appends / taken[1])
    raw.close()
    log.close()
    return ours, theirs


def many_threads(folder: Path, threads: int, appends: int) -> float:
    """Single appends a second of many threads of one process, each to streams of its own."""
    log = SQLiteLog(folder / "threads.db")
    starts = [1 + number * appends for number in range(threads)]
    workers = [
        threading.Thread(target=append_log, args=(log, range(start, start + appends)))
        for start in starts
    ]

    def run() -> None:
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    taken = seconds(run)
    log.close()
    return threads * appends / taken


def main() -> None:
    """Measure, on the disk that holds the temporary folder."""
    options = arguments(__doc__ or "", rounds=20, appends=300, threads=8)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours, theirs = compare(folder, options.rounds, options.appends)
        together = many_threads(folder, options.threads, options.appends)
    report(
        "single appends on SQLite, synchronous=FULL",
        [
            ratio("one thread, over raw sqlite3", ours, theirs, RATIO_MIN),
            rate("one thread", ours),
            rate("raw sqlite3, one thread", theirs),
            rate(f"{options.threads} threads", [together]),
        ],
    )


if __name__ == "__main__":
    main()
