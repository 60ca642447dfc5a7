"""Whether rows are those that the log makes: on every backend the first that is not is named."""

import threading
from decimal import Decimal
from typing import Any, NamedTuple

import pytest

from eventcore.events.catalogue import OrderCreated
from eventcore.projections import MemoryViews, Projection, ProjectionRunner, Table, on
from eventcore.projections.postgres import PostgresViews
from eventcore.projections.read_models import built_in_projections
from eventcore.projections.shares import split
from eventcore.projections.sqlite import SQLiteViews
from eventcore.projections.views import Views
from eventcore.seals.findings import Finding, Kind
from eventcore.seals.read_models import ReadModelsVerdict, verify_read_models
from eventcore.stores.memory.log import MemoryLog
from eventcore.testing.histories import example_history, log_of
from tests.dynamodb_views import NOW, dynamodb_views
from tests.unit.projections.histories import order, record


class SpendingRow(NamedTuple):
    user_id: str
    orders: int
    amount: Decimal


SPENDING = Table("spending", SpendingRow, key=["user_id"])


class Spending(Projection):
    name = "spending"
    tables = (SPENDING,)

    @on(OrderCreated, key=lambda event: event.payload.user_id)
    def ordered(self, row: SpendingRow | None, event: Any) -> SpendingRow:
        before = row or SpendingRow(event.payload.user_id, 0, Decimal(0))
        amount = before.amount + event.payload.total_amount
        return before._replace(orders=before.orders + 1, amount=amount)


class OtherSpending(Spending):
    fingerprint = "another"


@pytest.fixture(params=["memory", "sqlite", "postgres", "dynamodb"])
def views(request, tmp_path):
    views: Views
    match request.param:
        case "memory":
            views = MemoryViews()
        case "sqlite":
            views = SQLiteViews(tmp_path / "views.db")
        case "dynamodb":
            views = dynamodb_views(request.getfixturevalue("dynamodb"))
        case _:
            found = request.getfixturevalue("postgres_schema")
            views = PostgresViews(found.url, schema=found.schema)
    yield views
    views.close()


@pytest.fixture
def log() -> MemoryLog:
    log = MemoryLog()
    for number in range(6):
        record(log, order(f"o{number}", ("apple", 1, "1.50"), user_id=f"u{number % 3}"))
    return log


def change(views: Views, row: SpendingRow | None, *gone: str) -> None:
    """Write rows as somebody would who may write the database."""
    with views.transaction() as transaction:
        if row is not None:
            transaction.upsert(SPENDING, [row])
        if gone:
            transaction.delete(SPENDING, gone)


def found(log: MemoryLog, views: Views, projection: Projection | None = None) -> Finding:
    verdict = verify_read_models(log, views, [projection or Spending()], now=NOW)
    assert verdict.finding is not None
    assert verdict.finding.kind is Kind.ROW
    return verdict.finding


def test_rows_that_the_log_makes_are_fine_also_behind_its_head(log, views):
    ProjectionRunner(log, views, [Spending()]).run_to_head()
    record(log, order("o9", ("apple", 1, "1.50"), user_id="u9"))

    verdict = verify_read_models(log, views, [Spending()], now=NOW)

    assert (verdict.projections, verdict.rows, verdict.finding) == (("spending",), 3, None)


def test_every_built_in_read_model_is_fine_after_a_history_of_every_type(views):
    log = log_of(example_history([]))
    ProjectionRunner(log, views, built_in_projections()).run_to_head()

    verdict = verify_read_models(log, views, built_in_projections(), now=None)

    assert verdict.finding is None
    assert verdict.absent == ()
    assert verdict.rows > 20


def test_a_changed_column_is_named_with_the_key_of_its_row(log, views):
    ProjectionRunner(log, views, [Spending()]).run_to_head()
    change(views, SpendingRow("u1", 2, Decimal("3.01")))

    finding = found(log, views)

    assert (finding.table, finding.key, finding.column) == ("spending", {"user_id": "u1"}, "amount")
    assert "3.01" not in finding.in_words()


def test_a_row_that_is_gone_and_one_that_was_added_are_named(log, views):
    ProjectionRunner(log, views, [Spending()]).run_to_head()
    change(views, None, "u1")
    gone = found(log, views)
    change(views, SpendingRow("u1", 2, Decimal(3)))
    change(views, SpendingRow("u7", 2, Decimal(3)))
    added = found(log, views)

    assert (gone.key, gone.column) == ({"user_id": "u1"}, None)
    assert "it is not there" in gone.problem
    assert (added.key, added.column) == ({"user_id": "u7"}, None)
    assert "the log does not make it" in added.problem


def test_rows_kept_in_shares_are_compared_too(log, views):
    runner = ProjectionRunner(log, views, [Spending()])
    runner.run_to_head()
    split(views, Spending(), 4)

    assert verify_read_models(log, views, [Spending()], now=NOW).rows == 3
    change(views, SpendingRow("u2", 9, Decimal(3)))
    assert found(log, views).column == "orders"


def test_rows_of_another_definition_or_of_another_log_are_said_to_be(log, views):
    ProjectionRunner(log, views, [Spending()]).run_to_head()
    other = MemoryLog()
    record(other, order("o1", ("pear", 1, "1.50"), user_id="u1"))

    assert "another definition" in found(log, views, OtherSpending()).problem
    assert "another log" in found(other, views).problem


def test_a_read_model_that_is_not_kept_is_absent_and_nothing_is_created(log, views):
    verdict = verify_read_models(log, views, [Spending()], now=NOW)

    assert (verdict.projections, verdict.absent) == ((), ("spending",))
    assert views.checkpoint("spending") is None
    assert views.count(SPENDING) == 0


def test_rows_that_are_kept_meanwhile_raise_no_false_alarm(log, views):
    stop = threading.Event()

    def buy() -> None:
        for number in range(10, 10_000):
            if stop.is_set():
                return
            record(log, order(f"o{number}", ("apple", 1, "1.50"), user_id=f"u{number % 40}"))
            stop.wait(0.002)

    runner = ProjectionRunner(log, views, [Spending()])
    runner.run_to_head()
    threads = [
        threading.Thread(target=buy),
        threading.Thread(target=lambda: runner.follow(stop)),
    ]
    for thread in threads:
        thread.start()
    try:
        verdicts: list[ReadModelsVerdict] = []
        # On a busy machine verifying may be done before much was written.
        while len(verdicts) < 4 or log.head() <= 20:
            verdicts.append(verify_read_models(log, views, [Spending()], now=NOW))
    finally:
        stop.set()
        for thread in threads:
            thread.join()

    assert {verdict.finding for verdict in verdicts} == {None}
    assert verdicts[-1].rows > 3
