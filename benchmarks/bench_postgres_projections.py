"""A read model on Postgres brought up to date from empty: how many items each order has.

Three times: with a key of its own for every event; with four events a key, so far apart that
folding saves nothing and each row is loaded and written four times; and with few keys that are
touched all the time. ``eventsourcing`` writes each event in a transaction of its own: one upsert
and its tracking, as its documentation shows. Its clock begins with the first event it handles, ours
when it is asked to start.

    python -m benchmarks.bench_postgres_projections [--events N] [--rounds N]
"""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from itertools import count, islice
from typing import Any, ClassVar, NamedTuple
from uuid import UUID, uuid5

from eventsourcing.persistence import Tracking
from eventsourcing.postgres import PostgresTrackingRecorder
from eventsourcing.projection import Projection as TheirProjection
from eventsourcing.projection import ProjectionRunner as TheirRunner
from psycopg.sql import SQL, Identifier
from typing_extensions import override

from benchmarks.measuring import Figure, arguments, interleaved, rate, ratio, report
from benchmarks.postgres_server import new_schema, server, settle, version
from benchmarks.postgres_writers import PRICE, new_id
from benchmarks.rivals_eventsourcing import Order, Orders, environment
from eventcore.events.catalogue.orders import OrderItemAdded
from eventcore.events.recorded import NewEvent, Recorded
from eventcore.projections import Projection, ProjectionRunner, Table, on
from eventcore.projections.postgres import PostgresViews
from eventcore.stores.log import ANY_VERSION, StreamAppend
from eventcore.stores.postgres.connections import PostgresConnections
from eventcore.stores.postgres.log import PostgresLog

HOT_ORDERS = 50
THEIR_SHARE = 25
"""``eventsourcing`` gets a share of the events: each takes it as long as the one before."""

SAVED_TOGETHER = 500
NAMESPACE = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
TARGETS = {"all keys distinct": 40.0, "hot keys": 100.0}
ADDED: Any = Order.ItemAdded  # type: ignore[attr-defined]  # made by @event


class CountRow(NamedTuple):
    """How many items one order has."""

    order_id: str
    lines: int
    items: int


COUNTS = Table("order_counts", CountRow, key=("order_id",))


class Counts(Projection):
    """Ours."""

    name = "order_counts"
    tables = (COUNTS,)

    @on(OrderItemAdded, key=lambda event: event.id)
    def added(self, row: CountRow | None, event: Recorded[OrderItemAdded]) -> CountRow:
        """Count."""
        quantity = event.payload.quantity
        if row is None:
            return CountRow(event.id, 1, quantity)
        return CountRow(event.id, row.lines + 1, row.items + quantity)


class TheirCounts(PostgresTrackingRecorder):
    """The same as a view of the base library: one transaction an event."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        table = Identifier(self.datastore.schema, "order_counts")
        self.sql_create_statements.append(
            SQL(
                "CREATE TABLE IF NOT EXISTS {} (order_id uuid PRIMARY KEY, lines bigint,"
                " items bigint)"
            ).format(table)
        )
        self._upsert = SQL(
            "INSERT INTO {} AS kept VALUES (%s, 1, %s) ON CONFLICT (order_id) DO UPDATE"
            " SET lines = kept.lines + 1, items = kept.items + excluded.items"
        ).format(table)

    def add(self, order_id: UUID, quantity: int, tracking: Tracking) -> None:
        """Count."""
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            cursor.execute(self._upsert, (order_id, quantity), prepare=True)


class TheirCounting(TheirProjection[TheirCounts]):
    """Notes when it began, and when it is at the end."""

    name = "counting"
    last: ClassVar[int] = 0
    began: ClassVar[float] = 0.0
    ended: ClassVar[float] = 0.0
    done: ClassVar[threading.Event] = threading.Event()

    @override
    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        """Pass it on to the view."""
        kind = type(self)
        kind.began = kind.began or time.perf_counter()
        self.view.add(domain_event.originator_id, domain_event.quantity, tracking)
        if tracking.notification_id == self.last:
            kind.ended = time.perf_counter()
            self.done.set()


def work(orders: int, events: int) -> Iterator[tuple[int, int]]:
    """Which order gets an event, in turn, and its version."""
    for number in range(events):
        yield number % orders, number // orders + 1


def fill_ours(log: PostgresLog, orders: int, events: int) -> None:
    ids = [str(new_id()) for _ in range(orders)]

    def made(order: int, step: int) -> StreamAppend:
        payload = OrderItemAdded(
            order_id=ids[order], product_id=f"product-{step % 40}", quantity=3, price=PRICE
        )
        encoded = log.codec.encode(NewEvent(payload, new_id(), datetime.now(UTC)))
        return StreamAppend(f"order-{ids[order]}", ANY_VERSION, [encoded])

    appends = (made(order, step) for order, step in work(orders, events))
    while batch := list(islice(appends, SAVED_TOGETHER)):
        log.append(batch)


def fill_theirs(env: dict[str, str], orders: int, events: int) -> None:
    ids = [uuid5(NAMESPACE, str(order)) for order in range(orders)]
    made = (
        ADDED(
            originator_id=ids[order],
            originator_version=step,
            timestamp=datetime.now(UTC),
            product_id=f"product-{step % 40}",
            quantity=3,
            price=PRICE,
        )
        for order, step in work(orders, events)
    )
    with closing(Orders(env)) as app:
        while batch := list(islice(made, SAVED_TOGETHER)):
            app.save(*batch)


def ours(log: PostgresLog, fresh: Callable[[], str], expected: int) -> float:
    """Events a second of our runner, from empty."""
    connections = PostgresConnections(log.connections.conninfo, schema=fresh())
    with closing(PostgresViews(connections)) as views:
        runner = ProjectionRunner(log, views, [Counts()])
        started = time.perf_counter()
        runner.run_to_head()
        elapsed = time.perf_counter() - started
        assert sum(row.lines for row in views.query(COUNTS, None, None)) == expected
    return expected / elapsed


def theirs(env: dict[str, str], fresh: Callable[[], str], expected: int) -> float:
    """Events a second of their runner, from empty."""
    TheirCounting.last, TheirCounting.began = expected, 0.0
    TheirCounting.done.clear()
    with TheirRunner(
        application_class=Orders,
        projection_class=TheirCounting,
        view_class=TheirCounts,
        env={**env, "COUNTING_POSTGRES_SCHEMA": fresh()},
    ):
        assert TheirCounting.done.wait(timeout=120)
    return (expected - 1) / (TheirCounting.ended - TheirCounting.began)


def measure(url: str, events: int, rounds: int) -> list[Figure]:
    numbers = count()

    def fresh() -> str:
        return new_schema(url, f"side_{next(numbers)}")

    figures = []
    keys_of = {
        "all keys distinct": events,
        "four events a key, far apart": events // 4,
        "hot keys": HOT_ORDERS,
    }
    for title, keys in keys_of.items():
        share = events // THEIR_SHARE
        env = environment(url, fresh())
        fill_theirs(env, max(HOT_ORDERS, keys // THEIR_SHARE), share)
        with closing(PostgresLog(url, schema=fresh())) as log:
            fill_ours(log, keys, events)
            settle(url)
            cases: dict[str, Callable[[], float]] = {
                "eventcore": partial(ours, log, fresh, events),
                "eventsourcing": partial(theirs, env, fresh, share),
            }
            found = interleaved(cases, rounds)
        figures += [
            ratio(
                f"{title}: over eventsourcing",
                found["eventcore"],
                found["eventsourcing"],
                TARGETS.get(title),
            ),
            *(rate(f"{title}: {name}", values) for name, values in found.items()),
        ]
    return figures


def main() -> None:
    """Measure on a fresh server."""
    warnings.simplefilter("ignore")
    options = arguments(__doc__ or "", events=100_000, rounds=5)
    with server() as url:
        figures = measure(url, options.events, options.rounds)
        title = f"a read model of {options.events:,} events from empty, Postgres {version(url)}"
    report(title, figures)


if __name__ == "__main__":
    main()
