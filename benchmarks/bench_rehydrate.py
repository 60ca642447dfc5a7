"""Rebuilding an order of 1,000 events from a SQLite file, beside the library eventcore builds on.

Four sides, measured in turn, round by round, so that whatever else the machine does hits them all:

* eventcore: ``Repository.get`` without cache and without snapshots;
* ``eventsourcing`` as shipped: decorated aggregate, JSON transcoder;
* ``eventsourcing`` with pydantic as its documentation shows for immutable aggregates: frozen
  pydantic events, a mapper of its own with orjson, a mutator by ``singledispatch``;
* the same tuned by hand beyond that: the projector folds into one mutable object by a table.

The latter two run under ``python -O`` in a process beside. All keep the same order: the same 1,000
facts, lines by product, an exact Decimal subtotal.

    python -m benchmarks.bench_rehydrate [--rounds N] [--json]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial, singledispatch
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import Mapper, StoredEvent
from eventsourcing.utils import get_topic, resolve_topic
from pydantic import BaseModel, ConfigDict
from typing_extensions import override

from benchmarks.measuring import interleaved, rate, ratio, report
from eventcore.aggregates.orders import Order
from eventcore.app import open_app
from eventcore.commands.repository import Repository
from eventcore.events.catalogue.orders import OrderItem

EVENTS = 1_000
GETS_PER_ROUND = 5
ROUNDS = 15
FORMS = {"documented": "pydantic as documented", "tuned": "pydantic tuned by hand"}
ORDER_ID = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
PRICE = Decimal("2.25")


def facts() -> Iterator[tuple[str, str, int]]:
    """What happens to the order after it was created: 999 lines added and pieces removed."""
    for n in range(EVENTS - 1):
        if n % 5 == 4:
            yield "removed", f"product-{(n - 1) % 40}", 1
        else:
            yield "added", f"product-{n % 40}", 3


@dataclass
class Lines:
    """The state that both rivals keep, by the same means as eventcore's order."""

    lines: dict[str, list[tuple[int, str, int, Decimal]]] = field(default_factory=dict)
    lines_added: int = 0
    subtotal: Decimal = Decimal(0)

    def add(self, product_id: str, quantity: int, price: Decimal) -> None:
        self.lines_added += 1
        self.subtotal += quantity * price
        line = (self.lines_added, product_id, quantity, price)
        self.lines.setdefault(product_id, []).append(line)

    def remove(self, product_id: str, quantity: int) -> None:
        lines = self.lines[product_id]
        while quantity and lines:
            number, _, present, price = lines.pop()
            taken = min(present, quantity)
            self.subtotal -= taken * price
            quantity -= taken
            if taken < present:
                lines.append((number, product_id, present - taken, price))


def eventcore_side(url: str) -> Callable[[], Decimal]:
    app = open_app(url)
    order = Order(id=str(ORDER_ID))
    first = OrderItem(product_id="product-0", quantity=3, price=PRICE)
    order.create(items=[first], currency="GBP")
    for kind, product_id, quantity in facts():
        if kind == "added":
            order.add_item(product_id=product_id, quantity=quantity, price=PRICE)
        else:
            order.remove_item(product_id=product_id, quantity=quantity)
    app.save(order)
    repository = Repository(app.log, cached_max=0)

    def get() -> Decimal:
        return repository.get(Order, str(ORDER_ID)).subtotal

    return get


class ShippedOrder(Aggregate):
    def __init__(self, *, product_id: str, quantity: int, price: Decimal, currency: str) -> None:
        self.currency = currency
        self.state = Lines()
        self.state.add(product_id, quantity, price)

    @staticmethod
    @override
    def create_id(**_: Any) -> UUID:
        return ORDER_ID

    @event("ItemAdded")
    def add_item(self, product_id: str, quantity: int, price: Decimal) -> None:
        self.state.add(product_id, quantity, price)

    @event("ItemRemoved")
    def remove_item(self, product_id: str, quantity: int) -> None:
        self.state.remove(product_id, quantity)


def shipped_side(env: dict[str, str]) -> Callable[[], Decimal]:
    application = Application[UUID](env)
    order = ShippedOrder(product_id="product-0", quantity=3, price=PRICE, currency="GBP")
    for kind, product_id, quantity in facts():
        if kind == "added":
            order.add_item(product_id, quantity, PRICE)
        else:
            order.remove_item(product_id, quantity)
    application.save(order)

    def get() -> Decimal:
        found: Any = application.repository.get(ORDER_ID)
        return Decimal(found.state.subtotal)

    return get


class Event(BaseModel):
    model_config = ConfigDict(frozen=True)
    originator_id: UUID
    originator_version: int
    timestamp: datetime


class Created(Event):
    product_id: str
    quantity: int
    price: Decimal
    currency: str


class ItemAdded(Event):
    product_id: str
    quantity: int
    price: Decimal


class ItemRemoved(Event):
    product_id: str
    quantity: int


class OrjsonMapper(Mapper[UUID]):
    @override
    def to_stored_event(self, domain_event: Any) -> StoredEvent:
        return StoredEvent(
            originator_id=domain_event.originator_id,
            originator_version=domain_event.originator_version,
            topic=get_topic(type(domain_event)),
            state=orjson.dumps(domain_event.model_dump(mode="json")),
        )

    @override
    def to_domain_event(self, stored_event: Any) -> Any:
        return resolve_topic(stored_event.topic)(**orjson.loads(stored_event.state))


class Shop(Application[UUID]):
    @override
    def construct_mapper(self) -> Any:
        return OrjsonMapper(transcoder=self.construct_transcoder())


def pydantic_shop(env: dict[str, str]) -> Shop:
    """An application with the order stored as pydantic events."""
    shop = Shop(env)
    base: dict[str, Any] = {"originator_id": ORDER_ID, "timestamp": datetime.now(UTC)}
    first = {"product_id": "product-0", "quantity": 3, "price": PRICE, "currency": "GBP"}
    events: list[Any] = [Created(originator_version=1, **base, **first)]
    for version, (kind, product_id, quantity) in enumerate(facts(), start=2):
        fact = {"originator_version": version, "product_id": product_id, "quantity": quantity}
        if kind == "added":
            events.append(ItemAdded(**base, **fact, price=PRICE))
        else:
            events.append(ItemRemoved(**base, **fact))
    shop.save(*events)
    return shop


def tuned_side(env: dict[str, str]) -> Callable[[], Decimal]:
    def add(lines: Lines, event: Any) -> None:
        lines.add(event.product_id, event.quantity, event.price)

    def remove(lines: Lines, event: Any) -> None:
        lines.remove(event.product_id, event.quantity)

    appliers: dict[Any, Any] = {Created: add, ItemAdded: add, ItemRemoved: remove}

    def project(_initial: Any, events: Any) -> Any:
        lines = Lines()
        for fact in events:
            appliers[type(fact)](lines, fact)
        return lines

    shop = pydantic_shop(env)

    def get() -> Decimal:
        found: Any = shop.repository.get(ORDER_ID, projector_func=project)
        return Decimal(found.subtotal)

    return get


@dataclass(frozen=True)
class ImmutableOrder:
    """The state of the documented form: each event makes a new one.

    A dataclass and not a pydantic model, and lines shared between the versions: validating or
    copying them for every event would cost the rival many times what it needs.
    """

    id: UUID
    version: int
    modified_on: datetime
    state: Lines


@singledispatch
def mutate(event: Any, order: Any) -> Any:
    raise NotImplementedError(event)


@mutate.register
def _(event: Created, _order: Any) -> ImmutableOrder:
    lines = Lines()
    lines.add(event.product_id, event.quantity, event.price)
    return ImmutableOrder(event.originator_id, 1, event.timestamp, lines)


@mutate.register
def _(event: ItemAdded, order: ImmutableOrder) -> ImmutableOrder:
    order.state.add(event.product_id, event.quantity, event.price)
    return ImmutableOrder(order.id, event.originator_version, event.timestamp, order.state)


@mutate.register
def _(event: ItemRemoved, order: ImmutableOrder) -> ImmutableOrder:
    order.state.remove(event.product_id, event.quantity)
    return ImmutableOrder(order.id, event.originator_version, event.timestamp, order.state)


def documented_side(env: dict[str, str]) -> Callable[[], Decimal]:
    def project(order: Any, events: Any) -> Any:
        for fact in events:
            order = mutate(fact, order)
        return order

    shop = pydantic_shop(env)

    def get() -> Decimal:
        found: Any = shop.repository.get(ORDER_ID, projector_func=project)
        return Decimal(found.state.subtotal)

    return get


def seconds_of(get: Callable[[], Decimal]) -> float:
    started = time.perf_counter()
    for _ in range(GETS_PER_ROUND):
        get()
    return (time.perf_counter() - started) / GETS_PER_ROUND


def serve(sides: dict[str, Callable[[], Decimal]]) -> None:
    """The sides under ``python -O``: the name of one a line of standard input."""
    if __debug__:
        sys.exit("the rival at its best runs under python -O")
    for get in sides.values():
        print(get(), flush=True)
    for line in sys.stdin:
        print(seconds_of(sides[line.strip()]), flush=True)


def measure(
    cases: dict[str, Callable[[], Decimal]],
    forms: Iterable[str],
    *,
    module: str,
    place: str,
    rounds: int,
) -> dict[str, list[float]]:
    """Events a second of the cases here and of the forms in a process beside, round by round.

    Args:
        cases: Those of this process.
        forms: Those of the other process.
        module: What the other process runs, with ``--serve`` and the place.
        place: Where the other's events are.
        rounds: How many.
    """
    forms = list(forms)
    with subprocess.Popen(
        [sys.executable, "-O", "-m", module, "--serve", place],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as rival:
        requests, answers = rival.stdin, rival.stdout
        if requests is None or answers is None:
            sys.exit("the process beside has no pipes")

        def ask(form: str) -> float:
            print(form, file=requests, flush=True)
            return EVENTS / float(answers.readline())

        def here(get: Callable[[], Decimal]) -> float:
            return EVENTS / seconds_of(get)

        totals = {get() for get in cases.values()}
        totals |= {Decimal(answers.readline()) for _ in forms}
        if len(totals) != 1:
            sys.exit(f"the sides disagree about the order: {totals}")
        measured = {name: partial(here, get) for name, get in cases.items()}
        measured |= {form: partial(ask, form) for form in forms}
        rates = interleaved(measured, rounds)
        requests.close()
    return rates


def sqlite(path: Path) -> dict[str, str]:
    """Environment of an application of the base library on a SQLite file."""
    return {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": str(path)}


def main() -> None:
    parser = argparse.ArgumentParser(description="Rebuild an order of 1,000 events.")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve({form: side(sqlite(options.serve / f"{form}.db")) for form, side in SIDES.items()})
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cases = {
            "eventcore": eventcore_side(f"sqlite:///{folder / 'eventcore.db'}"),
            "shipped": shipped_side(sqlite(folder / "shipped.db")),
        }
        rates = measure(
            cases, SIDES, module="benchmarks.bench_rehydrate", place=name, rounds=options.rounds
        )
    mine = rates["eventcore"]
    figures = [
        rate("eventcore, from SQLite, no cache, no snapshot", mine),
        rate("eventsourcing as shipped", rates["shipped"]),
        *(rate(f"eventsourcing, {name}, -O", rates[form]) for form, name in FORMS.items()),
        ratio("eventcore / shipped", mine, rates["shipped"], 5.0),
        ratio("eventcore / pydantic as documented, -O", mine, rates["documented"], 2.0),
        ratio("eventcore / pydantic tuned by hand, -O", mine, rates["tuned"]),
    ]
    report("Rehydrating an order of 1,000 events", figures)


SIDES = {"documented": documented_side, "tuned": tuned_side}


if __name__ == "__main__":
    main()
