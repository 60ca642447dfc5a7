"""order_items: the lines of each order."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Final, NamedTuple

from eventcore.events.catalogue import OrderCreated, OrderItemAdded, OrderItemRemoved
from eventcore.events.fields import MONEY_DECIMAL_PLACES, MONEY_DIGITS_MAX
from eventcore.events.recorded import Recorded
from eventcore.projections.columns import Digits
from eventcore.projections.projection import Projection, on
from eventcore.projections.read_models.keys import by_id
from eventcore.projections.read_models.order_lines import take_off
from eventcore.projections.tables import Index, Table

_PRICE: Final = Digits(MONEY_DIGITS_MAX - MONEY_DECIMAL_PLACES, MONEY_DECIMAL_PLACES)


class OrderItemRow(NamedTuple):
    """One line; ``item_id`` is ``{order_id}#{n}``, n counting from 1 in the order lines were added.

    ``lines_added`` (internal) is the highest n so far, so that none is ever given twice.
    """

    item_id: str
    order_id: str
    product_id: str
    quantity: int
    price: Annotated[Decimal, _PRICE]
    lines_added: int


ORDER_ITEMS = Table(
    "order_items",
    OrderItemRow,
    key=["item_id"],
    group=["order_id"],
    indexes=[Index.on("product_id")],
    columns={"lines_added": "_lines_added"},
)


class OrderItems(Projection):
    """Keeps ``order_items``."""

    name = "order_items"
    fingerprint = "1"
    tables = (ORDER_ITEMS,)
    share_by = "stream"

    @on(OrderCreated, group=by_id)
    def created(
        self, _rows: list[OrderItemRow], event: Recorded[OrderCreated]
    ) -> list[OrderItemRow]:
        """Add the lines as they stand in the order."""
        order_id, items = event.id, event.payload.items
        added = len(items)
        return [
            OrderItemRow(
                f"{order_id}#{n}", order_id, item.product_id, item.quantity, item.price, added
            )
            for n, item in enumerate(items, start=1)
        ]

    @on(OrderItemAdded, group=by_id)
    def added(
        self, rows: list[OrderItemRow], event: Recorded[OrderItemAdded]
    ) -> list[OrderItemRow]:
        """Add a line after the last."""
        item, order_id = event.payload, event.id
        n = _lines_added(rows) + 1
        rows.append(
            OrderItemRow(f"{order_id}#{n}", order_id, item.product_id, item.quantity, item.price, n)
        )
        return rows

    @on(OrderItemRemoved, group=by_id)
    def removed(
        self, rows: list[OrderItemRow], event: Recorded[OrderItemRemoved]
    ) -> list[OrderItemRow]:
        """Take the quantity off; a line without quantity goes."""
        item, added = event.payload, _lines_added(rows)
        if len(rows) > 1:
            rows.sort(key=_age)
        # The number of lines ever added has to outlive the newest of them.
        return [
            row if row.lines_added == added else row._replace(lines_added=added)
            for row in take_off(rows, item.product_id, item.quantity)
        ]


def _lines_added(rows: list[OrderItemRow]) -> int:
    return max((row.lines_added for row in rows), default=0)


def _age(row: OrderItemRow) -> tuple[int, str]:
    # Of one order: the ids differ in a number alone, so #2 comes before #10.
    return len(row.item_id), row.item_id
