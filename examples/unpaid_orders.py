"""Cancel orders that nobody pays for: a process manager at work, with a clock that can be turned.

    python examples/unpaid_orders.py [--within-hours 48]

Three orders are created; one is paid at once, one after the first day. Three days later the third
one is cancelled, because no payment was received in time. Then the rows are made anew from the log:
nothing is cancelled twice.
"""

import argparse
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from eventcore import open_app
from eventcore.aggregates.orders import Order
from eventcore.commands import CreateOrder, PayOrder
from eventcore.events.catalogue import OrderItem
from eventcore.processes import PaymentNotReceived

PRICE = Decimal("12.50")
ORDERS = ("paid-at-once", "paid-next-day", "never-paid")


class Clock:
    """The time, turned by hand."""

    def __init__(self) -> None:
        self.time = datetime(2026, 3, 1, 9, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--within-hours", type=int, default=48)
    within = timedelta(hours=parser.parse_args().within_hours)
    clock = Clock()
    with open_app("memory://", clock=clock, processes=[PaymentNotReceived(within)]) as app:
        runner = app.process_runner()
        item = OrderItem(product_id="p-1", quantity=1, price=PRICE)
        for order_id in ORDERS:
            app.execute(CreateOrder(order_id=order_id, items=(item,), currency="GBP"))
        app.execute(PayOrder(order_id="paid-at-once", amount=PRICE))
        runner.run_to_rest()

        clock.time += timedelta(days=1)
        app.execute(PayOrder(order_id="paid-next-day", amount=PRICE))
        runner.run_to_rest()

        clock.time += timedelta(days=3)
        handled = runner.run_to_rest()
        print(f"{handled.timed_out} timer came due, {handled.commands} command was sent")
        for order_id in ORDERS:
            print(f"{order_id}: {app.get(Order, order_id).status}")

        events = app.log.head()
        runner.rebuild("payment_not_received")
        runner.run_to_rest()
        print(f"rebuilt; {app.log.head() - events} events more than before")


if __name__ == "__main__":
    main()
