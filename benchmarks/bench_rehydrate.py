"""Rebuilding an order of 1,000 events from a SQLite file, beside the library eventcore is built on.

Three sides, measured in turn, round by round, so that whatever else the machine does hits all of them:

* eventcore: ``Repository.get`` without cache and without snapshots;
* ``eventsourcing`` as shipped: decorated aggregate, JSON transcoder;
* ``eventsourcing`` at its best with pydantic: frozen pydantic events, a mapper of its own with orjson, a
  projector that folds into one mutable object by a table, all under ``python -O`` in a process beside.

All three keep the same order: the same 1,000 facts, lines by product, an exact Decimal subtotal.

    python benchmarks/bench_rehydrate.py [--rounds N] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

EVENTS = 1_000
GETS_PER_ROUND = 5
ROUNDS = 15
TARGETS = {"shipped": 5.0, "pydantic_optimised": 2.0}
ORDER_ID = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
PRICE = Decimal("2.25")


def facts() -> Iterator[tuple[str, str, int]]:
    """What happens to the order after it was created: 999 lines added and pieces removed."""
    for n in range(EVENTS - 1):
        if n % 5 == 4:
            yield "removed", f"product-{(n - 1) % 40}", 1
        else:
            yield "added", f"product-{n % 40}", 3


def eventcore_side(folder: Path) -> Callable[[], Decimal]:
    from eventcore.aggregates.orders import Order
    from eventcore.app import open_app
    from eventcore.commands.repository import Repository
    from eventcore.events.catalogue.orders import OrderItem

    app = open_app(f"sqlite:///{folder / 'eventcore.db'}")
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
        found = repository.get(Order, str(ORDER_ID))
        assert found.version == EVENTS
        return found.subtotal

    return get


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


def shipped_side(folder: Path) -> Callable[[], Decimal]:
    from eventsourcing.application import Application
    from eventsourcing.domain import Aggregate, event

    class Order(Aggregate):
        def __init__(self, product_id: str, quantity: int, price: Decimal, currency: str) -> None:
            self.currency = currency
            self.state = Lines()
            self.state.add(product_id, quantity, price)

        @staticmethod
        def create_id(**_: Any) -> UUID:
            return ORDER_ID

        @event("ItemAdded")
        def add_item(self, product_id: str, quantity: int, price: Decimal) -> None:
            self.state.add(product_id, quantity, price)

        @event("ItemRemoved")
        def remove_item(self, product_id: str, quantity: int) -> None:
            self.state.remove(product_id, quantity)

    sys.modules[__name__].Order = Order  # type: ignore[attr-defined]  # stored by path
    Order.__qualname__ = "Order"
    for name in ("Created", "ItemAdded", "ItemRemoved"):
        getattr(Order, name).__qualname__ = f"Order.{name}"
    application: Application[UUID] = Application(
        {
            "PERSISTENCE_MODULE": "eventsourcing.sqlite",
            "SQLITE_DBNAME": str(folder / "shipped.db"),
        }
    )
    order = Order("product-0", 3, PRICE, "GBP")
    for kind, product_id, quantity in facts():
        if kind == "added":
            order.add_item(product_id, quantity, PRICE)
        else:
            order.remove_item(product_id, quantity)
    application.save(order)

    def get() -> Decimal:
        found: Any = application.repository.get(ORDER_ID)
        assert found.version == EVENTS
        return found.state.subtotal

    return get


def pydantic_side(folder: Path) -> Callable[[], Decimal]:
    import orjson
    from eventsourcing.application import Application
    from eventsourcing.persistence import Mapper, StoredEvent
    from eventsourcing.utils import get_topic, resolve_topic
    from pydantic import BaseModel, ConfigDict

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

    for cls in (Created, ItemAdded, ItemRemoved):
        cls.__qualname__ = cls.__name__
        setattr(sys.modules[__name__], cls.__name__, cls)

    class OrjsonMapper(Mapper[UUID]):
        def to_stored_event(self, domain_event: Any) -> StoredEvent:
            state = domain_event.model_dump(mode="json")
            return StoredEvent(
                originator_id=domain_event.originator_id,
                originator_version=domain_event.originator_version,
                topic=get_topic(type(domain_event)),
                state=orjson.dumps(state),
            )

        def to_domain_event(self, stored_event: Any) -> Any:
            return resolve_topic(stored_event.topic)(**orjson.loads(stored_event.state))

    class Shop(Application[UUID]):
        def construct_mapper(self) -> Any:
            return OrjsonMapper(transcoder=self.construct_transcoder())

    def add(lines: Lines, event: Any) -> None:
        lines.add(event.product_id, event.quantity, event.price)

    def remove(lines: Lines, event: Any) -> None:
        lines.remove(event.product_id, event.quantity)

    appliers = {Created: add, ItemAdded: add, ItemRemoved: remove}

    def project(_initial: Any, events: Any) -> Any:
        lines = Lines()
        for event in events:
            appliers[type(event)](lines, event)
        return lines

    application = Shop(
        {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": str(folder / "best.db")}
    )
    now = datetime.now(UTC)
    events: list[Any] = [
        Created(
            originator_id=ORDER_ID,
            originator_version=1,
            timestamp=now,
            product_id="product-0",
            quantity=3,
            price=PRICE,
            currency="GBP",
        )
    ]
    for version, (kind, product_id, quantity) in enumerate(facts(), start=2):
        base = {"originator_id": ORDER_ID, "originator_version": version, "timestamp": now}
        if kind == "added":
            events.append(ItemAdded(**base, product_id=product_id, quantity=quantity, price=PRICE))
        else:
            events.append(ItemRemoved(**base, product_id=product_id, quantity=quantity))
    application.save(*events)

    def get() -> Decimal:
        found: Any = application.repository.get(ORDER_ID, projector_func=project)
        return found.subtotal

    return get


def seconds_of(get: Callable[[], Decimal]) -> float:
    started = time.perf_counter()
    for _ in range(GETS_PER_ROUND):
        get()
    return (time.perf_counter() - started) / GETS_PER_ROUND


def serve(folder: Path) -> None:
    """The side under ``python -O``: one round a line of standard input."""
    if __debug__:
        sys.exit("the rival at its best runs under python -O")
    get = pydantic_side(folder)
    print(get(), flush=True)
    for _ in sys.stdin:
        print(seconds_of(get), flush=True)


def measure(folder: Path, rounds: int) -> dict[str, Any]:
    with subprocess.Popen(
        [sys.executable, "-O", __file__, "--serve", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as rival:
        assert rival.stdin is not None
        assert rival.stdout is not None

        def ask() -> float:
            rival.stdin.write("\n")
            rival.stdin.flush()
            return float(rival.stdout.readline())

        ours, shipped = eventcore_side(folder), shipped_side(folder)
        totals = {ours(), shipped(), Decimal(rival.stdout.readline())}
        if len(totals) != 1:
            sys.exit(f"the sides disagree about the order: {totals}")
        sides = {
            "eventcore": lambda: seconds_of(ours),
            "shipped": lambda: seconds_of(shipped),
            "pydantic_optimised": ask,
        }
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(rounds):
            for name, side in sides.items():
                seconds[name].append(side())
        rival.stdin.close()
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    ratios = {
        name: statistics.median(
            theirs / mine for theirs, mine in zip(seconds[name], seconds["eventcore"], strict=True)
        )
        for name in TARGETS
    }
    return {
        "benchmark": "rehydrate",
        "events": EVENTS,
        "rounds": rounds,
        "events_per_second": {name: round(EVENTS / median) for name, median in medians.items()},
        "times_as_fast_as": {name: round(ratio, 2) for name, ratio in ratios.items()},
        "targets": TARGETS,
        "held": all(ratios[name] >= target for name, target in TARGETS.items()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve)
        return
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder), arguments.rounds)
    print(json.dumps(result, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")
    sys.exit(0 if result["held"] else 1)


if __name__ == "__main__":
    main()
