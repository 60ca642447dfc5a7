"""A user's own projections, one for each way a handler can be called, and one that writes SQL."""

from decimal import Decimal
from typing import NamedTuple

from typing_extensions import override

from eventcore.events import DomainEvent
from eventcore.events.catalogue import (
    OrderCancelled,
    OrderCreated,
    OrderItemAdded,
    OrderItemRemoved,
    OrderPaid,
)
from eventcore.projections import Index, Projection, Table, appends, on


class SalesRow(NamedTuple):
    day: str
    currency: str
    amount: Decimal


SALES = Table("sales", SalesRow, key=["day", "currency"])


class DailySales(Projection):
    """By key."""

    name = "daily_sales"
    tables = (SALES,)

    @on(OrderCreated, key=lambda event: (event.timestamp_text[:10], event.payload.currency))
    def add(self, row, event):
        before = row.amount if row else Decimal(0)
        return SalesRow(
            event.timestamp_text[:10], event.payload.currency, before + event.payload.total_amount
        )


class StockRow(NamedTuple):
    product_id: str
    reserved: int


STOCK = Table("stock", StockRow, key=["product_id"], indexes=[Index.on("reserved")])


class Stock(Projection):
    """By several keys of one table, and by key; a row without stock goes."""

    name = "stock"
    tables = (STOCK,)

    @on(OrderCreated, keys=lambda event: [item.product_id for item in event.payload.items])
    def created(self, row, event, key):
        ordered = sum(item.quantity for item in event.payload.items if item.product_id == key)
        return StockRow(key, (row.reserved if row else 0) + ordered)

    @on(OrderItemAdded, key=lambda event: event.payload.product_id)
    def added(self, row, event):
        return StockRow(
            event.payload.product_id, (row.reserved if row else 0) + event.payload.quantity
        )

    @on(OrderItemRemoved, key=lambda event: event.payload.product_id)
    def removed(self, row, event):
        left = (row.reserved if row else 0) - event.payload.quantity
        return StockRow(event.payload.product_id, left) if left else None


class BasketRow(NamedTuple):
    order_id: str
    product_id: str
    share: Decimal


BASKETS = Table("baskets", BasketRow, key=["order_id", "product_id"], group=["order_id"])


class Baskets(Projection):
    """By group: what part of an order's items each product is."""

    name = "baskets"
    tables = (BASKETS,)

    @on(OrderCreated, group=lambda event: event.id)
    def created(self, rows, event):
        products = dict.fromkeys(item.product_id for item in event.payload.items)
        return [BasketRow(event.id, product, Decimal(1) / len(products)) for product in products]

    @on(OrderCancelled, group=lambda event: event.id)
    def cancelled(self, rows, event):
        return []


class SpenderRow(NamedTuple):
    user_id: str
    orders: int


class TotalRow(NamedTuple):
    name: str
    value: int


SPENDERS = Table("spenders", SpenderRow, key=["user_id"])
TOTALS = Table("totals", TotalRow, key=["name"])


class Spenders(Projection):
    """By rows of two tables: who ordered, and how many distinct ones there are."""

    name = "spenders"
    tables = (SPENDERS, TOTALS)

    @on(
        OrderCreated,
        touches=lambda event: (
            [(SPENDERS, event.payload.user_id), (TOTALS, "distinct")]
            if event.payload.user_id
            else []
        ),
    )
    def ordered(self, rows, event):
        spender, total = rows
        if spender is not None:
            return spender._replace(orders=spender.orders + 1), total
        return SpenderRow(event.payload.user_id, 1), TotalRow(
            "distinct", (total.value if total else 0) + 1
        )


class LineRow(NamedTuple):
    line_id: str
    product_id: str


LINES = Table("lines", LineRow, key=["line_id"])


class Lines(Projection):
    """By appending several rows an event, and none."""

    name = "lines"
    tables = (LINES,)

    @appends(OrderCreated)
    def created(self, event):
        return [
            LineRow(f"{event.position}/{place}", item.product_id)
            for place, item in enumerate(event.payload.items)
        ]

    @appends(OrderPaid)
    def paid(self, event):
        return None


class SeenRow(NamedTuple):
    event_type: str
    times: int


SEEN = Table("seen", SeenRow, key=["event_type"])


class Seen(Projection):
    """By page, with a transaction in hand."""

    name = "seen"
    tables = (SEEN,)
    listens = (DomainEvent,)

    @override
    def apply_page(self, events, transaction):
        types = list(dict.fromkeys(event.type for event in events))
        times = {row.event_type: row.times for row in transaction.load_rows(SEEN, types)}
        for event in events:
            times[event.type] = times.get(event.type, 0) + 1
        transaction.upsert(SEEN, [SeenRow(event_type, times[event_type]) for event_type in types])


def own_projections() -> list[Projection]:
    """One of each."""
    return [DailySales(), Stock(), Baskets(), Spenders(), Lines(), Seen()]
