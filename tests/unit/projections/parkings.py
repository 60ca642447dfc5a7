"""Projections that fail where a test says so, one for each way to be told what an event touches."""

from collections.abc import Callable
from typing import Any, NamedTuple

from eventcore.errors import EventCoreError
from eventcore.events.catalogue import OrderCancelled, OrderCreated, OrderEvent, OrderPaid
from eventcore.projections import Projection, Table, appends, on

Trouble = Callable[[Any, str], None]
"""Raises for an event, perhaps only while it does a kind of work."""


class HistoryRow(NamedTuple):
    name: str
    seen: str


HISTORIES = Table("histories", HistoryRow, key=["name"])
BUYERS = Table("buyers", HistoryRow, key=["name"])
NOTES = Table("order_notes", HistoryRow, key=["name"])


def seen(row: HistoryRow | None, name: str, event: Any) -> HistoryRow:
    """The row with one more event: it shows exactly which events made it, and in which order."""
    return HistoryRow(name, f"{row.seen} {event.position}" if row else str(event.position))


class Troubled:
    """Fails on demand."""

    def __init__(self, trouble: Trouble | None = None) -> None:
        self.trouble: Trouble = trouble or (lambda _event, _work: None)


class Histories(Troubled, Projection):
    """An order's events, by key."""

    name = "histories"
    tables = (HISTORIES,)

    @on(OrderEvent, key=lambda event: event.id)
    def add(self, row, event):
        self.trouble(event, "key")
        return seen(row, event.id, event)


class PoisonError(EventCoreError):
    template = "this event is poison"


def poisoned(*positions: int, error: Callable[[], Exception] = PoisonError) -> Trouble:
    """Fails for the events at these positions."""

    def trouble(event: Any, _work: str) -> None:
        if event.position in positions:
            raise error()

    return trouble


class Shop(Troubled, Projection):
    """One event changes several rows: by key, by several keys, of two tables, and unseen."""

    name = "shop"
    tables = (HISTORIES, BUYERS, NOTES)

    @on(OrderCreated, OrderPaid, table=HISTORIES, key=lambda event: event.id)
    def history(self, row, event):
        self.trouble(event, "key")
        return seen(row, event.id, event)

    @on(
        OrderCreated,
        table=BUYERS,
        keys=lambda event: [item.product_id for item in event.payload.items],
    )
    def product(self, row, event, key):
        self.trouble(event, key)
        return seen(row, key, event)

    @on(
        OrderCancelled,
        touches=lambda event: [(HISTORIES, event.id), (BUYERS, "cancelled")],
    )
    def cancelled(self, rows, event):
        self.trouble(event, "touches")
        history, buyer = rows
        return seen(history, event.id, event), seen(buyer, "cancelled", event)

    @appends(OrderPaid, table=NOTES)
    def note(self, event):
        self.trouble(event, "append")
        return HistoryRow(f"{event.position}", "paid")
