"""What happens to an order."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from eventcore.events.event import DomainEvent, EventMetadata, PayloadModel
from eventcore.events.fields import CurrencyCode, Id, JsonObject, Money, Note, Personal, Text

Quantity = Annotated[int, Field(ge=-(2**31), lt=2**31)]
"""How many: a whole number of four bytes, as the relational views keep it."""


class OrderCreatedMetadata(EventMetadata):
    """How an order is to be paid and where it goes."""

    payment_method: Note | None = None
    shipping_address: Annotated[JsonObject, Personal()] | None = None


class OrderItem(PayloadModel):
    """One line of an order. Which quantities and prices make sense, the aggregate decides."""

    product_id: Id
    quantity: Quantity
    price: Money


class OrderEvent(DomainEvent, category="order", key="order_id", group="business"):
    """Base of what happens to an order."""

    order_id: Id


class OrderCreated(OrderEvent, type="order.created", metadata=OrderCreatedMetadata):
    """Somebody ordered. First event of the stream; the total is that of the items."""

    user_id: Id | None = None
    items: tuple[OrderItem, ...]
    total_amount: Money
    currency: CurrencyCode


class OrderItemAdded(OrderEvent, type="order.item_added"):
    """A line was added, before payment."""

    product_id: Id
    quantity: Quantity
    price: Money


class OrderItemRemoved(OrderEvent, type="order.item_removed"):
    """So many of a product were taken off, before payment."""

    product_id: Id
    quantity: Quantity


class OrderPaid(OrderEvent, type="order.paid"):
    """The order was paid in full."""

    amount: Money
    payment_method: Text | None = None


class OrderShipped(OrderEvent, type="order.shipped"):
    """The order left."""

    carrier: Text | None = None
    tracking_number: Text | None = None


class OrderDelivered(OrderEvent, type="order.delivered"):
    """The order arrived."""


class OrderCancelled(OrderEvent, type="order.cancelled"):
    """The order was called off before it left."""

    reason: Text | None = None


class OrderRefunded(OrderEvent, type="order.refunded"):
    """Money went back, all of it or a part."""

    amount: Money
    reason: Text | None = None
