"""Interrupted anywhere, a projection ends in the rows it would have had."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from eventcore.events.catalogue import (
    OrderCancelled,
    OrderItemAdded,
    OrderItemRemoved,
    OrderPaid,
    SessionStarted,
    UserRegistered,
)
from eventcore.projections import (
    Engine,
    MemoryViews,
    Projection,
    ProjectionRunner,
    Views,
    built_in_projections,
)
from eventcore.projections.sqlite import SQLiteViews
from eventcore.stores.log import Log, LogFilter
from eventcore.stores.memory.log import MemoryLog
from eventcore.stores.sqlite.connections import SQLiteConnections
from eventcore.stores.sqlite.log import SQLiteLog
from tests.unit.projections import shops
from tests.unit.projections.histories import order, record, rows_of

PAGE_EVENTS = 4


class CrashError(BaseException):
    """The process ended here, as far as the database can tell."""


class Budget:
    """Statements and rows that may still be written before the crash."""

    def __init__(self, left: int) -> None:
        self.left = left

    def spend(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise CrashError


class BreakingConnection:
    """Passes on to a connection until the budget is spent, also between rows of one statement."""

    def __init__(self, connection: Any, budget: Budget) -> None:
        self._connection = connection
        self._budget = budget

    def execute(self, sql: str, parameters: Any = ()) -> Any:
        self._budget.spend()
        return self._connection.execute(sql, parameters)

    def executemany(self, sql: str, rows: Any) -> Any:
        def counted() -> Iterator[Any]:
            for row in rows:
                self._budget.spend()
                yield row

        return self._connection.executemany(sql, counted())


class BreakingConnections(SQLiteConnections):
    def __init__(self, path: Path, budget: Budget) -> None:
        super().__init__(path, synchronous="NORMAL")
        self._budget = budget

    @override
    @contextmanager
    def writing(self) -> Iterator[Any]:
        with super().writing() as connection:
            yield BreakingConnection(connection, self._budget)
            # The last moment at which nothing is committed yet.
            self._budget.spend()


def projections() -> list[Projection]:
    return [*built_in_projections(), *shops.own_projections()]


@pytest.fixture(scope="module")
def log():
    log = MemoryLog()
    record(
        log,
        UserRegistered(user_id="u1", email="a@example.com"),
        order("o1", ("apple", 2, "1.50"), ("pear", 1, "2"), user_id="u1"),
        SessionStarted(session_id="s1", user_id="u1"),
        OrderItemAdded(order_id="o1", product_id="apple", quantity=1, price=Decimal(2)),
        order("o2", ("apple", 1, "1.50"), user_id="u2"),
        OrderItemRemoved(order_id="o1", product_id="pear", quantity=1),
        OrderPaid(order_id="o1", amount=Decimal(5)),
        OrderCancelled(order_id="o2"),
    )
    return log


@pytest.fixture(scope="module")
def expected(log):
    views = MemoryViews()
    ProjectionRunner(log, views, projections()).run_to_head()
    return rows_of(views, projections())


def run(log: Log, views: Views) -> None:
    engine = Engine(views, projections())
    while engine.position < log.head():
        engine.apply(log.read_page(engine.position, PAGE_EVENTS, LogFilter()))


def test_a_crash_after_any_statement_ends_in_the_same_rows(log, expected, tmp_path):
    crashes = 0
    while True:
        file = tmp_path / f"{crashes}.db"
        SQLiteViews(file).close()
        connections = BreakingConnections(file, Budget(crashes))
        finished = True
        try:
            run(log, SQLiteViews(connections))
        except CrashError:
            finished = False
        connections.close()

        survivor = SQLiteViews(file)
        run(log, survivor)
        assert rows_of(survivor, projections()) == expected, f"after statement {crashes}"
        survivor.close()
        if finished:
            break
        crashes += 1
    assert crashes > 150


def test_an_engine_that_lives_on_after_a_failed_write_ends_in_the_same_rows(
    log, expected, tmp_path
):
    budget = Budget(10_000)
    connections = BreakingConnections(tmp_path / "views.db", budget)
    views = SQLiteViews(connections)
    engine = Engine(views, projections())
    failures = 0
    while engine.position < log.head():
        budget.left = failures
        try:
            engine.apply(log.read_page(engine.position, PAGE_EVENTS, LogFilter()))
        except CrashError:
            failures += 1

    assert rows_of(views, projections()) == expected
    assert failures > 30
    views.close()
    connections.close()


CHILD = """
import sys
from eventcore.projections import ProjectionRunner, built_in_projections, pages
from eventcore.projections.sqlite import SQLiteViews
from eventcore.stores.sqlite.log import SQLiteLog
pages.PAGE_EVENTS_MAX = pages.PAGE_EVENTS_MIN = 20
log = SQLiteLog(sys.argv[1])
def tell(_events, position):
    print(position, flush=True)
    sys.stdin.readline()  # until it may go on

ProjectionRunner(log, SQLiteViews(log.connections), built_in_projections(),
                 on_page=tell).run_to_head()
"""


@pytest.mark.slow
def test_a_process_that_is_killed_is_gone_on_from_exactly(tmp_path):
    file = tmp_path / "shop.db"
    log = SQLiteLog(file, synchronous="NORMAL")
    record(
        log,
        *(order(f"o{n}", ("apple", n % 5 + 1, "1.10"), user_id=f"u{n % 7}") for n in range(1_500)),
    )
    reached = [run_and_kill(file) for _ in range(3)]

    views = SQLiteViews(log.connections)
    kept = views.checkpoint("analytics")
    assert kept is not None
    assert 0 < kept.position < 1_500
    runner = ProjectionRunner(log, views, built_in_projections())
    runner.run_to_head()

    scratch = MemoryViews()
    ProjectionRunner(log, scratch, built_in_projections()).run_to_head()
    assert rows_of(views, built_in_projections()) == rows_of(scratch, built_in_projections())
    # Each went on from where the one before was killed.
    assert reached == sorted(reached)
    views.close()
    log.close()


def run_and_kill(file: Path) -> int:
    """Run a projector until it has told of three pages, kill it, and say how far it said it was."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with child:
        assert child.stdin is not None
        assert child.stdout is not None
        # It may go on after each of them, and not much further, however late it is killed.
        child.stdin.write("\n" * 3)
        child.stdin.flush()
        told = [int(child.stdout.readline()) for _ in range(3)]
        time.sleep(0.005)
        os.kill(child.pid, signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    return told[-1]
