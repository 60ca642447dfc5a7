"""Histories for tests: payloads in, a log in memory out."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from eventcore.errors import ConfigurationError
from eventcore.events.codec import Codec
from eventcore.events.event import DomainEvent, stream_of
from eventcore.events.recorded import NewEvent
from eventcore.events.registry import EventRegistry, default_registry
from eventcore.stores.log import ANY_VERSION, StreamAppend
from eventcore.stores.memory.log import MemoryLog
from eventcore.testing.scenarios import SequentialIds, SteppingClock

HappenedEvent = DomainEvent | NewEvent[Any]
"""A payload; or one with its id, time and context."""


def log_of(
    events: Iterable[HappenedEvent], registry: EventRegistry = default_registry
) -> MemoryLog:
    """A log in memory of these events, each in its stream, the first at position 1.

    Args:
        events: Payloads get ids and times that are the same in every run: the first is of
            :data:`~eventcore.testing.scenarios.START`, each a second later than the one before.
        registry: Knows their classes.
    """
    new_id, clock = SequentialIds(), SteppingClock()
    log = MemoryLog(Codec(registry, allow_unknown=True))
    for event in events:
        new = event if isinstance(event, NewEvent) else NewEvent(event, new_id(), clock())
        encoded = log.codec.encode(new)
        log.append([StreamAppend(stream_of(new.payload), ANY_VERSION, [encoded])])
    return log


def example_history(types: Iterable[type[DomainEvent]]) -> list[DomainEvent]:
    """A short history in which events of these classes are; of the library's own catalogue.

    Raises:
        ConfigurationError: It has none of one of these classes.
    """
    history = _examples()
    lacking = [
        event_class.__name__
        for event_class in types
        if not any(isinstance(event, event_class) for event in history)
    ]
    if lacking:
        raise ConfigurationError(
            message=f"No example is known of {', '.join(lacking)}: give a history with events="
        )
    return history


def _examples() -> list[DomainEvent]:
    # Imported late: the whole catalogue takes a while.
    from eventcore.events import catalogue as of  # noqa: PLC0415

    pear = of.OrderItem(product_id="pear", quantity=1, price=Decimal("2.00"))
    apple = of.OrderItem(product_id="apple", quantity=2, price=Decimal("1.50"))
    return [
        of.UserRegistered(user_id="ada", email="ada@example.org", first_name="Ada"),
        of.SessionStarted(session_id="s-1", user_id="ada"),
        of.OrderCreated(
            order_id="o-1",
            user_id="ada",
            items=(apple, pear),
            total_amount=Decimal("5.00"),
            currency="GBP",
        ),
        of.UserRegistered(user_id="bob", email="bob@example.org"),
        of.SessionActivity(session_id="s-1", action="view", target="pear", details={"n": 1}),
        of.OrderItemAdded(order_id="o-1", product_id="fig", quantity=3, price=Decimal("0.10")),
        of.OrderCreated(
            order_id="o-2", user_id="bob", items=(apple,), total_amount=Decimal(3), currency="GBP"
        ),
        of.OrderItemRemoved(order_id="o-1", product_id="pear", quantity=1),
        of.ModelRegistered(model_id="m-1", name="prices", model_type="linear"),
        of.OrderPaid(order_id="o-1", amount=Decimal("3.30"), payment_method="card"),
        of.UserProfileUpdated(user_id="bob", first_name="Bob", last_name="B."),
        of.ModelVersionTrained(model_id="m-1", model_version="1", metrics={"error": 0.25}),
        of.OrderCancelled(order_id="o-2", reason="changed my mind"),
        of.OrderShipped(order_id="o-1", carrier="post"),
        of.ModelDeployed(model_id="m-1", model_version="1", endpoint="/prices"),
        of.ModelInference(model_id="m-1", model_version="1", input=[1], output=2, confidence=0.5),
        of.UserSuspended(user_id="ada", reason="check"),
        of.UserEmailChanged(user_id="bob", email="b@example.org"),
        of.OrderCreated(
            order_id="o-3", user_id="ada", items=(pear,), total_amount=Decimal(2), currency="EUR"
        ),
        of.OrderDelivered(order_id="o-1"),
        of.UserReactivated(user_id="ada"),
        of.OrderRefunded(order_id="o-1", amount=Decimal("1.00"), reason="bruised"),
        of.SessionEnded(session_id="s-1", reason="left"),
        of.WebhookReceived(webhook_id="w-1", source="post", payload={"parcel": "p-1"}),
        of.SystemHealthCheck(service_name="shop", status="ok", response_time=1.5, error_count=0),
        of.ModelRetired(model_id="m-1", model_version="1"),
        of.UserClosed(user_id="bob"),
    ]
