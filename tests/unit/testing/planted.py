"""Projections that each break one rule, and a good one."""

import itertools
import random
import time
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar, NamedTuple

from typing_extensions import override

from eventcore.events.catalogue import OrderCreated, OrderItemAdded, OrderPaid
from eventcore.projections import Projection, Table, appends, on


class CountRow(NamedTuple):
    name: str
    value: int


class NoteRow(NamedTuple):
    name: str
    content: dict[str, Any] | None


COUNTS = Table("planted_counts", CountRow, key=["name"])
NOTES = Table("planted_notes", NoteRow, key=["name"])


def counted(row: CountRow | None, name: str, by: int = 1) -> CountRow:
    return CountRow(name, (row.value if row else 0) + by)


def currency(event: Any) -> str:
    return str(event.payload.currency)


class Counts(Projection):
    """Good."""

    name = "planted"
    tables = (COUNTS,)

    @on(OrderCreated, key=currency)
    def add(self, row, event):
        return counted(row, currency(event))


class ReadsTheDay(Projection):
    name = "planted"
    tables = (COUNTS,)

    @on(OrderCreated, key=currency)
    def add(self, row, event):
        return CountRow(currency(event), datetime.now().toordinal())  # noqa: DTZ005 - the fault


class ReadsSeconds(Projection):
    name = "planted"
    tables = (COUNTS,)

    @on(OrderCreated, key=currency)
    def add(self, row, event):
        return CountRow(currency(event), int(time.time()) // 1_000)


class ThrowsDice(Projection):
    name = "planted"
    tables = (COUNTS,)

    @on(OrderCreated, key=currency)
    def add(self, row, event):
        return CountRow(currency(event), random.getrandbits(60))


class HashesItsKey(Projection):
    name = "planted"
    tables = (COUNTS,)

    @on(OrderCreated, key=lambda event: str(hash(event.payload.order_id)))
    def add(self, row, event):
        return CountRow(str(hash(event.payload.order_id)), 1)


class ReadsElsewhere(Projection):
    """Rates that somebody else moves on."""

    name = "planted"
    tables = (COUNTS,)
    rates: ClassVar = itertools.count(100)

    @on(OrderCreated, key=currency)
    def add(self, row, event):
        return CountRow(currency(event), next(self.rates))


class GivesTuples(Projection):
    """JSON knows lists alone."""

    name = "planted"
    tables = (NOTES,)

    @on(OrderCreated, key=currency)
    def add(self, row, event):
        return NoteRow(currency(event), {"orders": (event.payload.order_id,)})


class GivesText(Projection):
    """In a column of numbers."""

    name = "planted"
    tables = (COUNTS,)

    @on(OrderCreated, key=currency)
    def add(self, row, event):
        return CountRow(currency(event), "1")  # type: ignore[arg-type]  # the fault


class Fails(Projection):
    name = "planted"
    tables = (COUNTS,)

    @on(OrderPaid, key=lambda event: event.id)
    def add(self, row, event):
        msg = "no currency"
        raise LookupError(msg)


class CountsPages(Projection):
    """Takes a page for an event."""

    name = "planted"
    tables = (COUNTS,)
    listens = (OrderCreated,)

    @override
    def apply_page(self, events, transaction):
        [row] = transaction.load_rows(COUNTS, ["pages"]) or [None]
        transaction.upsert(COUNTS, [counted(row, "pages")])


class SumsAtTheEnd(Projection):
    """A page at a time, and forgets what a row was before."""

    name = "planted"
    tables = (COUNTS,)
    listens = (OrderCreated,)

    @override
    def apply_page(self, events, transaction):
        rows: dict[str, CountRow] = {}
        for event in events:
            rows[currency(event)] = counted(rows.get(currency(event)), currency(event))
        transaction.upsert(COUNTS, list(rows.values()))


class RemembersInAnAttribute(Projection):
    """Fast until the process ends."""

    name = "planted"
    tables = (COUNTS,)

    def __init__(self):
        self.seen = {}

    @on(OrderCreated, key=currency)
    def add(self, row, event):
        self.seen[currency(event)] = self.seen.get(currency(event), 0) + 1
        return CountRow(currency(event), self.seen[currency(event)])


class SharesWrongly(Projection):
    """Says that rows belong to one stream each, which they do not."""

    name = "planted"
    tables = (COUNTS,)
    share_by = "stream"

    @on(OrderCreated, OrderItemAdded, key=lambda _: "all")
    def add(self, row, event):
        return counted(row, "all")


class NumbersItsCalls(Projection):
    """Rows that are written unseen, under keys that are counted up."""

    name = "planted"
    tables = (COUNTS,)

    def __init__(self):
        self.numbers = itertools.count(1)

    @appends(OrderCreated)
    def add(self, event):
        return CountRow(f"{next(self.numbers)}", event.position)


class Sql(Projection):
    """Good, in SQL."""

    name = "planted"
    tables = (COUNTS,)
    listens = (OrderCreated,)

    @override
    def apply_page(self, events, transaction):
        for event in events:
            transaction.connection.execute(
                "INSERT INTO planted_counts (name, value) VALUES (?, 1) "
                "ON CONFLICT (name) DO UPDATE SET value = value + 1",
                (currency(event),),
            )


class WritesOutside(Projection):
    """Counts in another place than the transaction, and copies from there."""

    name = "planted"
    tables = (COUNTS,)
    outside: ClassVar[dict[str, int]] = {}

    @override
    def apply_page(self, events, transaction):
        for event in events:
            if isinstance(event.payload, OrderCreated):
                total = self.outside.get("all", 0) + 1
                self.outside["all"] = total
        transaction.upsert(COUNTS, [CountRow("all", self.outside.get("all", 0))])


class MoneyRow(NamedTuple):
    name: str
    amount: Decimal


MONEY = Table("planted_money", MoneyRow, key=["name"])


class Sales(Projection):
    """Good, with two tables."""

    name = "planted"
    tables = (COUNTS, MONEY)

    @on(OrderCreated, key=currency, table=COUNTS)
    def count(self, row, event):
        return counted(row, currency(event))

    @on(OrderCreated, key=currency, table=MONEY)
    def add(self, row, event):
        return MoneyRow(
            currency(event), (row.amount if row else Decimal(0)) + event.payload.total_amount
        )
