"""What may be asked of an order."""

from __future__ import annotations

from typing_extensions import override

from eventcore.aggregates.orders import Order
from eventcore.commands.command import Command
from eventcore.events.catalogue.orders import OrderItem
from eventcore.events.fields import CurrencyCode, Id, Money, Text


class CreateOrder(Command, aggregate=Order):
    """Place an order. ``total_amount`` is what the customer was told; computed if absent."""

    order_id: Id
    user_id: Id | None = None
    items: tuple[OrderItem, ...]
    currency: CurrencyCode
    total_amount: Money | None = None

    @override
    def decide(self, order: Order, /) -> None:
        """See :meth:`Order.create`."""
        order.create(
            items=self.items,
            currency=self.currency,
            total_amount=self.total_amount,
            user_id=self.user_id,
        )


class AddItem(Command, aggregate=Order):
    """Add a line before payment."""

    order_id: Id
    product_id: Id
    quantity: int
    price: Money

    @override
    def decide(self, order: Order, /) -> None:
        """See :meth:`Order.add_item`."""
        order.add_item(product_id=self.product_id, quantity=self.quantity, price=self.price)


class RemoveItem(Command, aggregate=Order):
    """Take pieces of a product off before payment."""

    order_id: Id
    product_id: Id
    quantity: int

    @override
    def decide(self, order: Order, /) -> None:
        """See :meth:`Order.remove_item`."""
        order.remove_item(product_id=self.product_id, quantity=self.quantity)


class PayOrder(Command, aggregate=Order):
    """Note that an order was paid in full."""

    order_id: Id
    amount: Money
    payment_method: Text | None = None

    @override
    def decide(self, order: Order, /) -> None:
        """See :meth:`Order.pay`."""
        order.pay(amount=self.amount, payment_method=self.payment_method)


class ShipOrder(Command, aggregate=Order):
    """Note that an order left."""

    order_id: Id
    carrier: Text | None = None
    tracking_number: Text | None = None

    @override
    def decide(self, order: Order, /) -> None:
        """See :meth:`Order.ship`."""
        order.ship(carrier=self.carrier, tracking_number=self.tracking_number)


class DeliverOrder(Command, aggregate=Order):
    """Note that an order arrived."""

    order_id: Id

    @override
    def decide(self, order: Order, /) -> None:
        """See :meth:`Order.deliver`."""
        order.deliver()


class CancelOrder(Command, aggregate=Order):
    """Call an order off before it leaves."""

    order_id: Id
    reason: Text | None = None

    @override
    def decide(self, order: Order, /) -> None:
        """See :meth:`Order.cancel`."""
        order.cancel(reason=self.reason)


class RefundOrder(Command, aggregate=Order):
    """Give money back."""

    order_id: Id
    amount: Money
    reason: Text | None = None

    @override
    def decide(self, order: Order, /) -> None:
        """See :meth:`Order.refund`."""
        order.refund(amount=self.amount, reason=self.reason)
