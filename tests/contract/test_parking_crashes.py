"""Interrupted at any statement, what is parked, retried or skipped is not lost nor done twice."""

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import pytest

from eventcore.events.catalogue import OrderCancelled, OrderPaid
from eventcore.projections import Engine, MemoryViews, ProjectionRunner, Table, Views
from eventcore.projections.parking import SKIPPED, UNITS, WORK
from eventcore.projections.postgres import PostgresViews
from eventcore.projections.sqlite import SQLiteViews
from eventcore.stores.log import LogFilter
from eventcore.stores.memory.log import MemoryLog
from tests.unit.projections.histories import order, record
from tests.unit.projections.parkings import HISTORIES, Histories, poisoned


class _CrashError(BaseException):
    """The process ended here, as far as the database can tell."""


class _Crashing:
    """Passes calls on to a transaction until the budget is spent."""

    def __init__(self, transaction: Any, spend: Any) -> None:
        self._transaction = transaction
        self._spend = spend

    def __getattr__(self, name: str) -> Any:
        self._spend()
        return getattr(self._transaction, name)


class CrashingViews:
    """Views whose process ends after so many statements of transactions."""

    def __init__(self, views: Views, left: int) -> None:
        self._views = views
        self._left = left

    def _spend(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise _CrashError

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        with self._views.transaction() as transaction:
            yield _Crashing(transaction, self._spend)
            self._spend()  # the last moment at which nothing is kept
        self._spend()  # and the first at which everything is

    def __getattr__(self, name: str) -> Any:
        return getattr(self._views, name)


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def new_views(request, tmp_path):
    """Gives views that are empty."""
    made: list[Views] = []

    def new() -> Views:
        match request.param:
            case "memory":
                views: Views = MemoryViews()
            case "sqlite":
                views = SQLiteViews(tmp_path / f"{len(made)}.db")
            case _:
                found = request.getfixturevalue("postgres_schema")
                views = made[0] if made else PostgresViews(found.url, schema=found.schema)
                views.reset(Histories())
                _forget_notes(views)
        made.append(views)
        return views

    yield new
    for views in made:
        views.close()


@pytest.fixture(scope="module")
def log():
    log = MemoryLog()
    names = ("o1", "o2", "o3")
    record(log, *map(order, names))
    record(log, *(OrderPaid(order_id=name, amount=Decimal(1)) for name in names))
    record(log, *(OrderCancelled(order_id=name) for name in names))
    return log


def work(log: MemoryLog, views: Any) -> None:
    """Apply everything, skip one event that fails and retry the others, wherever that is."""
    broken = Histories(poisoned(2, 6))
    engine = Engine(views, [broken])
    while engine.position < 9:
        engine.apply(log.read_page(engine.position, 4, LogFilter()))
    runner = ProjectionRunner(log, views, [broken])
    if 6 not in [one.position for one in runner.skipped("histories")]:
        runner.skip("histories", "o3", reason="a test")
    ProjectionRunner(log, views, [Histories()]).retry("histories")


def test_a_crash_after_any_statement_ends_in_the_same_rows(log, new_views, monkeypatch):
    monkeypatch.setattr("eventcore.projections.retrying.RETRIED_AT_ONCE", 2)
    crashes, finished = 0, False
    while not finished:
        views = new_views()
        try:
            work(log, CrashingViews(views, crashes))
            finished = True
        except _CrashError:
            pass

        work(log, views)
        assert {row.name: row.seen for row in views.query(HISTORIES)} == {
            "o1": "1 4 7",
            "o2": "2 5 8",
            "o3": "3 9",
        }, f"after statement {crashes}"
        assert list(views.query(UNITS)) == list(views.query(WORK)) == []
        crashes += 1
    assert crashes > 30


def _forget_notes(views: Views) -> None:
    tables: tuple[Table[Any], ...] = (UNITS, WORK, SKIPPED)
    for table in tables:
        rows = list(views.query(table))
        with views.transaction() as transaction:
            transaction.delete(table, list(map(table.key_of, rows)))
