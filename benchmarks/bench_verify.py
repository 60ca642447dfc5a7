"""Seals: what a sealer that follows costs writers; sealing, verifying and copying, events a second.

Appends are measured with and without a sealer (``eventcore seal --follow``, a process of its own)
in pairs: each round does both on one file for some seconds, who goes first changes. The other
figures are of a log on SQLite with streams of twenty events, read from the page cache.

    python -m benchmarks.bench_verify [--rounds N] [--seconds N] [--events N]
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from statistics import median
from uuid import UUID

from benchmarks.measuring import Figure, arguments, interleaved, rate, ratio, report
from eventcore.events.codec import Codec
from eventcore.events.recorded import EncodedEvent
from eventcore.opening import system_clock
from eventcore.seals import Checks, Sealer, SealFile, SealWriter, copy_log, verify_log
from eventcore.stores.log import Log, StreamAppend
from eventcore.stores.memory.log import MemoryLog
from eventcore.stores.sqlite.log import SQLiteLog

RATIO_MIN = 0.95
"""The overhead on appends is to be below 5 %."""

STREAM_EVENTS = 20
BATCH_EVENTS = 1_000
AT = "2026-11-22T21:34:28.123456Z"
STATE = (
    b'{"v":1,"id":"%b","at":"%b","data":{"orderId":"536365","items":[{"productId":"85123A",'
    b'"quantity":6,"price":"2.55"},{"productId":"71053","quantity":6,"price":"3.39"}],'
    b'"totalAmount":"35.64","currency":"GBP"},"ctx":{"source":"shop","correlationId":"case-1"}}'
)


def event(number: int) -> EncodedEvent:
    event_id = str(UUID(int=number))
    return EncodedEvent(event_id, "order.created", AT, STATE % (event_id.encode(), AT.encode()))


def append(log: Log, numbers: Iterator[int], *, at_once: int, seconds: float) -> float:
    """Append to streams of their own for so long; gives events a second."""
    started, events_done = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        first = next(numbers)
        events = [event(first), *[event(next(numbers)) for _ in range(at_once - 1)]]
        log.append([StreamAppend(f"order-{first}", 0, events)])
        events_done += at_once
    return events_done / (time.perf_counter() - started)


class FollowingSealer:
    """A sealer in a process of its own."""

    def __init__(self, store: Path, seals: Path) -> None:
        program = Path(sys.executable).with_name("eventcore")
        options = ["--follow", "--to", str(seals), "--store", f"sqlite:///{store}"]
        command = [str(program), "seal", *options]
        before = seals.stat().st_size if seals.exists() else -1
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        # It is up once it has sealed what the round without it appended.
        while not seals.exists() or seals.stat().st_size == before:
            time.sleep(0.05)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()


def overhead(
    folder: Path, rounds: int, seconds: float, *, at_once: int
) -> tuple[list[float], list[float]]:
    """Events a second with and without a sealer, a pair for each round."""
    path, seals = folder / f"{at_once}.db", folder / f"{at_once}.jsonl"
    log = SQLiteLog(path)
    numbers = count(1)
    found: dict[bool, list[float]] = {True: [], False: []}
    for turn in range(rounds):
        for sealed in (True, False) if turn % 2 else (False, True):
            append(log, numbers, at_once=1, seconds=0.01)  # something to wake up with
            sealer = FollowingSealer(path, seals) if sealed else None
            found[sealed].append(append(log, numbers, at_once=at_once, seconds=seconds))
            if sealer is not None:
                sealer.stop()
    log.close()
    checked = SQLiteLog(path)
    verdict = verify_log(checked, Checks(seals=SealFile(seals)))
    checked.close()
    assert verdict.ok, verdict.finding
    return found[True], found[False]


def fill(log: Log, events: int) -> None:
    for first in range(1, events + 1, BATCH_EVENTS):
        appends = [
            StreamAppend(f"order-{at}", 0, [event(n) for n in range(at, at + STREAM_EVENTS)])
            for at in range(first, first + BATCH_EVENTS, STREAM_EVENTS)
        ]
        log.append(appends)


class Speeds:
    """Sealing, verifying and copying a log on SQLite."""

    def __init__(self, folder: Path, events: int) -> None:
        self._folder = folder
        self._events = events
        self._log = SQLiteLog(folder / "log.db", Codec(), synchronous="NORMAL")
        fill(self._log, events)
        self._memory = MemoryLog()
        copy_log(self._log, self._memory, names=("log", "memory"))
        self.seals = folder / "seals.jsonl"
        self.cpu_micros: list[float] = []

    def seal(self) -> None:
        self.seals.unlink(missing_ok=True)
        started = time.process_time()
        Sealer(self._log, SealWriter(self.seals), clock=system_clock).seal()
        self.cpu_micros.append((time.process_time() - started) / self._events * 1e6)

    def verify(self, *, indexes: bool) -> None:
        found = verify_log(self._log, Checks(seals=SealFile(self.seals), indexes=indexes))
        assert found.ok, found.finding
        assert found.sealed == self._events

    def copy(self, source: Log) -> None:
        target = self._folder / "copies"
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        written = SQLiteLog(target / "copy.db", synchronous="NORMAL")
        copy_log(source, written, names=("source", "copy"))
        written.close()

    def timed(self, work: Callable[[], None]) -> Callable[[], float]:
        def run() -> float:
            started = time.perf_counter()
            work()
            return self._events / (time.perf_counter() - started)

        return run

    def measure(self, rounds: int) -> list[Figure]:
        cases = {
            "seal": self.timed(self.seal),
            "verify in order (--quick)": self.timed(lambda: self.verify(indexes=False)),
            "verify, indexes and ids as well": self.timed(lambda: self.verify(indexes=True)),
            "copy SQLite to SQLite, digests included": self.timed(lambda: self.copy(self._log)),
            "copy memory to SQLite, digests included": self.timed(lambda: self.copy(self._memory)),
        }
        found = interleaved(cases, rounds)
        self._log.close()
        cpu, size = self.cpu_micros, self.seals.stat().st_size
        return [
            *[rate(name, values) for name, values in found.items()],
            Figure("CPU of sealing an event", median(cpu), "µs", low=min(cpu), high=max(cpu)),
            Figure("size of the seals", size / self._events, "bytes/ev"),
        ]


def main() -> None:
    """Measure, on the disk that holds the temporary folder."""
    options = arguments(__doc__ or "", rounds=12, seconds=3, events=100_000)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        one = overhead(folder, options.rounds, options.seconds, at_once=1)
        many = overhead(folder, options.rounds, options.seconds, at_once=100)
        figures = Speeds(folder, options.events).measure(max(3, options.rounds // 4))
    report(
        "seals: appends while a sealer follows; sealing, verifying, copying",
        [
            ratio("single appends with a sealer, over those without", *one, RATIO_MIN),
            ratio("appends of 100 with a sealer, over those without", *many, RATIO_MIN),
            rate("single appends with a sealer", one[0]),
            rate("events in appends of 100, with a sealer", many[0]),
            *figures,
        ],
    )


if __name__ == "__main__":
    main()
