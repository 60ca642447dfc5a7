"""What an event costs on DynamoDB, in units and in money, and what other layouts would cost.

Computed from the sizes of the items that are really written, by the service's rules
(``tests/dynamodb_costs.py``); nothing is measured and no server is needed::

    python -m benchmarks.dynamodb_costs

``docs/howto/dynamodb.md`` quotes the output.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from contextlib import closing
from typing import Final, NamedTuple

from eventcore.stores.dynamodb.calls import DynamoDBCalls
from eventcore.stores.dynamodb.layout import Keys
from eventcore.stores.dynamodb.log import DynamoDBLog
from eventcore.stores.dynamodb.requests import Commit, Request
from eventcore.stores.log import StreamAppend
from eventcore.testing import EventMaker
from tests.dynamodb_costs import MeteredTables, read_units, write_units

WRITE_DOLLARS_PER_MILLION: Final = 0.625
READ_DOLLARS_PER_MILLION: Final = 0.125
"""On demand, us-east-1, since November 2024 (AWS, "Amazon DynamoDB pricing"). Other regions ask up
to twice as much; provisioned capacity that is well used costs a fraction."""

MONTH_SECONDS: Final = 30 * 24 * 3_600

RATES: Final = (1, 100, 10_000)
"""Events a second."""

STREAM_EVENTS: Final = 20
"""Events of a stream that is appended to, or read whole."""

SMALL: Final = {
    "orderId": "7f3d8a52-0000-4000-8000-000000000000",
    "amount": "129.90",
    "currency": "EUR",
}
"""The payload of an event of some 250 bytes as stored."""


class Cost(NamedTuple):
    """Of one event, or of one act.

    Attributes:
        written: Write units.
        read: Read units.
    """

    written: float
    read: float

    def dollars_a_month(self, times_a_second: float) -> float:
        """On demand, at so many a second."""
        times = times_a_second * MONTH_SECONDS / 1_000_000
        written, read = WRITE_DOLLARS_PER_MILLION, READ_DOLLARS_PER_MILLION
        return times * (self.written * written + self.read * read)


class Layout(NamedTuple):
    """What a library's way of keeping events costs.

    Attributes:
        name: Of the library.
        append: One event to a stream that has many.
        append_ten: Ten events to one stream at once, each event.
        load: A stream of :data:`STREAM_EVENTS` read whole.
        follow: Each event, by one reader of everything.
        order: What order that reader gets.
        writers: What two writers of one stream at once do.
    """

    name: str
    append: Cost
    append_ten: Cost
    load: Cost
    follow: Cost | None
    order: str
    writers: str


def metered() -> tuple[MeteredTables, DynamoDBLog]:
    """An empty log in tables that count."""
    tables = MeteredTables()
    # What is asked for ahead comes from threads, and is asked for once: a few units at the end.
    log = DynamoDBLog(DynamoDBCalls(tables), "log-table", segments_ahead=0)
    tables.restart()
    return tables, log


def spent(tables: MeteredTables, *, per: int = 1) -> Cost:
    """What was asked for since the count began."""
    cost = Cost(tables.written / per, tables.read / per)
    tables.restart()
    return cost


def appending(events: int) -> Cost:
    """One event of an append to one stream of which the end is known."""
    tables, log = metered()
    make = EventMaker()
    log.append([StreamAppend("order-1", 0, [make(data=SMALL)])])
    tables.restart()
    log.append([StreamAppend("order-1", 1, [make(data=SMALL) for _ in range(events)])])
    return spent(tables, per=events)


def appending_together(commits: int) -> Cost:
    """One of so many appends to different streams that share a transaction."""
    tables, log = metered()
    make = EventMaker()
    requests = []
    for number in range(commits):
        append = StreamAppend(f"order-{number}", 0, [make(data=SMALL)])
        requests.append(Request("log", [append]))
        requests[-1].bases = [0]
    log._writing.write(Commit(Keys("log-table"), requests))
    return spent(tables, per=commits)


def loading(events: int) -> Cost:
    """A stream whose events came one by one, read by a process that knows nothing of it."""
    tables, log = metered()
    make = EventMaker()
    for version in range(events):
        log.append([StreamAppend("order-1", version, [make(data=SMALL)])])
    tables.restart()
    assert len(list(log.read_stream("order-1"))) == events
    return spent(tables)


def following(events: int = 1_000) -> Cost:
    """One event of a log that a follower catches up with."""
    tables, log = metered()
    make = EventMaker()
    for number in range(events):
        log.append([StreamAppend(f"order-{number}", 0, [make(data=SMALL)])])
    tables.restart()
    with closing(log.subscribe()) as subscription:
        assert len(list(itertools.islice(subscription, events))) == events
    return spent(tables, per=events)


def looking() -> Cost:
    """One look of a follower that finds nothing."""
    tables, log = metered()
    log.append([StreamAppend("order-1", 0, [EventMaker()(data=SMALL)])])
    with closing(log.subscribe(1)) as subscription:
        subscription.next_page(0)
        tables.restart()
        subscription.next_page(0)
    return spent(tables)


def trimming(events: int, streams: int = 100) -> Cost:
    """One event that leaves the log, of streams that had so many appended at once."""
    tables, log = metered()
    make = EventMaker()
    for number in range(streams):
        stream = f"order-{number}"
        log.append([StreamAppend(stream, 0, [make(data=SMALL) for _ in range(events)])])
        log.append([StreamAppend(stream, events, [make(data=SMALL)])])
    old = [event for event in log.read() if event.version <= events]
    tables.restart()
    assert log.trim(old, archive="lake") == len(old)
    return spent(tables, per=len(old))


def view_row(indexes: int = 0, size: int = 500) -> Cost:
    """A row that a page changes: written in a transaction, and read before."""
    return Cost(2 * write_units(size) + indexes * write_units(size), read_units(size))


def event_bytes() -> int:
    """Of one event in an item of its own, its keys and metadata included."""
    return 120 + len(EventMaker()(data=SMALL).state)


def layouts() -> list[Layout]:
    """This library's layout, and those of others as their sources have it."""
    size = event_bytes()
    items = read_units(size * STREAM_EVENTS)
    return [
        Layout(
            "eventcore",
            appending(1),
            appending(10),
            loading(STREAM_EVENTS),
            following(),
            "total, nothing skipped",
            "one is refused",
        ),
        equinox(size),
        Layout(
            # An item an event, and its copy in an index by slice and time; the reader asks for
            # everything a second time some seconds later (backtracking).
            "Akka 2.0",
            Cost(2 * write_units(size), 0),
            Cost(2 * write_units(size) + write_units(size), 0),
            Cost(0, items),
            Cost(0, 2 * read_units(size * 100, consistent=False) / 100),
            "by clock, then again",
            "overwrite each other",
        ),
        Layout(
            # An item an event; several at once in a transaction.
            "castore",
            Cost(write_units(size), 0),
            Cost(2 * write_units(size), 0),
            Cost(0, items),
            None,
            "none",
            "one is refused",
        ),
    ]


def equinox(size: int) -> Layout:
    """A stream's newest events in one item, up to 32 KiB, that each append rewrites whole.

    A function at the table's stream copies each event's place into an index of its own, of which
    readers learn it; they then fetch the stream's item.
    """
    tip, index = STREAM_EVENTS * size, 1.0
    append = Cost(write_units(tip + size) + index, 0)
    append_ten = Cost((write_units(tip + 10 * size) + index) / 10, 0)
    follow = Cost(0, 0.1 + read_units(tip, consistent=False))
    order = "total, but later"
    return Layout(
        "Equinox", append, append_ten, Cost(0, read_units(tip)), follow, order, "one is refused"
    )


def acts() -> list[tuple[str, Cost]]:
    """What one event, or one act, costs here."""
    return [
        ("append, alone", appending(1)),
        ("append, ten that share a transaction, each", appending_together(10)),
        ("append of ten events to one stream, each event", appending(10)),
        (f"load a stream of {STREAM_EVENTS} events", loading(STREAM_EVENTS)),
        ("follow, each event and follower", following()),
        ("follow, a look that finds nothing", looking()),
        ("trim, each event that was appended alone", trimming(1)),
        ("trim, each of ten that were appended to one stream", trimming(10)),
        ("view row, each time a page changes it", view_row()),
        ("view row that is in two indexes", view_row(indexes=2)),
    ]


def money() -> list[tuple[str, Cost]]:
    """What an event costs all in all, in a few ways to use the log."""
    alone, together, follow, row = appending(1), appending_together(10), following(), view_row()
    return [
        ("appended alone", alone),
        ("appended in groups of ten", together),
        ("in groups of ten, one follower", _sum(together, follow)),
        ("and one row of a view for each", _sum(together, follow, row)),
        ("and one row for ten events", _sum(together, follow, _share(row, 10))),
    ]


def _sum(*costs: Cost) -> Cost:
    return Cost(sum(cost.written for cost in costs), sum(cost.read for cost in costs))


def _share(cost: Cost, of: int) -> Cost:
    return Cost(cost.written / of, cost.read / of)


def table_of_acts() -> str:
    """Units, as the document shows them."""
    rows = [(name, f"{cost.written:.2f}", f"{cost.read:.2f}") for name, cost in acts()]
    return _table(("what", "write units", "read units"), rows)


def table_of_money() -> str:
    """Dollars a month, as the document shows them."""
    heads = ("dollars a month", *(f"{rate:,} events/s" for rate in RATES))
    rows = [
        (name, *(_dollars(cost.dollars_a_month(rate)) for rate in RATES)) for name, cost in money()
    ]
    return _table(heads, rows)


def table_of_layouts() -> str:
    """Other layouts, as the document shows them."""
    rows = [
        (
            one.name,
            f"{one.append.written:.1f}",
            f"{one.append_ten.written:.1f}",
            f"{one.load.read:.0f}",
            "not possible" if one.follow is None else f"{one.follow.read:.2f}",
            one.order,
            one.writers,
        )
        for one in layouts()
    ]
    heads = (
        "layout",
        "append 1 (WCU)",
        "1 of 10 (WCU)",
        f"load {STREAM_EVENTS} (RCU)",
        "follow (RCU/event)",
        "order of all events",
        "two writers of a stream",
    )
    return _table(heads, rows)


def _dollars(amount: float) -> str:
    return f"{amount:,.2f}" if amount < 100 else f"{amount:,.0f}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---", *["---:" for _ in heads[1:]]], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Print the tables."""
    for table in (table_of_acts(), table_of_money(), table_of_layouts()):
        print(table, end="\n\n")


if __name__ == "__main__":
    main()
