"""A handler may change what it is given: rows it was not given back never change with it.

And what it is given is the same whether the row was just loaded or remembered: the size of the
pages is never seen.
"""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, NamedTuple

import pytest

from eventcore.events.catalogue import SessionActivity
from eventcore.projections import Engine, MemoryViews, Projection, Table, on
from eventcore.projections.sqlite import SQLiteViews
from eventcore.stores.log import LogFilter
from eventcore.stores.memory.log import MemoryLog
from tests.unit.projections.histories import record, rows_of

EVENTS = 6


class Row(NamedTuple):
    session: str
    place: int
    times: int
    found: dict[str, Any]
    names: list[Any]
    amount: Decimal
    at: datetime
    seen: str


AT = datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=5)))
FIRST = Row("s", 0, 0, {"z": 0, "a": {"y": 1, "b": 2}}, [], Decimal("0.00"), AT, "")


def table(name: str) -> Table[Row]:
    return Table(name, Row, key=["session", "place"], group=["session"])


def place(event: Any) -> tuple[str, int]:
    return event.id, 0


class DictByKey(Projection):
    name = "dict_by_key"
    tables = (table(name),)

    @on(SessionActivity, key=place)
    def count(self, row, event):
        if row is None:
            return FIRST._replace(found={"n": 1})
        row.found["n"] += 1
        row.names.append(event.position)
        return row


class DictByKeys(Projection):
    name = "dict_by_keys"
    tables = (table(name),)

    @on(SessionActivity, keys=lambda event: [(event.id, 0), (event.id, 1)])
    def count(self, row, event, key):
        row = row or FIRST._replace(place=key[1], found={"n": 0})
        row.found["n"] += 1
        return row


class ListOfTouched(Projection):
    name = "list_of_touched"
    tables = (table(name),)

    @on(SessionActivity, touches=lambda event: [(ListOfTouched.tables[0], place(event))])
    def count(self, rows, event):
        row = rows[0] or FIRST
        rows[0] = row._replace(times=row.times + 1)
        return rows


class DictOfTouched(Projection):
    name = "dict_of_touched"
    tables = (table(name),)

    @on(SessionActivity, touches=lambda event: [(DictOfTouched.tables[0], place(event))])
    def count(self, rows, event):
        if rows[0] is None:
            return [FIRST._replace(found={"n": 1})]
        rows[0].found["n"] += 1
        return rows


class ListOfGroup(Projection):
    name = "list_of_group"
    tables = (table(name),)

    @on(SessionActivity, group=lambda event: event.id)
    def count(self, rows, event):
        if not rows:
            rows.append(FIRST)
        rows[0] = rows[0]._replace(times=rows[0].times + 1)
        rows.append(FIRST._replace(place=event.position))
        return rows


class DictOfGroup(Projection):
    name = "dict_of_group"
    tables = (table(name),)

    @on(SessionActivity, group=lambda event: event.id)
    def count(self, rows, event):
        if not rows:
            return [FIRST._replace(found={"n": 1})]
        rows[0].found["n"] += 1
        return rows


class EqualInGroup(Projection):
    """1, 1.0 and true are equal in Python and three things in JSON."""

    name = "equal_in_group"
    tables = (table(name),)

    @on(SessionActivity, group=lambda event: event.id)
    def turn(self, rows, event):
        return [FIRST._replace(found={"n": [1, 1.0, True][event.position % 3]})]


class Looking(Projection):
    """Writes down what it is given, in the form and order it is given."""

    name = "looking"
    tables = (table(name),)

    @on(SessionActivity, key=place)
    def look(self, row, event):
        row = row or FIRST
        seen = f"{list(row.found)} {list(row.found['a'])} {row.amount} {row.at.isoformat()};"
        return row._replace(
            found={"z": event.position, "a": {"y": 1, "b": 2}},
            amount=row.amount + Decimal("1.10"),
            at=AT,
            seen=row.seen + seen if row.times else "",
            times=row.times + 1,
        )


class Discarding(Projection):
    """What is done to a row that is not given back is not done."""

    name = "discarding"
    tables = (table(name),)

    @on(SessionActivity, key=place)
    def count(self, row, event):
        if row is None:
            return FIRST._replace(found={"n": 0})
        before = row._replace(found=dict(row.found))
        row.found["n"] += 1
        return before


SUITE = [
    DictByKey,
    DictByKeys,
    ListOfTouched,
    DictOfTouched,
    ListOfGroup,
    DictOfGroup,
    EqualInGroup,
    Looking,
    Discarding,
]


@pytest.fixture(params=["memory", "sqlite"])
def new_views(request, tmp_path):
    opened: list[Any] = []

    def new() -> Any:
        file = tmp_path / f"{len(opened)}.db"
        opened.append(MemoryViews() if request.param == "memory" else SQLiteViews(file))
        return opened[-1]

    yield new
    for views in opened:
        views.close()


@pytest.fixture
def log():
    log = MemoryLog()
    record(log, *(SessionActivity(session_id="s", action="x") for _ in range(EVENTS)))
    return log


def run(log: MemoryLog, views: Any, size: int, *, afresh: bool = False) -> dict[str, list[Any]]:
    """Fold in pages of a size; ``afresh``: nothing is remembered from page to page."""
    projections = [projection() for projection in SUITE]
    engine = Engine(views, projections)
    while engine.position < log.head():
        engine.apply(log.read_page(engine.position, size, LogFilter()))
        if afresh:
            engine = Engine(views, projections)
    return rows_of(views, projections)


def test_changes_in_place_are_kept(log, new_views):
    rows = run(log, new_views(), EVENTS)

    assert [row.found for row in rows["dict_by_key"]] == [{"n": EVENTS}]
    assert [row.names for row in rows["dict_by_key"]] == [[2, 3, 4, 5, 6]]
    assert [row.found for row in rows["dict_by_keys"]] == [{"n": EVENTS}, {"n": EVENTS}]
    assert [row.times for row in rows["list_of_touched"]] == [EVENTS]
    assert [row.found for row in rows["dict_of_touched"]] == [{"n": EVENTS}]
    assert [row.times for row in rows["list_of_group"]] == [EVENTS, 0, 0, 0, 0, 0, 0]
    assert [row.found for row in rows["dict_of_group"]] == [{"n": EVENTS}]
    assert [row.found for row in rows["discarding"]] == [{"n": 0}]


def test_what_is_equal_only_in_python_is_written(log, new_views):
    kept = [
        [
            (row.found["n"], type(row.found["n"]))
            for row in run(log, new_views(), size)["equal_in_group"]
        ]
        for size in (1, 4, EVENTS)
    ]

    assert kept == [[(1, int)]] * 3


def test_a_row_is_given_as_it_would_be_loaded(log, new_views):
    [row] = run(log, new_views(), EVENTS)["looking"]

    first = "['a', 'z'] ['b', 'y'] 1.1 2026-03-01T07:00:00+00:00;"
    assert row.seen.startswith(first)
    assert row.amount == Decimal("6.6")
    assert row.at == AT.astimezone(UTC)


@pytest.mark.parametrize("size", range(1, EVENTS + 1))
def test_no_size_of_page_changes_the_rows(log, new_views, size):
    expected = run(log, new_views(), 1, afresh=True)

    # As text, too: equal is not the same.
    assert repr(run(log, new_views(), size)) == repr(expected)
    assert repr(run(log, new_views(), size, afresh=True)) == repr(expected)
