"""Small logs for tests of projections: payloads in, a filled log out, times and ids counted up."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from eventcore.events import DomainEvent, NewEvent, stream_of
from eventcore.events.catalogue import OrderCreated, OrderItem
from eventcore.stores.log import ANY_VERSION, Log, StreamAppend

BEGIN = datetime(2026, 1, 31, 23, 59, 58, tzinfo=UTC)


def moment(position: int) -> datetime:
    """When the event at a position of a log made by :func:`record` happened."""
    return BEGIN + timedelta(seconds=position)


def event_id(position: int) -> str:
    """Id of the event at a position of a log made by :func:`record`."""
    return str(UUID(int=position))


def record(log: Log, *payloads: DomainEvent, **context: Any) -> int:
    """Append each payload to its stream; gives the position of the last."""
    position = log.head()
    for payload in payloads:
        position += 1
        event = NewEvent(
            payload=payload, event_id=UUID(int=position), timestamp=moment(position), **context
        )
        encoded = log.codec.encode(event)
        result = log.append([StreamAppend(stream_of(payload), ANY_VERSION, [encoded])])
        assert result.positions == (position,)
    return position


def order(order_id: str, *lines: tuple[str, int, str], user_id: str | None = None) -> OrderCreated:
    """An order of the given (product, quantity, price) lines, in pounds."""
    lines = lines or (("apple", 2, "1.50"),)
    items = tuple(
        OrderItem(product_id=p, quantity=q, price=Decimal(amount)) for p, q, amount in lines
    )
    total = sum((item.quantity * item.price for item in items), Decimal(0))
    return OrderCreated(
        order_id=order_id, user_id=user_id, items=items, total_amount=total, currency="GBP"
    )


def rows_of(views: Any, projections: Iterable[Any]) -> dict[str, list[Any]]:
    """Everything the projections keep, by table."""
    return {
        table.name: list(views.query(table))
        for projection in projections
        for table in projection.tables
    }
