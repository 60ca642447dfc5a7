"""eventcore's side of the Postgres benchmarks, and how writers of any side are driven."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count
from typing import Any, Protocol
from uuid import uuid4

from benchmarks.rivals_psycopg import AT, STATE, TYPE
from eventcore.aggregates.orders import Order
from eventcore.app import open_app
from eventcore.events.catalogue.orders import OrderItem, OrderItemAdded
from eventcore.events.identifiers import UUIDv7Generator
from eventcore.events.recorded import EncodedEvent, NewEvent
from eventcore.stores.log import StreamAppend
from eventcore.stores.postgres.log import PostgresLog

PRICE = Decimal("2.25")
EXISTING = 1_000
"""Lines after which the order of ``AppSaving`` gives way to a new one, as real ones do."""

new_id = UUIDv7Generator(lambda: time.time_ns() // 1_000_000, os.urandom)


class Side(Protocol):
    """One of those compared."""

    def writer(self, events: int) -> Callable[[], None]:
        """What one thread calls again and again: store so many events more in its own stream."""

    def close(self) -> None:
        """Release the connections."""


class Appending:
    """Events made, encoded by the codec and appended, as ``app.save`` maps and inserts them."""

    def __init__(self, url: str, schema: str, *, create: bool = True) -> None:
        self.log = PostgresLog(url, schema=schema, create=create)

    def writer(self, events: int) -> Callable[[], None]:
        order_id = str(new_id())
        stream, version = f"order-{order_id}", 0
        log, encode = self.log, self.log.codec.encode

        def make(version: int) -> EncodedEvent:
            payload = OrderItemAdded(
                order_id=order_id, product_id=f"product-{version % 40}", quantity=3, price=PRICE
            )
            return encode(NewEvent(payload, new_id(), datetime.now(UTC)))

        def append() -> None:
            nonlocal version
            made = [make(version + step) for step in range(events)]
            log.append([StreamAppend(stream, version, made)])
            version += events

        return append

    def close(self) -> None:
        self.log.close()


class AppendingBytes:
    """The log alone: the state is there already but for the event's id."""

    def __init__(self, log: PostgresLog) -> None:
        self.log = log

    def writer(self, events: int) -> Callable[[], None]:
        stream, at, log = f"order-{new_id()}", AT.decode(), self.log
        version = 0

        def append() -> None:
            nonlocal version
            made = []
            for _ in range(events):
                event_id = str(uuid4())
                made.append(EncodedEvent(event_id, TYPE, at, STATE % event_id.encode()))
            log.append([StreamAppend(stream, version, made)])
            version += events

        return append

    def close(self) -> None:
        self.log.close()


class AppSaving:
    """``App.save`` of an order that decides, records and checks its version."""

    def __init__(self, log: PostgresLog) -> None:
        self.app = open_app(log=log)

    def writer(self, events: int) -> Callable[[], None]:
        app, numbers = self.app, count()
        order = self._new_order()

        def save() -> None:
            nonlocal order
            if order.version > EXISTING:
                order = self._new_order()
            for _ in range(events):
                product = f"product-{next(numbers) % 40}"
                order.add_item(product_id=product, quantity=3, price=PRICE)
            app.save(order)

        return save

    def _new_order(self) -> Order:
        order = Order(id=str(new_id()))
        order.create(
            items=[OrderItem(product_id="product-0", quantity=3, price=PRICE)], currency="GBP"
        )
        self.app.save(order)
        return order

    def close(self) -> None:
        self.app.close()


def drive(works: Sequence[Callable[[], None]], seconds: float, events: int = 1) -> float:
    """Events a second that threads store together, each calling its own work again and again."""
    begin = threading.Barrier(len(works) + 1)
    failures: list[BaseException] = []
    done = [0] * len(works)

    def run(place: int, work: Callable[[], None]) -> None:
        try:
            work()  # prepares statements, opens connections
            begin.wait()
            deadline = time.perf_counter() + seconds
            made = 0
            while time.perf_counter() < deadline:
                work()
                made += 1
            done[place] = made
        except BaseException as error:  # noqa: BLE001 - raised again below
            failures.append(error)
            begin.abort()

    threads = [
        threading.Thread(target=run, args=(place, work), daemon=True)
        for place, work in enumerate(works)
    ]
    for thread in threads:
        thread.start()
    try:
        begin.wait()
    except threading.BrokenBarrierError:
        raise failures[0] from None
    started = time.perf_counter()
    for thread in threads:
        thread.join()
    elapsed = time.perf_counter() - started
    if failures:
        raise failures[0]
    return sum(done) * events / elapsed


def case(side: Side, *, threads: int, events: int, seconds: float) -> Callable[[], float]:
    """One measurement of a side: so many threads, so many events an append."""
    works: list[Any] = []

    def measure() -> float:
        if not works:
            works.extend(side.writer(events) for _ in range(threads))
        return drive(works, seconds, events)

    return measure
