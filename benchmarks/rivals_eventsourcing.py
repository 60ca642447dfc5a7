"""The base library, ``eventsourcing`` 9.5.6, on Postgres: applications to measure against.

Three forms of it, each as its documentation shows: decorated aggregates with the JSON transcoder
(what it is by default), msgspec structs with a mapper of its own (its fastest safe form), and the
recorder alone with bytes that were made before. ``POSTGRES_ENABLE_DB_FUNCTIONS`` takes no table
lock, so that a follower misses events while several writers are at work: it is shown, never
compared with.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import msgspec
from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import Mapper, StoredEvent
from eventsourcing.utils import get_topic, resolve_topic
from psycopg.conninfo import conninfo_to_dict
from typing_extensions import override

PRICE = Decimal("2.25")
THEIRS = "eventsourcing.postgres"
OURS = "eventcore.stores.postgres"


class Order(Aggregate):
    """Counts its lines, so that nothing but recording and storing costs time."""

    def __init__(self, currency: str) -> None:
        self.currency = currency
        self.lines = 0

    @event("ItemAdded")
    def add_item(self, product_id: str, quantity: int, price: Decimal) -> None:  # noqa: ARG002 - stored
        self.lines += 1


class Orders(Application[UUID]):
    """An application as the tutorial makes it."""


class ItemAdded(msgspec.Struct, frozen=True):
    """An event in the form of the documentation's example 9."""

    originator_id: UUID
    originator_version: int
    timestamp: datetime
    product_id: str
    quantity: int
    price: Decimal


class MsgspecMapper(Mapper[UUID]):
    @override
    def to_stored_event(self, domain_event: Any) -> StoredEvent:
        return StoredEvent(
            originator_id=domain_event.originator_id,
            originator_version=domain_event.originator_version,
            topic=get_topic(type(domain_event)),
            state=msgspec.json.encode(domain_event),
        )

    @override
    def to_domain_event(self, stored_event: Any) -> Any:
        return msgspec.json.decode(stored_event.state, type=resolve_topic(stored_event.topic))


class MsgspecOrders(Application[UUID]):
    name = "orders"

    @override
    def construct_mapper(self) -> Any:
        return MsgspecMapper(transcoder=self.construct_transcoder())


def environment(url: str, schema: str, module: str = THEIRS, **options: str) -> dict[str, str]:
    """Settings of an application on one schema; everything else is the library's default.

    Args:
        url: Of the server.
        schema: Where its tables are.
        module: The persistence module: the library's own, or ours.
        options: Further ones, e.g. ``POSTGRES_POOL_SIZE="1"``.
    """
    parts = conninfo_to_dict(url)
    return {
        "PERSISTENCE_MODULE": module,
        "POSTGRES_HOST": str(parts["host"]),
        "POSTGRES_PORT": str(parts["port"]),
        "POSTGRES_DBNAME": str(parts["dbname"]),
        "POSTGRES_USER": str(parts["user"]),
        "POSTGRES_PASSWORD": "trusted",
        "POSTGRES_SCHEMA": schema,
        **options,
    }


class Saving:
    """``app.save`` of a decorated aggregate that recorded some events."""

    def __init__(self, env: dict[str, str]) -> None:
        self.app = Orders(env)

    def writer(self, events: int) -> Callable[[], None]:
        order = Order(currency="GBP")
        self.app.save(order)
        numbers = count()

        def save() -> None:
            for _ in range(events):
                order.add_item(f"product-{next(numbers) % 40}", 3, PRICE)
            self.app.save(order)

        return save

    def close(self) -> None:
        self.app.close()


class SavingStructs:
    """``app.save`` of msgspec events."""

    def __init__(self, env: dict[str, str]) -> None:
        self.app = MsgspecOrders(env)

    def writer(self, events: int) -> Callable[[], None]:
        order_id, versions = uuid4(), count(1)

        def save() -> None:
            self.app.save(*[_item(order_id, next(versions)) for _ in range(events)])

        return save

    def close(self) -> None:
        self.app.close()


class Inserting:
    """The recorder alone: stored events whose bytes are there already."""

    def __init__(self, env: dict[str, str]) -> None:
        self.app = Orders(env)
        self.topic = get_topic(Order.ItemAdded)  # type: ignore[attr-defined]  # made by @event
        self.state = self.app.mapper.to_stored_event(_recorded()).state

    def writer(self, events: int) -> Callable[[], None]:
        order_id, versions = uuid4(), count(1)
        insert = self.app.recorder.insert_events

        def save() -> None:
            insert(
                [
                    StoredEvent(order_id, next(versions), self.topic, self.state)
                    for _ in range(events)
                ]
            )

        return save

    def close(self) -> None:
        self.app.close()


def _item(order_id: UUID, version: int) -> ItemAdded:
    return ItemAdded(order_id, version, datetime.now(UTC), f"product-{version % 40}", 3, PRICE)


def _recorded() -> Any:
    order = Order(currency="GBP")
    order.add_item("product-7", 3, PRICE)
    return order.collect_events()[-1]
