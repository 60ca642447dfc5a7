"""A rebuild or a way back that ends anywhere leaves the live rows whole, and can be done again."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from eventcore.errors import ConfigurationError
from eventcore.events.catalogue import OrderCreated
from eventcore.projections import Projection, ProjectionRunner, Views
from eventcore.projections.generation_records import generations_of
from eventcore.projections.generations import GenerationViews
from eventcore.projections.postgres import PostgresViews
from eventcore.projections.read_models import ORDER_ITEMS, OrderItems
from eventcore.projections.sqlite import SQLiteViews
from eventcore.stores.memory.log import MemoryLog
from eventcore.stores.postgres.connections import PostgresConnections
from eventcore.stores.sqlite.connections import SQLiteConnections
from eventcore.stores.sqlite.log import SQLiteLog
from tests.unit.projections.histories import order, record

KILLS = 6


class CrashError(BaseException):
    """The process ended here, as far as the database can tell."""


class Budget:
    """Statements that may still be executed in transactions before the crash."""

    def __init__(self) -> None:
        self.left = 10**9

    def spend(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise CrashError


class BreakingConnection:
    """Passes on to a connection until the budget is spent."""

    def __init__(self, connection: Any, budget: Budget) -> None:
        self._connection = connection
        self._budget = budget

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, *arguments: Any, **options: Any) -> Any:
        self._budget.spend()
        return self._connection.execute(*arguments, **options)

    def executemany(self, sql: str, rows: Any) -> Any:
        self._budget.spend()
        return self._connection.executemany(sql, rows)


class BreakingSQLite(SQLiteConnections):
    def __init__(self, path: Path, budget: Budget) -> None:
        super().__init__(path, synchronous="NORMAL")
        self._budget = budget

    @override
    @contextmanager
    def writing(self) -> Iterator[Any]:
        with super().writing() as connection:
            yield BreakingConnection(connection, self._budget)
            self._budget.spend()


class BreakingPostgres(PostgresConnections):
    def __init__(self, url: str, schema: str, budget: Budget) -> None:
        super().__init__(url, schema=schema)
        self._budget = budget

    @override
    @contextmanager
    def transaction(self) -> Iterator[Any]:
        with super().transaction() as connection:
            yield BreakingConnection(connection, self._budget)
            self._budget.spend()


@pytest.fixture
def budget():
    return Budget()


@pytest.fixture(params=["sqlite", "postgres"])
def views(request, tmp_path, budget):
    views: Views
    if request.param == "sqlite":
        connections = BreakingSQLite(tmp_path / "views.db", budget)
        views = SQLiteViews(connections)
        yield views
        views.close()
        connections.close()
        return
    found = request.getfixturevalue("postgres_schema")
    views = PostgresViews(BreakingPostgres(found.url, found.schema, budget), owned=True)
    yield views
    views.close()


@pytest.fixture
def log():
    log = MemoryLog()
    for number in range(4):
        record(log, order(f"o{number}", ("apple", 2, "1.50"), ("pear", 1, "2")))
    return log


def crash_everywhere(
    budget: Budget, action: Callable[[], object], check: Callable[[], None]
) -> int:
    """Break an action off after one statement more each time; gives after how many it was done."""
    for statements in range(1_000):
        budget.left = statements
        try:
            action()
        except CrashError:
            budget.left = 10**9
            check()
        else:
            budget.left = 10**9
            check()
            return statements
    raise AssertionError


def indexed_columns(views: Any, table: str) -> set[str]:
    """The columns that a table's indexes are on, told by the database."""
    if isinstance(views, SQLiteViews):
        with views.connections.reading() as connection:
            found = connection.execute(
                "SELECT c.name FROM pragma_index_list(?) AS i, pragma_index_info(i.name) AS c",
                (table,),
            ).fetchall()
        return {name for (name,) in found}
    found = views.connections.fetch(
        b"SELECT a.attname FROM pg_catalog.pg_index x JOIN pg_catalog.pg_attribute a"
        b" ON a.attrelid = x.indrelid AND a.attnum = ANY (x.indkey)"
        b" WHERE x.indrelid = pg_catalog.to_regclass(%s)",
        (f'"{views.connections.schema}"."{table}"',),
    )
    return {name for (name,) in found}


ALL_INDEXED = {"item_id", "order_id", "product_id"}
UNINDEXED = {"item_id", "order_id"}
"""Rows are found by their key and their group while they are written."""


def test_rows_are_written_first_and_indexed_before_they_are_compared(log, views):
    runner = ProjectionRunner(log, views, [OrderItems()])
    runner.run_to_head()
    found: dict[str, set[str]] = {}

    def note(phase: str, _position: int, _end: int) -> None:
        found.setdefault(phase, indexed_columns(views, "order_items__2"))

    runner.rebuild("order_items", on_progress=note)

    assert found == {"building": UNINDEXED, "comparing": ALL_INDEXED}
    assert indexed_columns(views, "order_items") == ALL_INDEXED


def test_of_a_long_log_the_rest_is_written_into_tables_that_are_indexed(log, views, monkeypatch):
    monkeypatch.setattr("eventcore.projections.rebuilds.UNINDEXED_POSITION_MAX", 3)
    runner = ProjectionRunner(log, views, [OrderItems()])
    runner.run_to_head()
    expected = list(views.query(ORDER_ITEMS))
    found: list[tuple[int, set[str]]] = []

    def note(phase: str, position: int, _end: int) -> None:
        if phase == "building":
            found.append((position, indexed_columns(views, "order_items__2")))

    runner.rebuild("order_items", on_progress=note)

    assert found == [(3, UNINDEXED), (4, ALL_INDEXED)]
    assert list(views.query(ORDER_ITEMS)) == expected


class TakesPages(Projection):
    """Writes with statements of its own, which may look rows up by any column."""

    name = "order_items"
    tables = (ORDER_ITEMS,)
    names_tables = True
    listens = (OrderCreated,)

    @override
    def apply_page(self, events: Any, transaction: Any) -> None:
        return None


def test_who_writes_with_statements_of_its_own_has_the_indexes_from_the_beginning(views):
    generation = GenerationViews(views, TakesPages(), 2)
    generation.ensure(TakesPages())

    assert indexed_columns(views, "order_items__2") == ALL_INDEXED


def test_a_rebuild_broken_off_after_any_statement_goes_on(log, views, budget):
    runner = ProjectionRunner(log, views, [OrderItems()])
    runner.run_to_head()
    expected = list(views.query(ORDER_ITEMS))

    def check() -> None:
        assert list(views.query(ORDER_ITEMS)) == expected
        assert indexed_columns(views, "order_items") == ALL_INDEXED
        assert views.checkpoint("order_items").position == log.head()
        assert runner.run_to_head().events == 0

    statements = crash_everywhere(budget, lambda: runner.rebuild("order_items"), check)

    assert statements > 20
    runner.rebuild("order_items")
    check()
    rows = generations_of(views, "order_items")
    assert [row.state for row in rows] == ["old", "live"]
    left = [n for n in range(2, 200) if views.tables_of(f"order_items+{n}")]
    assert left == [rows[0].generation]


def test_a_way_back_broken_off_after_any_statement_can_be_taken_again(log, views, budget):
    runner = ProjectionRunner(log, views, [OrderItems()])
    runner.run_to_head()
    runner.rebuild("order_items")
    record(log, order("o9", ("fig", 1, "1")))
    runner.run_to_head()
    expected = list(views.query(ORDER_ITEMS))

    def check() -> None:
        assert list(views.query(ORDER_ITEMS)) == expected

    assert crash_everywhere(budget, lambda: runner.roll_back("order_items"), check) > 5
    assert [row.state for row in generations_of(views, "order_items")] == ["live", "old"]


def test_dropping_broken_off_after_any_statement_can_be_done_again(log, views, budget):
    runner = ProjectionRunner(log, views, [OrderItems()])
    runner.run_to_head()
    runner.rebuild("order_items")

    crash_everywhere(budget, lambda: runner.drop_old("order_items"), lambda: None)

    assert views.tables_of("order_items+1") == []
    assert [row.state for row in generations_of(views, "order_items")] == ["live"]
    with pytest.raises(ConfigurationError):
        runner.roll_back("order_items")


SCRIPT = """
import sys
from pathlib import Path
from eventcore.projections import ProjectionRunner
from eventcore.projections.read_models import OrderItems
from eventcore.projections.sqlite import SQLiteViews
from eventcore.stores.sqlite.log import SQLiteLog

log = SQLiteLog(Path(sys.argv[1]))
runner = ProjectionRunner(log, SQLiteViews(Path(sys.argv[2])), [OrderItems()])
print("begun", flush=True)
while True:
    runner.rebuild("order_items")
    print("rebuilt", flush=True)
"""


def test_a_process_that_is_killed_while_it_rebuilds_leaves_the_live_rows_whole(tmp_path):
    log = SQLiteLog(tmp_path / "log.db")
    for number in range(1_500):
        record(log, order(f"o{number}", ("apple", 2, "1.50")))
    views = SQLiteViews(tmp_path / "views.db")
    runner = ProjectionRunner(log, views, [OrderItems()])
    runner.run_to_head()
    expected = list(views.query(ORDER_ITEMS))
    for kill in range(KILLS):
        with subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(tmp_path / "log.db"), str(tmp_path / "views.db")],
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "begun\n"
            time.sleep(0.1 * kill)
            os.kill(process.pid, signal.SIGKILL)

        assert list(views.query(ORDER_ITEMS)) == expected
        assert runner.run_to_head().events == 0

    runner.rebuild("order_items")
    assert list(views.query(ORDER_ITEMS)) == expected
    views.close()
    log.close()
