"""A read model in DynamoDB brought up to date from empty, beside one conditional put an event.

How many items each order has, twice: with every key once in a stretch of thousands, where folding
saves nothing and every event is a row to write, and with few keys that are touched all the time.
The rival is what a handler of stream records does: it holds the rows in memory (so it need not even
read them) and puts each on condition that the item has no later position. Beside them, with keys
that are distinct, what the emulator can do at most: the same rows in bare transactions of a
hundred, several at a time. All through the same client, on DynamoDB Local. The log is in memory:
what is measured is writing the read model.

    python -m benchmarks.bench_dynamodb_projections [--events N] [--rounds N]
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from itertools import count, islice
from typing import NamedTuple
from uuid import UUID

from benchmarks.measuring import Figure, arguments, interleaved, rate, ratio, report
from eventcore.events.catalogue.orders import OrderItemAdded
from eventcore.events.recorded import NewEvent, Recorded
from eventcore.projections import Projection, ProjectionRunner, Table, on
from eventcore.projections.dynamodb import DynamoDBViews
from eventcore.projections.dynamodb.requests import ACTIONS_MAX
from eventcore.projections.dynamodb.tables import DynamoDBTables
from eventcore.stores.dynamodb.calls import DynamoDBCalls
from eventcore.stores.dynamodb.client import BotoTransport
from eventcore.stores.log import ANY_VERSION, LogFilter, StreamAppend
from eventcore.stores.memory.log import MemoryLog
from tests.dynamodb_local import LocalServer

HOT_ORDERS = 50
THEIR_EVENTS = 1_000
"""One put takes as long as the one before."""

APPENDED_TOGETHER = 500
TARGET = 10.0
BARE_THREADS = 4
NOW = datetime(2026, 3, 1, tzinfo=UTC)


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


@contextmanager
def server() -> Iterator[str]:
    """A server of this benchmark's own; yields its endpoint."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        os.environ.setdefault(name, "test")
    local = LocalServer(os.getpid())
    try:
        yield local.url
    finally:
        local.stop()


def filled(orders: int, events: int) -> MemoryLog:
    """A log whose orders get their events in turn."""
    log = MemoryLog()
    numbers = iter(range(events))
    while batch := list(islice(numbers, APPENDED_TOGETHER)):
        log.append(
            [
                StreamAppend(
                    f"order-{n % orders}",
                    ANY_VERSION,
                    [
                        log.codec.encode(
                            NewEvent(
                                payload=OrderItemAdded(
                                    order_id=str(n % orders),
                                    product_id=f"product-{n % 40}",
                                    quantity=3,
                                    price=Decimal("9.99"),
                                ),
                                event_id=UUID(int=n + 1),
                                timestamp=NOW,
                            )
                        )
                    ],
                )
                for n in batch
            ]
        )
    return log


def ours(url: str, fresh: Callable[[], str], log: MemoryLog, *, events: int) -> float:
    """Events a second of our runner, from empty."""
    with closing(views_at(url, fresh())) as views:
        views.ensure(Counts())
        runner = ProjectionRunner(log, views, [Counts()])
        started = time.perf_counter()
        runner.run_to_head()
        elapsed = time.perf_counter() - started
        assert sum(row.lines for row in views.query(COUNTS)) == events
    return events / elapsed


def emptied(url: str, table: str) -> DynamoDBCalls:
    """Calls to a server that has a new table for counts."""
    calls = DynamoDBCalls(BotoTransport(region="eu-west-1", endpoint_url=url))
    DynamoDBTables(calls).create(
        {
            "TableName": table,
            "BillingMode": "PAY_PER_REQUEST",
            "KeySchema": [{"AttributeName": "order_id", "KeyType": "HASH"}],
            "AttributeDefinitions": [{"AttributeName": "order_id", "AttributeType": "S"}],
        }
    )
    return calls


def item(row: CountRow, position: int) -> dict[str, dict[str, str]]:
    return {
        "order_id": {"S": row.order_id},
        "lines": {"N": str(row.lines)},
        "items": {"N": str(row.items)},
        "at": {"N": str(position)},
    }


def bare(url: str, fresh: Callable[[], str], *, rows: int) -> float:
    """Rows a second in transactions that only put them."""
    table = f"{fresh()}counts"
    calls = emptied(url, table)

    def put(first: int) -> None:
        puts = [
            {"Put": {"TableName": table, "Item": item(CountRow(str(n), 1, 3), n)}}
            for n in range(first, min(first + ACTIONS_MAX, rows))
        ]
        calls.call("TransactWriteItems", {"TransactItems": puts})

    with ThreadPoolExecutor(BARE_THREADS) as threads:
        started = time.perf_counter()
        list(threads.map(put, range(0, rows, ACTIONS_MAX)))
        elapsed = time.perf_counter() - started
    calls.close()
    return rows / elapsed


def theirs(url: str, fresh: Callable[[], str], log: MemoryLog) -> float:
    """Events a second of one conditional put an event."""
    table = f"{fresh()}counts"
    calls = emptied(url, table)
    projection, rows = Counts(), dict[str, CountRow]()
    events = log.read_page(0, THEIR_EVENTS, LogFilter()).events
    started = time.perf_counter()
    for event in events:
        row = rows[event.id] = projection.added(rows.get(event.id), event)
        calls.call(
            "PutItem",
            {
                "TableName": table,
                "Item": item(row, event.position),
                "ConditionExpression": "attribute_not_exists(order_id) OR #at < :at",
                "ExpressionAttributeNames": {"#at": "at"},
                "ExpressionAttributeValues": {":at": {"N": str(event.position)}},
            },
        )
    elapsed = time.perf_counter() - started
    calls.close()
    return len(events) / elapsed


def views_at(url: str, prefix: str) -> DynamoDBViews:
    """Views of a case's own."""
    calls = DynamoDBCalls(BotoTransport(region="eu-west-1", endpoint_url=url))
    return DynamoDBViews(calls, clock=lambda: NOW, prefix=prefix, owns_calls=True)


def measure(url: str, events: int, rounds: int) -> list[Figure]:
    numbers = count()

    def fresh() -> str:
        return f"side-{next(numbers)}-"

    figures = []
    for title, orders in (("all keys distinct", events), ("hot keys", HOT_ORDERS)):
        log = filled(orders, events)
        cases: dict[str, Callable[[], float]] = {
            "eventcore": partial(ours, url, fresh, log, events=events),
            "a put an event": partial(theirs, url, fresh, log),
        }
        if orders == events:
            cases["bare transactions"] = partial(bare, url, fresh, rows=events)
        for case in cases.values():
            case()  # a Java program is slow until it is warm
        found = interleaved(cases, rounds)
        figures += [
            ratio(
                f"{title}: over one conditional put an event",
                found["eventcore"],
                found["a put an event"],
                TARGET,
            ),
            *(
                ratio(f"{title}: over {name} of the rows", found["eventcore"], found[name], None)
                for name in cases.keys() & {"bare transactions"}
            ),
            *(rate(f"{title}: {name}", values) for name, values in found.items()),
        ]
    return figures


def main() -> None:
    """Measure on a fresh server."""
    options = arguments(__doc__ or "", events=20_000, rounds=5)
    with server() as url:
        figures = measure(url, options.events, options.rounds)
    report(f"a read model in DynamoDB Local of {options.events:,} events, from empty", figures)


if __name__ == "__main__":
    main()
