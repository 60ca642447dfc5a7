"""How fast read models are replayed from an archive, next to a bare loop over its files.

The bare loop does in one process what cannot be left out: pyarrow reads the batches, pydantic
validates each payload, a dictionary keeps an order's row. It knows one read model, loads nothing,
writes nothing, and would not notice a failing event. Every case runs in a process of its own.

    python -m benchmarks.bench_replay [--events N] [--repeat N]     (the goals are at 2,000,000)
"""

from __future__ import annotations

import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import duckdb
import pyarrow.parquet as pq
from pydantic import ConfigDict, TypeAdapter
from typing_extensions import TypedDict

from benchmarks.bench_projections import filled, shop
from benchmarks.measuring import Figure, arguments, interleaved, rate, ratio, report
from eventcore.events.catalogue import (
    OrderCreated,
    OrderDelivered,
    OrderEvent,
    OrderItemAdded,
    OrderItemRemoved,
    OrderPaid,
    OrderShipped,
)
from eventcore.events.codec import Codec
from eventcore.events.registry import default_registry
from eventcore.lake.archiving import Archiver
from eventcore.lake.reading import open_archive
from eventcore.opening import open_log, shard_source
from eventcore.projections import MemoryViews, Projection, Table
from eventcore.projections.read_models import ORDERS, Orders
from eventcore.projections.sqlite import SQLiteViews
from eventcore.projections.summaries import Summary, count, day, sum_of
from eventcore.replay import Replayed, replay
from eventcore.settings import Settings

MEBIBYTE = 1024
BARE_TARGET = 0.6
PROCESSES_TARGET = 1.6
QUERY_TARGET = 2_000_000
NOTHING = Decimal(0)


class DailyRow(NamedTuple):
    day: str
    events: int
    orders: int
    ordered: Decimal
    paid: Decimal


class Daily(Summary):
    """Of every event of an order: two counts and two sums a day."""

    name = "daily"
    tables = (Table("daily", DailyRow, key=["day"]),)
    source = (OrderEvent,)
    key: ClassVar = {"day": day()}
    columns: ClassVar = {
        "events": count(),
        "orders": count(OrderCreated),
        "ordered": sum_of("total_amount", OrderCreated),
        "paid": sum_of("amount", OrderPaid),
    }


class Place(NamedTuple):
    """Where the log and its archive are."""

    folder: str
    events: int

    @property
    def store(self) -> str:
        return f"sqlite:///{self.folder}/orders.db"

    @property
    def archive(self) -> str:
        return f"{self.folder}/archive"


def made(folder: Path, events: int) -> Place:
    place = Place(str(folder), events)
    log = filled(folder / "orders.db", shop(events, {"order": 1}))
    Archiver(open_archive(place.archive)).run(log)
    log.close()
    return place


def bare(place: Place) -> float:
    """Seconds of a loop over the files, by hand, to the same rows."""
    files = [f"{place.archive}/{file.name}" for file in open_archive(place.archive).files()]
    validate = {
        one.__event__.type: validator_of(one)
        for one in default_registry
        if issubclass(one, OrderEvent)
    }
    begun = time.perf_counter()
    rows: dict[str, list[Any]] = {}
    for file in files:
        batches = pq.ParquetFile(file).iter_batches(columns=["stream", "type", "timestamp", "body"])
        for batch in batches:
            columns = [column.to_pylist() for column in batch.columns]
            for stream, event_type, timestamp, body in zip(*columns, strict=True):
                event = validate[event_type](body, extra="ignore")["data"]
                fold_by_hand(rows, stream.partition("-")[2], event, timestamp=timestamp)
    seconds = time.perf_counter() - begun
    views = MemoryViews()
    replayed(place, Orders(), views, processes=1)
    by_handlers = {row.order_id: list(row[1:]) for row in views.query(ORDERS)}
    assert rows == by_handlers
    return seconds


def fold_by_hand(
    rows: dict[str, list[Any]], order_id: str, event: Any, *, timestamp: datetime
) -> None:
    match event:
        case OrderCreated():
            lines = [[one.product_id, one.quantity, str(one.price)] for one in event.items]
            rows[order_id] = [
                event.user_id,
                event.total_amount,
                event.currency,
                "created",
                timestamp,
                NOTHING,
                lines,
            ]
        case OrderItemAdded():
            row = rows[order_id]
            row[6].append([event.product_id, event.quantity, str(event.price)])
            row[1] += event.quantity * event.price
        case OrderItemRemoved():
            row = rows[order_id]
            [line] = [one for one in row[6] if one[0] == event.product_id]
            row[6].remove(line)
            row[1] -= event.quantity * Decimal(line[2])
        case OrderPaid():
            rows[order_id][3], rows[order_id][6] = "paid", None
        case OrderShipped():
            rows[order_id][3] = "shipped"
        case OrderDelivered():
            rows[order_id][3] = "delivered"
        case _:
            raise TypeError(type(event).__name__)


def validator_of(event_class: Any) -> Callable[..., Any]:
    """As the library's codec validates what is stored."""
    stored = TypedDict("stored", {"data": event_class})  # noqa: UP013 - per class
    stored.__pydantic_config__ = ConfigDict(extra="ignore", cache_strings="keys")  # type: ignore[attr-defined]
    validate: Callable[..., Any] = TypeAdapter(stored).validator.validate_json
    return validate


def in_processes(place: Place, processes: int) -> float:
    """Seconds of a replay of orders into an SQLite file."""
    views = SQLiteViews(Path(place.folder) / f"past-{time.monotonic_ns()}.db")
    seconds, done = replayed(place, Orders(), views, processes=processes)
    assert done.apart == ("orders",)
    assert views.count(ORDERS) > 0
    views.close()
    return seconds


def by_query(place: Place) -> float:
    """Seconds of a replay of a declared read model; the module is there already."""
    assert duckdb.__name__ in sys.modules
    seconds, done = replayed(place, Daily(), MemoryViews())
    assert done.queried == ("daily",)
    return seconds


def replayed(
    place: Place, projection: Projection, views: Any, **options: Any
) -> tuple[float, Replayed]:
    codec = Codec()
    log = open_log(place.store, codec)
    source = shard_source(Settings(store=place.store, archive=place.archive), codec)
    begun = time.perf_counter()
    done = replay(log, [projection], views, source=source, **options)
    seconds = time.perf_counter() - begun
    log.close()
    assert done.position == place.events
    return seconds, done


class Case:
    """A case in a process of its own, and the most memory it took."""

    def __init__(self, place: Place, run: Callable[..., float], *arguments: Any) -> None:
        self._place = place
        self._run = run
        self._arguments = arguments
        self.peak = 0

    def __call__(self) -> float:
        """Events a second."""
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as alone:
            seconds, peak = alone.submit(watched, self._run, self._place, *self._arguments).result()
        self.peak = max(self.peak, peak)
        return self._place.events / seconds


def watched(run: Callable[..., float], *arguments: Any) -> tuple[float, int]:
    seconds = run(*arguments)
    status = Path("/proc/self/status").read_text("ascii")
    [peak] = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
    return seconds, int(peak)


def main() -> None:
    """Time them in turn."""
    options = arguments(__doc__ or "", events=2_000_000, repeat=3)
    with tempfile.TemporaryDirectory() as name:
        place = made(Path(name), options.events)
        cases = {
            "bare": Case(place, bare),
            "one": Case(place, in_processes, 1),
            "two": Case(place, in_processes, 2),
            "query": Case(place, by_query),
        }
        found = interleaved(cases, options.repeat)
    figures = [
        rate("orders replayed in one process, into SQLite", found["one"]),
        rate("bare loop: batches, validation, a dictionary", found["bare"]),
        ratio("of the bare loop", found["one"], found["bare"], BARE_TARGET),
        rate("orders replayed in two processes", found["two"]),
        ratio("two processes over one", found["two"], found["one"], PROCESSES_TARGET),
        rate("declared counts and sums, by one query", found["query"], QUERY_TARGET),
        *(
            Figure(f"peak memory: {told}", round(cases[case].peak / MEBIBYTE), "MiB")
            for case, told in (
                ("bare", "bare loop"),
                ("one", "one process"),
                ("two", "the one that writes, of two"),
                ("query", "the query"),
            )
        ),
    ]
    report(f"replays from an archive of {options.events:,} events", figures)


if __name__ == "__main__":
    main()
