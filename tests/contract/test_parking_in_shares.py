"""What fails in a projection that several workers divide is parked, and retried, all the same."""

from decimal import Decimal
from typing import Any

import pytest

from eventcore.events.catalogue import OrderCancelled, OrderPaid
from eventcore.projections import Engine, MemoryViews, ProjectionRunner, Views
from eventcore.projections.parking import UNITS, WORK
from eventcore.projections.postgres import PostgresViews
from eventcore.projections.shares import merge, shares_of, split
from eventcore.projections.sqlite import SQLiteViews
from eventcore.stores.log import LogFilter
from eventcore.stores.memory.log import MemoryLog
from tests.dynamodb_views import dynamodb_views
from tests.unit.projections.histories import order, record, rows_of
from tests.unit.projections.parkings import HISTORIES, Histories, Trouble, poisoned

NAMES = [f"o{number}" for number in range(8)]
SHARES = 4


class ByStream(Histories):
    share_by = "stream"


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


@pytest.fixture(scope="module")
def log():
    log = MemoryLog()
    record(log, *map(order, NAMES))
    record(log, *(OrderPaid(order_id=name, amount=Decimal(1)) for name in NAMES))
    record(log, *(OrderCancelled(order_id=name) for name in NAMES))
    return log


def expected(log: MemoryLog) -> dict[str, list]:
    views = MemoryViews()
    ProjectionRunner(log, views, [Histories()]).run_to_head()
    return rows_of(views, [Histories()])


def workers(views: Views, kind: type[Histories], trouble: Trouble | None) -> list[Engine]:
    """Two, each with half of the shares."""

    def having(*shares: int) -> Engine:
        return Engine(views, [kind(trouble)], held=lambda _name, _count: shares)

    return [having(0, 1), having(2, 3)]


def run(engine: Engine, log: MemoryLog, end: int) -> None:
    while engine.position < end:
        page = log.read_page(engine.position, min(5, end - engine.position), LogFilter())
        engine.apply(page)


@pytest.mark.parametrize("kind", [Histories, ByStream])
def test_each_worker_parks_what_is_its_own_and_a_retry_does_all(log, views, kind):
    split(views, kind(), SHARES)
    for worker in workers(views, kind, poisoned(1, 2, 3, 4, 5, 6)):
        run(worker, log, 24)
    runner = ProjectionRunner(log, views, [kind()])

    assert sorted(one.key_text for one in runner.parked()) == NAMES[:6]
    assert {row.name: row.seen for row in views.query(HISTORIES)} == {
        "o6": "7 15 23", "o7": "8 16 24"
    }  # fmt: skip
    assert runner.retry("histories") == (18, 0, 0)
    assert rows_of(views, [kind()]) == expected(log)
    assert list(views.query(UNITS)) == list(views.query(WORK)) == []


@pytest.mark.parametrize("kind", [Histories, ByStream])
def test_workers_at_different_places_go_on_after_a_retry(log, views, kind):
    split(views, kind(), SHARES)
    mended: list[bool] = []
    broken = poisoned(1, 2, 3, 4)

    def trouble(event: Any, work: str) -> None:
        if not mended:
            broken(event, work)

    first, second = workers(views, kind, trouble)
    run(first, log, 10)
    run(second, log, 20)
    mended.append(True)

    ProjectionRunner(log, views, [kind()]).retry("histories")
    assert first.apply(log.read_page(first.position, 5, LogFilter())).moved
    assert second.apply(log.read_page(second.position, 5, LogFilter())).moved
    run(first, log, 24)
    run(second, log, 24)

    assert rows_of(views, [kind()]) == expected(log)
    assert list(views.query(UNITS)) == list(views.query(WORK)) == []


def test_shares_that_are_made_one_again_keep_what_is_parked(log, views):
    split(views, Histories(), SHARES)
    for worker in workers(views, Histories, poisoned(1, 2)):
        run(worker, log, 12)
    assert merge(views, Histories()) is not None
    assert shares_of(views, "histories") is None

    runner = ProjectionRunner(log, views, [Histories()])
    assert runner.run_to_head().parked == 2
    assert runner.retry("histories").parked == 0
    assert rows_of(views, [Histories()]) == expected(log)
