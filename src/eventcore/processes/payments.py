"""PaymentNotReceived: an order that is not paid in time is cancelled."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from eventcore.commands.orders import CancelOrder
from eventcore.errors import ConfigurationError
from eventcore.events.catalogue.orders import OrderCancelled, OrderCreated, OrderPaid
from eventcore.events.catalogue.processes import ProcessTimedOut
from eventcore.events.recorded import Recorded
from eventcore.processes.process import (
    ENDED,
    ProcessManager,
    Reaction,
    Timer,
    reacts,
    timed_out,
)
from eventcore.projections.tables import Table

PAYMENT_WITHIN: Final = timedelta(days=3)
"""How long an order waits for its payment, unless told."""

CANCEL_REASON: Final = "payment not received in time"


class AwaitedPaymentRow(NamedTuple):
    """An order that waits for its payment."""

    order_id: str
    created_at: datetime
    due_at: datetime


AWAITED_PAYMENTS: Final = Table("awaited_payments", AwaitedPaymentRow, key=["order_id"])


class PaymentNotReceived(ProcessManager):
    """Cancels orders that nobody pays for.

    Args:
        within: How long an order waits, from when it was created. A change concerns orders that are
            created, or seen again in a rebuild, from then on.

    Raises:
        ConfigurationError: That is no time.
    """

    name = "payment_not_received"
    table = AWAITED_PAYMENTS
    sends = (CancelOrder,)

    def __init__(self, within: timedelta = PAYMENT_WITHIN) -> None:
        if within <= timedelta(0):
            raise ConfigurationError(message=f"{self.name}: within is above zero, not {within}")
        self.within = within

    @reacts(OrderCreated, key=lambda event: event.id)
    def placed(self, _row: AwaitedPaymentRow | None, event: Recorded[OrderCreated]) -> Reaction:
        """Begin to wait."""
        created_at = event.timestamp
        due_at = created_at + self.within
        row = AwaitedPaymentRow(event.id, created_at, due_at)
        return Reaction(row, timers=[Timer("payment", due_at)])

    @reacts(OrderPaid, OrderCancelled, key=lambda event: event.id)
    def settled(self, _row: AwaitedPaymentRow | None, _event: Recorded[Any]) -> Reaction:
        """Nothing is waited for any more."""
        return ENDED

    @timed_out("payment")
    def late(self, row: AwaitedPaymentRow, _event: Recorded[ProcessTimedOut]) -> Reaction:
        """Call the order off."""
        return Reaction(None, commands=[CancelOrder(order_id=row.order_id, reason=CANCEL_REASON)])
