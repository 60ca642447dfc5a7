"""What the tests of replays share: random histories, and what their rows ought to be.

The expected rows are made by loops over the first so many events, which know nothing of replays.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

from eventcore.events import DomainEvent, NewEvent, stream_of
from eventcore.events.catalogue import (
    OrderCancelled,
    OrderCreated,
    OrderItem,
    OrderItemAdded,
    OrderPaid,
    OrderShipped,
    SessionStarted,
    UserProfileUpdated,
    UserRegistered,
)
from eventcore.events.recorded import Recorded
from eventcore.events.registry import EventRegistry
from eventcore.lake.layout import shard_of
from eventcore.lake.reading import Archive, recorded_of
from eventcore.projections import Projection, built_in_projections
from eventcore.replay.archives import ArchiveAccess, ArchiveShards
from eventcore.replay.shards import Shards
from eventcore.replay.sources import LogShards
from eventcore.stores.log import ANY_VERSION, Log, StreamAppend
from eventcore.testing.plain_folds import PlainFold
from tests.unit.projections.shops import Baskets, DailySales, Lines, Spenders, Stock

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
CURRENCIES = ("GBP", "EUR")
IDS = ("1", "2", "é", "x#1", "y", "z")
PRODUCTS = ("apple", "pear", "fig")

Happened = tuple[DomainEvent, datetime]


def projections() -> list[Projection]:
    """The built-in ones, and one of the user's own for each way a handler can be called."""
    return [*built_in_projections(), DailySales(), Stock(), Baskets(), Spenders(), Lines()]


def moment(second: float) -> datetime:
    """A time, so many seconds after the beginning."""
    return BEGIN + timedelta(seconds=second)


def random_history(seed: int, events: int, ids: Sequence[str] = IDS) -> list[Happened]:
    """Events of some streams; their times mostly grow, and now and then step back or far ahead."""
    chance = random.Random(seed)
    history, second = [], 0.0
    for _ in range(events):
        second += chance.choice([0, 1, 1, 2, 30])
        told = second + chance.choice([0, 0, 0, 0, -40, 60])
        history.append((_payload(chance, ids), moment(max(told, 0))))
    return history


def _payload(chance: random.Random, ids: Sequence[str]) -> DomainEvent:
    id_ = chance.choice(ids)
    user = chance.choice([None, "u1", "u2"])
    price = Decimal(chance.randrange(1, 10_000)) / 100
    items = tuple(
        OrderItem(product_id=product, quantity=chance.randint(1, 3), price=price)
        for product in chance.sample(PRODUCTS, chance.randint(1, 3))
    )
    total = sum((item.price * item.quantity for item in items), Decimal(0))
    made: Sequence[DomainEvent] = [
        UserRegistered(user_id=id_, email=f"{chance.randrange(9)}@example.org"),
        UserProfileUpdated(user_id=id_, first_name=chance.choice(["Ada", "Bob"])),
        OrderCreated(
            order_id=id_,
            user_id=user,
            items=items,
            total_amount=total,
            currency=chance.choice(CURRENCIES),
        ),
        OrderItemAdded(order_id=id_, product_id="fig", quantity=1, price=price),
        OrderPaid(order_id=id_, amount=price),
        OrderShipped(order_id=id_),
        OrderCancelled(order_id=id_),
        SessionStarted(session_id=id_, user_id="u1"),
    ]
    return chance.choice(made)


def fill(log: Log, history: Iterable[Happened], *, first_id: int = 1) -> int:
    """Append each event to its stream; gives the head."""
    for payload, at in history:
        event_id = UUID(int=log.head() + first_id)
        event = log.codec.encode(NewEvent(payload=payload, event_id=event_id, timestamp=at))
        log.append([StreamAppend(stream_of(payload), ANY_VERSION, [event])])
    return log.head()


def had_happened(log: Log, until: int | datetime | None) -> list[Recorded[Any]]:
    """The events of a log that a cut leaves, found the plainest way there is."""
    left, ended = [], set()
    for event in log.read():
        if isinstance(until, datetime):
            if event.timestamp > until:
                ended.add(event.stream)
            if event.stream not in ended:
                left.append(event)
        elif until is None or event.position <= until:
            left.append(event)
    return left


def expected_rows(
    log: Log, until: int | datetime | None, of: Sequence[Projection] | None = None
) -> dict[str, list[Any]]:
    """Rows by table, each table's by key."""
    events = had_happened(log, until)
    found = {}
    for projection in of or projections():
        rows = PlainFold(projection).apply(events)
        for table in projection.tables:
            kept = rows[table.name]
            stored = {table.encode([row])[0]: None for row in kept.values()}
            found[table.name] = table.decode(sorted(stored, key=_key_of(table)))
    return found


def _key_of(table: Any) -> Any:
    names = [column.name for column in table.columns]
    places = [names.index(name) for name in table.key]
    return lambda row: tuple(row[place] for place in places)


def rows_in(views: Any, of: Sequence[Projection] | None = None) -> dict[str, list[Any]]:
    """The same of what views keep."""
    found = {}
    for projection in of or projections():
        for table in projection.tables:
            rows = table.encode(list(views.query(table)))
            found[table.name] = table.decode(sorted(rows, key=_key_of(table)))
    return found


class MemoryShards:
    """A log of this process in shards, each read alone; for executors of threads."""

    def __init__(self, log: Log, shards: int = 3) -> None:
        self.log = log
        self.shards = shards
        self.reads: list[Shards] = []

    @property
    def division(self) -> str:
        return f"{self.shards} of a test"

    @property
    def registry(self) -> EventRegistry:
        return self.log.codec.registry

    def groups(self, workers: int | None) -> list[Shards]:
        return [(shard,) for shard in range(self.shards)]

    def read(
        self, shards: Shards, *, until: int, types: frozenset[str] | None
    ) -> Iterator[list[Recorded[Any]]]:
        self.reads.append(shards)
        events = [
            event
            for event in self.log.read(until=until)
            if sum(event.stream.encode()) % self.shards in shards
            and (types is None or event.type in types)
        ]
        for first in range(0, len(events), 5):
            yield events[first : first + 5]

    def parquet(self) -> None:
        return


def archive_shards(archive: Archive, log: Log) -> ArchiveShards:
    """The shards of an archive, beside a log that stays open."""

    class Open:
        read_page = staticmethod(log.read_page)
        head = staticmethod(log.head)

        def close(self) -> None:
            """Others use it."""

    access = ArchiveAccess(
        lambda _url: archive,
        recorded_of,
        shard_of,
        lambda _archive: tuple(f"{archive.url}/{file.name}" for file in archive.files()),
    )
    source = LogShards(lambda _url, _codec: cast("Log", Open()), "the log", log.codec)
    return ArchiveShards(access, archive.url, len(archive.shards()), log=source)
