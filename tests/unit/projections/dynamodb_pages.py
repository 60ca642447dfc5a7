"""A log whose pages need several transactions in DynamoDB, and transports that fail on purpose."""

import threading
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from eventcore.events.catalogue import (
    OrderCancelled,
    OrderItemAdded,
    OrderItemRemoved,
    OrderPaid,
    UserRegistered,
)
from eventcore.projections import Engine, MemoryViews, Projection, ProjectionRunner, Views
from eventcore.projections.read_models import OrderItems, Orders
from eventcore.stores.dynamodb.calls import Transport
from eventcore.stores.log import Log, LogFilter
from eventcore.stores.memory.log import MemoryLog
from tests.unit.projections import shops
from tests.unit.projections.histories import order, record, rows_of

PAGE_EVENTS = 4


class CrashError(BaseException):
    """The process ended here, as far as the database can tell."""


class Failing:
    """A transport that asks before and after each request whether to go on."""

    def __init__(
        self,
        inner: Transport,
        before: Callable[[str], None] = lambda operation: None,
        after: Callable[[str], None] = lambda operation: None,
    ) -> None:
        self.inner = inner
        self.before = before
        self.after = after
        self._lock = threading.Lock()

    def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        with self._lock:
            self.before(operation)
        answer = self.inner.call(operation, parameters)
        with self._lock:
            self.after(operation)
        return answer

    def close(self) -> None:
        self.inner.close()


class Budget:
    """So many requests may be made; every later one, whichever thread makes it, is none."""

    def __init__(self, left: int) -> None:
        self.left = left

    def spend(self, operation: str) -> None:
        self.left -= 1
        if self.left < 0:
            raise CrashError


def projections() -> list[Projection]:
    # By key, by group (of rows that are located, some go), by rows of two tables, by page.
    return [Orders(), OrderItems(), shops.Spenders(), shops.Seen()]


def pages_log() -> Log:
    log = MemoryLog()
    record(
        log,
        UserRegistered(user_id="u1", email="a@example.com"),
        order("o1", ("apple", 2, "1.50"), ("pear", 1, "2"), user_id="u1"),
        OrderItemAdded(order_id="o1", product_id="apple", quantity=1, price=Decimal(2)),
        order("o2", ("apple", 1, "1.50"), user_id="u2"),
        OrderItemRemoved(order_id="o1", product_id="pear", quantity=1),
        OrderPaid(order_id="o1", amount=Decimal(5)),
        OrderCancelled(order_id="o2"),
    )
    return log


def expected_rows(log: Log) -> dict[str, list[Any]]:
    """What one pass over the log comes to."""
    views = MemoryViews()
    ProjectionRunner(log, views, projections()).run_to_head()
    return rows_of(views, projections())


def run(log: Log, views: Views, page_events: int = PAGE_EVENTS) -> None:
    engine = Engine(views, projections())
    while engine.position < log.head():
        engine.apply(log.read_page(engine.position, page_events, LogFilter()))
