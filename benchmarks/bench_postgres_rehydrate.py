"""Rebuilding an order of 1,000 events from Postgres, beside the library eventcore builds on.

The sides are those of :mod:`benchmarks.bench_rehydrate`, on Postgres, and one more: msgspec structs
and an immutable aggregate, the fastest form that the base library documents.

    python -m benchmarks.bench_postgres_rehydrate [--rounds N] [--json]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
from eventsourcing.application import Application
from typing_extensions import override

from benchmarks.bench_rehydrate import (
    FORMS,
    ORDER_ID,
    PRICE,
    ROUNDS,
    SIDES,
    Lines,
    eventcore_side,
    facts,
    measure,
    serve,
    shipped_side,
)
from benchmarks.measuring import rate, ratio, report
from benchmarks.postgres_server import new_schema, server, settle, version
from benchmarks.rivals_eventsourcing import MsgspecMapper, environment

MODULE = "benchmarks.bench_postgres_rehydrate"
TARGET = 5.0


class StructCreated(msgspec.Struct, frozen=True):
    originator_id: UUID
    originator_version: int
    timestamp: datetime
    product_id: str
    quantity: int
    price: Decimal
    currency: str


class StructAdded(msgspec.Struct, frozen=True):
    originator_id: UUID
    originator_version: int
    timestamp: datetime
    product_id: str
    quantity: int
    price: Decimal


class StructRemoved(msgspec.Struct, frozen=True):
    originator_id: UUID
    originator_version: int
    timestamp: datetime
    product_id: str
    quantity: int


class StructOrder(msgspec.Struct, frozen=True):
    """As in the documentation each event makes a new one; the lines are shared between them."""

    id: UUID
    version: int
    modified_on: datetime
    state: Lines


class StructShop(Application[UUID]):
    @override
    def construct_mapper(self) -> Any:
        return MsgspecMapper(transcoder=self.construct_transcoder())


def mutate_struct(event: Any, order: Any) -> StructOrder:
    match event:
        case StructCreated():
            lines = Lines()
            lines.add(event.product_id, event.quantity, event.price)
            return StructOrder(event.originator_id, 1, event.timestamp, lines)
        case StructAdded():
            order.state.add(event.product_id, event.quantity, event.price)
        case StructRemoved():
            order.state.remove(event.product_id, event.quantity)
        case _:
            raise NotImplementedError(event)
    return StructOrder(order.id, event.originator_version, event.timestamp, order.state)


def struct_side(env: dict[str, str]) -> Callable[[], Decimal]:
    shop, now = StructShop(env), datetime.now(UTC)
    events: list[Any] = [StructCreated(ORDER_ID, 1, now, "product-0", 3, PRICE, "GBP")]
    for number, (kind, product_id, quantity) in enumerate(facts(), start=2):
        if kind == "added":
            events.append(StructAdded(ORDER_ID, number, now, product_id, quantity, PRICE))
        else:
            events.append(StructRemoved(ORDER_ID, number, now, product_id, quantity))
    shop.save(*events)

    def project(order: Any, stored: Any) -> Any:
        for event in stored:
            order = mutate_struct(event, order)
        return order

    def get() -> Decimal:
        found: Any = shop.repository.get(ORDER_ID, projector_func=project)
        return Decimal(found.state.subtotal)

    return get


BESIDE = {**SIDES, "structs": struct_side}
NAMES = {**FORMS, "structs": "msgspec as documented"}


def main() -> None:
    parser = argparse.ArgumentParser(description="Rebuild an order of 1,000 events.")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve({form: side(environment(options.serve, form)) for form, side in BESIDE.items()})
        return
    with server() as url:
        for form in ("eventcore", "shipped", *BESIDE):
            new_schema(url, form)
        cases = {
            "eventcore": eventcore_side(f"{url}?schema=eventcore"),
            "shipped": shipped_side(environment(url, "shipped")),
        }
        settle(url)
        rates = measure(cases, BESIDE, module=MODULE, place=url, rounds=options.rounds)
        title = f"Rehydrating an order of 1,000 events, Postgres {version(url)}"
    mine = rates["eventcore"]
    figures = [
        rate("eventcore, no cache, no snapshot", mine),
        rate("eventsourcing as shipped", rates["shipped"]),
        *(rate(f"eventsourcing, {name}, -O", rates[form]) for form, name in NAMES.items()),
        ratio("eventcore / shipped", mine, rates["shipped"], TARGET),
        *(ratio(f"eventcore / {name}, -O", mine, rates[form]) for form, name in NAMES.items()),
    ]
    report(title, figures)


if __name__ == "__main__":
    main()
