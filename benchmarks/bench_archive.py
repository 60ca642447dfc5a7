"""Archiving: events a second, bytes an event against its JSON, memory; reading back, and trimming.

A log in SQLite is filled with orders, archived into a folder, and read back whole. ``--events``
is how many; more of them must not take more memory. Each figure is of a process of its own.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from benchmarks.measuring import Figure, arguments, report
from eventcore.events.catalogue import OrderCreated, OrderItem, OrderItemAdded, OrderPaid
from eventcore.events.codec import Codec
from eventcore.events.identifiers import UUIDv7Generator
from eventcore.events.recorded import NewEvent
from eventcore.lake.archiving import Archiver
from eventcore.lake.reading import open_archive, recorded_of
from eventcore.lake.stitching import ArchivedLog
from eventcore.stores.log import StreamAppend
from eventcore.stores.sqlite.log import SQLiteLog
from eventcore.stores.trimming import TRIM_EVENTS_MAX

START = datetime(2026, 1, 1, tzinfo=UTC)
EVENTS_AN_ORDER = 4
ORDERS_AT_ONCE = 500
EVENTS_A_DAY = 200_000

ARCHIVED_TARGET = 100_000
SHARE_TARGET = 0.2


def fill(path: Path, events: int) -> None:
    """Orders as a shop has them: created, two items added, paid."""
    log, codec, draw = SQLiteLog(path, synchronous="NORMAL"), Codec(), random.Random(1)
    moment = START
    new_id = UUIDv7Generator(lambda: int(moment.timestamp() * 1000), draw.randbytes)
    step = timedelta(days=1) / EVENTS_A_DAY
    for first in range(0, events // EVENTS_AN_ORDER, ORDERS_AT_ONCE):
        appends: list[StreamAppend] = []
        for number in range(first, min(first + ORDERS_AT_ONCE, events // EVENTS_AN_ORDER)):
            encoded = []
            for payload in order(f"{536_000 + number}", draw):
                moment += step + timedelta(microseconds=draw.randrange(10_000))
                new = NewEvent(
                    payload,
                    new_id(),
                    moment,
                    source="web-shop",
                    correlation_id=str(new_id()),
                    environment="production",
                    region="eu-west-1",
                )
                encoded.append(codec.encode(new))
            appends.append(StreamAppend(f"order-{536_000 + number}", 0, encoded))
        log.append(appends)
    log.close()


def order(order_id: str, draw: random.Random) -> list[Any]:
    """The events of one order."""

    def product() -> str:
        return f"{20_000 + draw.randrange(4_000)}"

    def price() -> Decimal:
        return Decimal(draw.randrange(42, 1_995)) / 100

    items = tuple(
        OrderItem(product_id=product(), quantity=draw.randrange(1, 24), price=price())
        for _ in range(draw.randrange(1, 5))
    )
    total = sum((item.price * item.quantity for item in items), Decimal(0))
    added = [
        OrderItemAdded(
            order_id=order_id, product_id=product(), quantity=draw.randrange(1, 9), price=price()
        )
        for _ in range(EVENTS_AN_ORDER - 2)
    ]
    total_paid = total + sum((item.price * item.quantity for item in added), Decimal(0))
    created = OrderCreated(
        order_id=order_id,
        user_id=f"{12_000 + draw.randrange(5_000)}",
        items=items,
        total_amount=total,
        currency="GBP",
    )
    return [created, *added, OrderPaid(order_id=order_id, amount=total_paid)]


def archive(folder: Path) -> dict[str, float]:
    """Archive the log from its beginning."""
    log = SQLiteLog(folder / "log.db")
    started = time.perf_counter()
    done = Archiver(open_archive(str(folder / "lake"))).run(log)
    seconds = time.perf_counter() - started
    log.close()
    return {
        "rate": done.events / seconds,
        "bytes": done.bytes / done.events,
        "json": done.state_bytes / done.events,
        "segments": done.segments,
    }


def read(folder: Path) -> dict[str, float]:
    """Read the whole archive back as recorded events, without decoding their payloads."""
    opened, codec, count = open_archive(str(folder / "lake")), Codec(), 0
    started = time.perf_counter()
    for batch in opened.read_batches():
        count += len(recorded_of(batch, codec))
    return {"rate": count / (time.perf_counter() - started)}


def verify(folder: Path) -> dict[str, float]:
    """Check the digest of every file."""
    started = time.perf_counter()
    count = open_archive(str(folder / "lake")).verify()
    return {"rate": count / (time.perf_counter() - started)}


def trim(folder: Path) -> dict[str, float]:
    """Remove all but the newest event of each stream from the log."""
    log = SQLiteLog(folder / "log.db")
    both = ArchivedLog(open_archive(str(folder / "lake")), log)
    started = time.perf_counter()
    chunk: list[Any] = []
    removed = 0
    for event in both.archive.read(codec=log.codec):
        if event.version < EVENTS_AN_ORDER:
            chunk.append(event)
        if len(chunk) == TRIM_EVENTS_MAX:
            removed += log.trim(chunk, archive=both.archive.url)
            chunk = []
    removed += log.trim(chunk, archive=both.archive.url)
    seconds = time.perf_counter() - started
    log.close()
    return {"rate": removed / seconds}


def in_a_process(work: Callable[[Path], dict[str, float]], folder: Path) -> dict[str, float]:
    """Run it in a process of its own, which also tells its peak of memory."""
    context = multiprocessing.get_context("spawn")
    answers = context.SimpleQueue()
    process = context.Process(target=_answer, args=(work, folder, answers))
    process.start()
    found: dict[str, float] = answers.get()
    process.join()
    return found


def _answer(work: Callable[[Path], dict[str, float]], folder: Path, answers: Any) -> None:
    found = work(folder)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answers.put({**found, "peak_mb": peak / (1024 if sys.platform != "darwin" else 1024**2)})


def main() -> None:
    """Measure."""
    options = arguments(__doc__ or "", events=1_000_000)
    with tempfile.TemporaryDirectory(dir=os.environ.get("EVENTCORE_BENCH_FOLDER")) as scratch:
        folder = Path(scratch)
        fill(folder / "log.db", options.events)
        before = (folder / "log.db").stat().st_size
        found = {
            work.__name__: in_a_process(work, folder) for work in (archive, read, verify, trim)
        }
    written = found["archive"]
    figures = [
        Figure("archived, SQLite to a folder", written["rate"], "events/s", ARCHIVED_TARGET),
        Figure("bytes an event as JSON in the log", written["json"], "bytes"),
        Figure("bytes an event in the archive", written["bytes"], "bytes"),
        Figure(
            "the second, of the first",
            written["bytes"] / written["json"],
            "x",
            SHARE_TARGET,
            at_least=False,
        ),
        Figure("bytes an event in the SQLite file", before / options.events, "bytes"),
        Figure("peak memory while archiving", written["peak_mb"], "MB"),
        Figure("read back as recorded events", found["read"]["rate"], "events/s"),
        Figure("peak memory while reading", found["read"]["peak_mb"], "MB"),
        Figure("checked by SHA-256", found["verify"]["rate"], "events/s"),
        Figure("trimmed from SQLite", found["trim"]["rate"], "events/s"),
    ]
    report(f"archive of {json.dumps(options.events)} events", figures)


if __name__ == "__main__":
    main()
