"""Order: what somebody ordered, and what became of it.

created → paid → shipped → delivered. Lines change only while it is created; it is cancelled only
before it is shipped. Money goes back only after payment and never more than was paid, also for a
paid order that was cancelled. Once all of it went back, the order is refunded.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Context, Decimal
from enum import StrEnum
from typing import Final, NamedTuple

from eventcore.aggregates.aggregate import Aggregate, applies, guards
from eventcore.events.catalogue.orders import (
    OrderCancelled,
    OrderCreated,
    OrderDelivered,
    OrderItem,
    OrderItemAdded,
    OrderItemRemoved,
    OrderPaid,
    OrderRefunded,
    OrderShipped,
)
from eventcore.events.currencies import minor_unit_exponent

MINOR_UNIT_EXPONENT_USUAL: Final = 2
"""For currencies that are no longer listed: an old order must stay readable."""

# Sums are exact whatever the thread's decimal context says: a price has 19 digits, and no order has
# quantities near the 60 digits that are left.
_EXACT: Final = Context(prec=80, rounding=ROUND_HALF_UP)
_add_product = _EXACT.fma
_ROUNDED_DIGITS_MAX: Final = 70
_ZERO: Final = Decimal(0)


class OrderStatus(StrEnum):
    """Where an order stands."""

    CREATED = "created"
    PAID = "paid"
    SHIPPED = "shipped"
    DELIVERED = "delivered"
    CANCELLED = "cancelled"
    REFUNDED = "refunded"


class OrderLine(NamedTuple):
    """So many of a product at a price.

    Attributes:
        number: Lines count from 1 in the order they were added; a number is never used again.
        quantity: Pieces that are left of it.
        price: Of one piece, in the order's currency.
    """

    number: int
    product_id: str
    quantity: int
    price: Decimal


@dataclass(kw_only=True)
class Order(Aggregate, category="order", begins_with=OrderCreated):
    """An order.

    Attributes:
        status: None before it is created.
        user_id: Whose it is; the user need not be known.
        currency: ISO 4217 code of every amount.
        lines: By product, oldest first. Removing takes from the newest line of the product first.
        lines_added: The highest line number so far.
        subtotal: Σ quantity x price of the lines, exact.
        paid_amount: What was paid, 0 before.
        refunded_amount: What went back so far.
    """

    status: OrderStatus | None = None
    user_id: str | None = None
    currency: str | None = None
    lines: dict[str, list[OrderLine]] = field(default_factory=dict)
    lines_added: int = 0
    subtotal: Decimal = _ZERO
    paid_amount: Decimal = _ZERO
    refunded_amount: Decimal = _ZERO

    @property
    def items(self) -> tuple[OrderLine, ...]:
        """Every line, in the order they were added."""
        return tuple(sorted(line for lines in self.lines.values() for line in lines))

    @property
    def total_amount(self) -> Decimal:
        """What the lines cost, rounded half up to the currency's smallest amount."""
        return in_minor_units(self.subtotal, self.currency or "")

    def quantity_of(self, product_id: str) -> int:
        """Pieces of a product, over all its lines."""
        return sum(line.quantity for line in self.lines.get(product_id, ()))

    # --- what may happen -------------------------------------------------------------------------

    @guards(OrderCreated)
    def _lines_make_the_total(self, event: OrderCreated) -> None:
        for item in event.items:
            self._check_item(item)
        if not event.items:
            self.refuse("invalid-quantity", "an order has at least one item")
        total = in_minor_units(_sum(event.items), event.currency)
        if event.total_amount != total:
            self.refuse(
                "total-mismatch", f"the items cost {total:f}, the total says {event.total_amount:f}"
            )
        if total <= 0:
            self.refuse("amount-not-positive", "the total of an order is above zero")

    @guards(OrderItemAdded, OrderItemRemoved)
    def _lines_change_only_before_payment(self, _event: OrderItemAdded | OrderItemRemoved) -> None:
        self._only_when(OrderStatus.CREATED, rule="items change only before payment")

    @guards(OrderItemAdded)
    def _an_added_item_is_one(self, event: OrderItemAdded) -> None:
        self._check_item(event)

    @guards(OrderItemRemoved)
    def _something_stays(self, event: OrderItemRemoved) -> None:
        if event.quantity <= 0:
            self.refuse("invalid-quantity", "a quantity is a positive whole number")
        lines = self.lines.get(event.product_id, [])
        there = self.quantity_of(event.product_id)
        if event.quantity > there:
            self.refuse(
                "invalid-quantity", f"{event.quantity} cannot be removed, {there} are there"
            )
        if event.quantity == there and len(self.lines) == 1:
            self.refuse("invalid-quantity", "an order keeps at least one item; cancel it instead")
        amount = _take(list(lines), event.quantity)
        if in_minor_units(_EXACT.subtract(self.subtotal, amount), self.currency or "") <= 0:
            self.refuse("amount-not-positive", "the total of an order stays above zero")

    @guards(OrderPaid)
    def _paid_once_and_in_full(self, event: OrderPaid) -> None:
        self._only_when(OrderStatus.CREATED, rule="only a created order is paid")
        # Part payments are refused, not summed up: one event must be enough to know "paid".
        if event.amount != self.total_amount:
            self.refuse(
                "amount-mismatch", f"the total is {self.total_amount:f}, {event.amount:f} was paid"
            )

    @guards(OrderShipped)
    def _shipped_after_payment(self, _event: OrderShipped) -> None:
        self._only_when(OrderStatus.PAID, rule="only a paid order is shipped")

    @guards(OrderDelivered)
    def _delivered_after_shipping(self, _event: OrderDelivered) -> None:
        self._only_when(OrderStatus.SHIPPED, rule="only a shipped order is delivered")

    @guards(OrderCancelled)
    def _cancelled_before_shipping(self, _event: OrderCancelled) -> None:
        self._only_when(
            OrderStatus.CREATED,
            OrderStatus.PAID,
            rule="an order is cancelled only before it is shipped",
        )

    @guards(OrderRefunded)
    def _refunded_after_payment(self, event: OrderRefunded) -> None:
        # The amount tells, not the status: a cancelled order may have been paid or not.
        if self.paid_amount <= 0 or self.status is OrderStatus.REFUNDED:
            self.refuse("invalid-transition", f"it is {self.status}, only a paid order is refunded")
        if event.amount <= 0:
            self.refuse("amount-not-positive", "a refund is above zero")
        left = _EXACT.subtract(self.paid_amount, self.refunded_amount)
        if event.amount > left:
            self.refuse(
                "refund-exceeds-payment", f"{left:f} of the payment is left, not {event.amount:f}"
            )

    def _only_when(self, *statuses: OrderStatus, rule: str) -> None:
        if self.status not in statuses:
            self.refuse("invalid-transition", f"it is {self.status}, {rule}")

    def _check_item(self, item: OrderItem | OrderItemAdded) -> None:
        if item.quantity <= 0:
            self.refuse("invalid-quantity", "a quantity is a positive whole number")
        if item.price < 0:
            self.refuse("invalid-price", "a price is not negative")

    # --- what it does ----------------------------------------------------------------------------

    @applies(OrderCreated)
    def _created(self, event: OrderCreated) -> None:
        self.status = OrderStatus.CREATED
        self.user_id = event.user_id
        self.currency = event.currency
        for item in event.items:
            self._add(item)

    @applies(OrderItemAdded)
    def _item_added(self, event: OrderItemAdded) -> None:
        self._add(event)

    def _add(self, item: OrderItem | OrderItemAdded) -> None:
        product_id, quantity, price = item.product_id, item.quantity, item.price
        self.lines_added = number = self.lines_added + 1
        self.subtotal = _add_product(quantity, price, self.subtotal)
        # The hottest line of loading an order: twice as fast as OrderLine(...), and the same.
        line = tuple.__new__(OrderLine, (number, product_id, quantity, price))
        lines = self.lines
        if product_id in lines:
            lines[product_id].append(line)
        else:
            lines[product_id] = [line]

    @applies(OrderItemRemoved)
    def _item_removed(self, event: OrderItemRemoved) -> None:
        lines = self.lines.get(event.product_id)
        if lines is None:
            return
        self.subtotal = _EXACT.subtract(self.subtotal, _take(lines, event.quantity))
        if not lines:
            del self.lines[event.product_id]

    @applies(OrderPaid)
    def _paid(self, event: OrderPaid) -> None:
        self.status = OrderStatus.PAID
        self.paid_amount = event.amount

    @applies(OrderShipped)
    def _shipped(self, _event: OrderShipped) -> None:
        self.status = OrderStatus.SHIPPED

    @applies(OrderDelivered)
    def _delivered(self, _event: OrderDelivered) -> None:
        self.status = OrderStatus.DELIVERED

    @applies(OrderCancelled)
    def _cancelled(self, _event: OrderCancelled) -> None:
        self.status = OrderStatus.CANCELLED

    @applies(OrderRefunded)
    def _refunded(self, event: OrderRefunded) -> None:
        self.refunded_amount = _EXACT.add(self.refunded_amount, event.amount)
        if self.refunded_amount >= self.paid_amount:
            self.status = OrderStatus.REFUNDED

    # --- what one may ask of it ------------------------------------------------------------------

    def create(
        self,
        *,
        items: Iterable[OrderItem],
        currency: str,
        total_amount: Decimal | None = None,
        user_id: str | None = None,
    ) -> None:
        """Place the order.

        Args:
            items: What is ordered; at least one.
            currency: ISO 4217 code.
            total_amount: What the customer was told it costs; computed if it is not given.
            user_id: Whose order it is.

        Raises:
            RuleViolationError: ``already-exists``, ``invalid-quantity``, ``invalid-price``,
                ``total-mismatch``, ``amount-not-positive``.
        """
        items = tuple(items)
        if total_amount is None:
            total_amount = in_minor_units(_sum(items), currency)
        self.record(
            OrderCreated(
                order_id=self.id,
                user_id=user_id,
                items=items,
                total_amount=total_amount,
                currency=currency,
            )
        )

    def add_item(self, *, product_id: str, quantity: int, price: Decimal) -> None:
        """Add a line before payment; the total changes with it.

        Raises:
            RuleViolationError: ``not-found``, ``invalid-transition``, ``invalid-quantity``,
                ``invalid-price``.
        """
        self.record(
            OrderItemAdded(order_id=self.id, product_id=product_id, quantity=quantity, price=price)
        )

    def remove_item(self, *, product_id: str, quantity: int) -> None:
        """Take pieces of a product off before payment, from its newest line first.

        Raises:
            RuleViolationError: ``not-found``, ``invalid-transition``, ``invalid-quantity``
                (more than are there, or the last ones), ``amount-not-positive`` (only free items
                would stay).
        """
        self.record(OrderItemRemoved(order_id=self.id, product_id=product_id, quantity=quantity))

    def pay(self, *, amount: Decimal, payment_method: str | None = None) -> None:
        """Note that the order was paid in full.

        Raises:
            RuleViolationError: ``not-found``, ``invalid-transition``, ``amount-mismatch``.
        """
        self.record(OrderPaid(order_id=self.id, amount=amount, payment_method=payment_method))

    def ship(self, *, carrier: str | None = None, tracking_number: str | None = None) -> None:
        """Note that a paid order left.

        Raises:
            RuleViolationError: ``not-found``, ``invalid-transition``.
        """
        self.record(
            OrderShipped(order_id=self.id, carrier=carrier, tracking_number=tracking_number)
        )

    def deliver(self) -> None:
        """Note that a shipped order arrived.

        Raises:
            RuleViolationError: ``not-found``, ``invalid-transition``.
        """
        self.record(OrderDelivered(order_id=self.id))

    def cancel(self, *, reason: str | None = None) -> None:
        """Call the order off before it leaves. What was paid is given back by :meth:`refund`.

        Raises:
            RuleViolationError: ``not-found``, ``invalid-transition``.
        """
        self.record(OrderCancelled(order_id=self.id, reason=reason))

    def refund(self, *, amount: Decimal, reason: str | None = None) -> None:
        """Give money back, all that was paid or a part of it.

        Raises:
            RuleViolationError: ``not-found``, ``invalid-transition``, ``amount-not-positive``,
                ``refund-exceeds-payment``.
        """
        self.record(OrderRefunded(order_id=self.id, amount=amount, reason=reason))


def in_minor_units(amount: Decimal, currency: str) -> Decimal:
    """An amount rounded half up to the smallest one its currency has."""
    if amount.adjusted() > _ROUNDED_DIGITS_MAX:
        return amount  # no money that exists; rounding must not fail on it
    exponent = minor_unit_exponent(currency)
    digits = MINOR_UNIT_EXPONENT_USUAL if exponent is None else exponent
    return _EXACT.quantize(amount, Decimal(1).scaleb(-digits))


def _sum(items: Iterable[OrderItem]) -> Decimal:
    total = _ZERO
    for item in items:
        total = _add_product(item.quantity, item.price, total)
    return total


def _take(lines: list[OrderLine], quantity: int) -> Decimal:
    """Take so many pieces of a product off its lines, newest first; gives what those cost."""
    amount = _ZERO
    while quantity > 0 and lines:
        line = lines.pop()
        taken = min(line.quantity, quantity)
        amount = _add_product(taken, line.price, amount)
        if taken < line.quantity:
            lines.append(line._replace(quantity=line.quantity - taken))
        quantity -= taken
    return amount
