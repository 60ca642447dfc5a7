"""How fast read models catch up from empty on SQLite.

A shop's log has everything in it. A log of its own types holds nothing but the events that the
projection has handlers for: the honest lower bound. ``events``, ``user_events`` and ``analytics``
take every event, so the shop's log is their own.

    python -m benchmarks.bench_projections [--events N] [--repeat N]
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from benchmarks.measuring import Figure, arguments, report
from eventcore.events import Codec, DomainEvent, NewEvent, stream_of
from eventcore.events.catalogue import (
    ModelDeployed,
    ModelRegistered,
    ModelRetired,
    ModelVersionTrained,
    OrderCreated,
    OrderDelivered,
    OrderItem,
    OrderItemAdded,
    OrderItemRemoved,
    OrderPaid,
    OrderShipped,
    SessionActivity,
    SessionEnded,
    SessionStarted,
    UserEmailChanged,
    UserProfileUpdated,
    UserRegistered,
    UserSuspended,
    WebhookReceived,
)
from eventcore.events.recorded import EncodedEvent
from eventcore.projections import Projection, ProjectionRunner, built_in_projections
from eventcore.projections.plan import Plan
from eventcore.projections.sqlite import SQLiteViews
from eventcore.stores.log import ANY_VERSION, StreamAppend
from eventcore.stores.sqlite.log import SQLiteLog

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
BATCH_EVENTS = 500
ALONE_TARGET = 60_000
TOGETHER_TARGET = 15_000
FAMILIES = {"user": 3, "session": 10, "order": 10, "model": 1, "webhook": 4}
FAMILY_OF = {
    "users": "user",
    "user_sessions": "session-ends",
    "orders": "order",
    "order_items": "order-items",
    "ml_models": "model",
}


def identifier(draw: random.Random, tick: int) -> UUID:
    """A UUID of version 7, as an application makes them."""
    head = (int(BEGIN.timestamp() * 1000) + tick) << 80
    return UUID(int=head | 7 << 76 | draw.getrandbits(12) << 64 | 2 << 62 | draw.getrandbits(62))


def user_life(draw: random.Random, tick: int, users: list[str]) -> Iterator[DomainEvent]:
    user = str(identifier(draw, tick))
    users.append(user)
    yield UserRegistered(
        user_id=user, email=f"{user[-12:]}@example.com", first_name="Ada", last_name="L"
    )
    yield UserProfileUpdated(user_id=user, first_name="Grace")
    yield UserEmailChanged(user_id=user, email=f"{user[-12:]}@example.org")
    if draw.random() < 0.1:
        yield UserSuspended(user_id=user, reason="abuse")


def session_life(
    draw: random.Random, tick: int, users: list[str], *, activity: int = 5
) -> Iterator[DomainEvent]:
    session = str(identifier(draw, tick))
    user = draw.choice(users) if users and draw.random() < 0.7 else None
    yield SessionStarted(session_id=session, user_id=user)
    for number in range(draw.randint(1, activity) if activity else 0):
        yield SessionActivity(session_id=session, action="view", target=f"/products/{number}")
    yield SessionEnded(session_id=session)


def order_life(
    draw: random.Random, tick: int, users: list[str], *, items_only: bool = False
) -> Iterator[DomainEvent]:
    order = str(identifier(draw, tick))
    items = tuple(
        OrderItem(
            product_id=f"SKU-{draw.randint(1, 4000)}",
            quantity=draw.randint(1, 5),
            price=Decimal(draw.randint(100, 9999)) / 100,
        )
        for _ in range(draw.randint(1, 3))
    )
    total = sum((item.quantity * item.price for item in items), Decimal(0))
    user = draw.choice(users) if users else None
    yield OrderCreated(
        order_id=order, user_id=user, items=items, total_amount=total, currency="GBP"
    )
    if items_only or draw.random() < 0.1:
        yield OrderItemAdded(order_id=order, product_id="SKU-0", quantity=1, price=Decimal("9.99"))
        yield OrderItemRemoved(order_id=order, product_id="SKU-0", quantity=1)
    if not items_only:
        yield OrderPaid(order_id=order, amount=total, payment_method="card")
        yield OrderShipped(order_id=order, carrier="DHL")
        yield OrderDelivered(order_id=order)


def model_life(draw: random.Random, tick: int, _: list[str]) -> Iterator[DomainEvent]:
    model = str(identifier(draw, tick))
    yield ModelRegistered(model_id=model, name="churn", model_type="classifier")
    for version in ("1", "2"):
        metrics = {"auc": draw.random(), "f1": draw.random()}
        yield ModelVersionTrained(model_id=model, model_version=version, metrics=metrics)
        yield ModelDeployed(model_id=model, model_version=version)
    yield ModelRetired(model_id=model, model_version="1")


def webhook(draw: random.Random, tick: int, _: list[str]) -> Iterator[DomainEvent]:
    number = str(identifier(draw, tick))
    yield WebhookReceived(
        webhook_id=number, source="github", payload={"action": "opened", "number": tick}
    )


LIVES: dict[str, Callable[[random.Random, int, list[str]], Iterator[DomainEvent]]] = {
    "user": user_life,
    "session": session_life,
    "session-ends": partial(session_life, activity=0),
    "order": order_life,
    "order-items": partial(order_life, items_only=True),
    "model": model_life,
    "webhook": webhook,
}


def shop(count: int, families: dict[str, int], seed: int = 7) -> Iterator[tuple[str, EncodedEvent]]:
    """Events of many lives at once, interleaved as a busy shop records them."""
    draw, codec = random.Random(seed), Codec()
    users: list[str] = []
    lives: list[Iterator[DomainEvent]] = []
    names, weights = list(families), list(families.values())
    made = 0
    while made < count:
        if len(lives) < 200:
            lives.append(LIVES[draw.choices(names, weights)[0]](draw, made, users))
        place = draw.randrange(len(lives))
        payload = next(lives[place], None)
        if payload is None:
            lives[place] = lives[-1]
            lives.pop()
            continue
        actor = getattr(payload, "user_id", None)
        event = NewEvent(
            payload=payload,
            event_id=identifier(draw, made),
            timestamp=BEGIN + timedelta(seconds=made * 2),
            source="shop",
            user_id=actor or (draw.choice(users) if users and draw.random() < 0.6 else None),
            correlation_id=str(identifier(draw, made)) if draw.random() < 0.5 else None,
        )
        made += 1
        yield stream_of(payload), codec.encode(event)


def fill(log: SQLiteLog, events: Iterator[tuple[str, EncodedEvent]]) -> None:
    batch: dict[str, list[EncodedEvent]] = {}
    held = 0
    for stream, encoded in events:
        batch.setdefault(stream, []).append(encoded)
        held += 1
        if held == BATCH_EVENTS:
            append_batch(log, batch)
            batch, held = {}, 0
    append_batch(log, batch)


def filled(file: Path, events: Iterator[tuple[str, EncodedEvent]]) -> SQLiteLog:
    """A log as an application opens it: durable (FULL), while it was filled faster than that."""
    log = SQLiteLog(file, synchronous="NORMAL")
    fill(log, events)
    log.close()
    return SQLiteLog(file)


def append_batch(log: SQLiteLog, batch: dict[str, list[EncodedEvent]]) -> None:
    if batch:
        log.append([StreamAppend(stream, ANY_VERSION, events) for stream, events in batch.items()])


def catch_up(
    log: SQLiteLog, folder: Path, projections: list[Projection], *, same_file: bool
) -> float:
    """Seconds from empty to the head."""
    file = folder / f"views-{time.monotonic_ns()}.db"
    views = SQLiteViews(log.connections if same_file else file)
    if same_file:
        for projection in projections:
            views.reset(projection)
    begun = time.perf_counter()
    ProjectionRunner(log, views, projections).run_to_head()
    seconds = time.perf_counter() - begun
    views.close()
    return seconds


def measure(count: int, repeat: int, only: list[str], *, same_file: bool) -> dict[str, Any]:
    results: dict[str, Any] = {"events": count, "same_file": same_file, "mixed": {}, "own": {}}
    chosen = [p for p in built_in_projections() if not only or p.name in only]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = filled(folder / "mixed.db", shop(count, FAMILIES))
        for projection in chosen:
            best = min(
                catch_up(log, folder, [projection], same_file=same_file) for _ in range(repeat)
            )
            results["mixed"][projection.name] = round(count / best)
        if not only:
            best = min(
                catch_up(log, folder, built_in_projections(), same_file=same_file)
                for _ in range(repeat)
            )
            results["all_in_one_pass"] = round(count / best)
        log.close()
        for projection in chosen:
            if projection.name not in FAMILY_OF:
                # It takes every event: the mixed log is its own.
                results["own"][projection.name] = results["mixed"][projection.name]
                continue
            results["own"][projection.name] = measure_own(
                folder, projection, count, repeat=repeat, same_file=same_file
            )
    return results


def measure_own(
    folder: Path, projection: Projection, count: int, *, repeat: int, same_file: bool
) -> int:
    family = FAMILY_OF[projection.name]
    log = filled(folder / f"own-{projection.name}.db", shop(count, {family: 1}))
    types = Plan(projection).types()
    handled = sum(1 for event in log.read() if types is None or event.type in types)
    best = min(catch_up(log, folder, [projection], same_file=same_file) for _ in range(repeat))
    log.close()
    return round(handled / best)


def measure_wait(rounds: int) -> dict[str, float]:
    """Milliseconds from an append's return until the read models have it."""
    waits = []
    with tempfile.TemporaryDirectory() as name:
        log = SQLiteLog(Path(name) / "shop.db")
        views = SQLiteViews(log.connections)
        runner = ProjectionRunner(log, views, built_in_projections())
        runner.run_to_head()
        runner.start()
        for stream, encoded in shop(rounds, FAMILIES):
            result = log.append([StreamAppend(stream, ANY_VERSION, [encoded])])
            begun = time.perf_counter()
            runner.wait_for(result.positions[-1])
            waits.append((time.perf_counter() - begun) * 1000)
        runner.stop()
        views.close()
        log.close()
    waits.sort()
    return {
        "p50": round(statistics.median(waits), 3),
        "p99": round(waits[int(len(waits) * 0.99)], 3),
    }


def main() -> None:
    """Catch up with each alone and with all, then wait for single appends."""
    options = arguments(__doc__ or "", events=200_000, repeat=2)
    found = measure(options.events, options.repeat, [], same_file=True)
    wait = measure_wait(300)
    figures = [
        Figure(f"{name} alone, a shop's log", rate, "events/s", ALONE_TARGET)
        for name, rate in found["mixed"].items()
    ]
    figures += [
        Figure(f"{name} alone, a log of its own types", rate, "events/s", ALONE_TARGET)
        for name, rate in found["own"].items()
        if name in FAMILY_OF
    ]
    figures.append(
        Figure("all eight in one pass", found["all_in_one_pass"], "events/s", TOGETHER_TARGET)
    )
    figures += [Figure(f"append to read model, {name}", ms, "ms") for name, ms in wait.items()]
    report(f"read models on SQLite from empty, {options.events:,} events", figures)


if __name__ == "__main__":
    main()
