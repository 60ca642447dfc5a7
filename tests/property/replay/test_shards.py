"""Replays in shards: whoever folds them, the rows are those of one fold of the whole."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, NamedTuple

from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from eventcore.events import DomainEvent
from eventcore.events.catalogue import OrderCreated, OrderPaid
from eventcore.projections import MemoryViews, Projection, Table, on
from eventcore.projections.parking import UNITS, WORK
from eventcore.replay import replay
from eventcore.stores.memory.log import MemoryLog
from tests.replaying import (
    MemoryShards,
    expected_rows,
    fill,
    moment,
    projections,
    random_history,
    rows_in,
)
from tests.unit.projections.shops import Baskets, Lines
from tests.unit.projections.test_summaries import Standing


class OwnBaskets(Baskets):
    """By group, each order apart."""

    name = "own_baskets"
    share_by = "stream"


class OwnLines(Lines):
    """Appended."""

    name = "own_lines"
    share_by = "stream"


class VersionRow(NamedTuple):
    stream: str
    number: str
    version: int


VERSIONS = Table("versions", VersionRow, key=["stream", "number"])


class Versions(Projection):
    """By keys and by several rows; the row of version 3 goes again."""

    name = "versions"
    tables = (VERSIONS,)
    share_by = "stream"

    @on(OrderCreated, keys=lambda event: [(event.stream, "a"), (event.stream, "b")])
    def both(self, row: Any, event: Any, key: Any) -> VersionRow | None:
        stream, number = key
        return None if event.version == 3 else VersionRow(stream, number, event.version)

    @on(
        OrderPaid,
        touches=lambda event: [(VERSIONS, (event.stream, "a")), (VERSIONS, (event.stream, "c"))],
    )
    def paid(self, rows: Any, event: Any) -> Any:
        return [rows[1], VersionRow(event.stream, "c", event.version)]


class Fussy(Versions):
    """Fails on every third event of an order, and makes rows that do not fit."""

    name = "fussy"
    fingerprint = "fussy"
    tables = (Table("fussy", VersionRow, key=["stream", "number"]),)

    @override
    @on(OrderCreated, key=lambda event: (event.stream, "a"))
    def both(self, row: Any, event: Any, key: Any = None) -> Any:
        if event.version % 3 == 0:
            msg = "every third"
            raise ValueError(msg)
        # For good: a row that is wrong between two events alone is noticed by nobody.
        version: Any = event.version if event.version < 5 else "five"
        return VersionRow(event.stream, "a", version)

    @override
    @on(OrderPaid, key=lambda event: (event.stream, "a"))
    def paid(self, rows: Any, event: Any) -> Any:
        return rows


class CountedRow(NamedTuple):
    stream: str
    events: int


COUNTED = Table("counted", CountedRow, key=["stream"])


class Counted(Projection):
    """By pages."""

    name = "counted"
    tables = (COUNTED,)
    listens = (DomainEvent,)
    share_by = "stream"

    @override
    def apply_page(self, events: Any, transaction: Any) -> None:
        streams = list(dict.fromkeys(event.stream for event in events))
        before = {row.stream: row.events for row in transaction.load_rows(COUNTED, streams)}
        for event in events:
            before[event.stream] = before.get(event.stream, 0) + 1
        transaction.upsert(COUNTED, [CountedRow(one, before[one]) for one in streams])


seeds = st.integers(0, 10**6)
cuts = st.one_of(st.none(), st.integers(0, 40), st.integers(0, 200).map(moment))


def log_of(seed: int, events: int = 40) -> MemoryLog:
    log = MemoryLog()
    fill(log, random_history(seed, events))
    return log


@given(seeds, cuts)
def test_shards_come_to_the_rows_of_the_whole(seed: int, until: int | datetime | None):
    log = log_of(seed)
    of = projections()
    views, source = MemoryViews(), MemoryShards(log)

    done = replay(log, of, views, until=until, source=source, processes=1)

    assert rows_in(views, of) == expected_rows(log, until, of)
    assert set(done.apart) == {one.name for one in of if one.share_by == "stream"}
    assert set(done.together) == {one.name for one in of if one.share_by != "stream"}


@given(seeds, cuts)
def test_shards_and_pages_come_to_the_same_rows(seed: int, until: int | datetime | None):
    log, whole, apart = log_of(seed), MemoryViews(), MemoryViews()
    of = [Versions(), Fussy(), Counted(), OwnBaskets(), OwnLines(), Standing()]

    first = replay(log, of, whole, until=until)
    with ThreadPoolExecutor(2) as executor:
        second = replay(log, of, apart, until=until, source=MemoryShards(log), executor=executor)

    assert rows_in(apart, of) == rows_in(whole, of)
    assert second.parked == first.parked
    assert second.position == first.position
    assert list(apart.query(UNITS)) == list(whole.query(UNITS))
    assert list(apart.query(WORK)) == list(whole.query(WORK))
