"""Events are looked up by id, type, user, session and correlation, the same on every backend."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from eventcore.events.catalogue import OrderPaid, SessionStarted, UserRegistered
from eventcore.projections import MemoryViews, ProjectionRunner, Views
from eventcore.projections.dynamodb.sorting import PAGE_ITEMS_MARGIN
from eventcore.projections.postgres import PostgresViews
from eventcore.projections.read_models import (
    EventLookups,
    EventRow,
    Events,
    UserEventRow,
    UserEvents,
)
from eventcore.projections.read_models.event_index import EVENTS_TTL_DAYS
from eventcore.projections.sqlite import SQLiteViews
from eventcore.stores.dynamodb.calls import Transport
from eventcore.stores.memory.log import MemoryLog
from tests.dynamodb_views import dynamodb_views, model_views, transport_to
from tests.model_dynamodb_rows import RowTables
from tests.unit.projections.dynamodb_pages import Failing
from tests.unit.projections.histories import event_id, moment, order, record


@pytest.fixture(scope="module")
def log():
    log = MemoryLog()
    record(log, UserRegistered(user_id="u1", email="a@example.com"), correlation_id="c1")
    record(log, SessionStarted(session_id="s1", user_id="u1"), correlation_id="c2")
    record(log, order("o1", user_id="u1"), session_id="s1", correlation_id="c2")
    record(log, order("o2", user_id="u2"))
    record(log, OrderPaid(order_id="o1", amount=Decimal(3)), user_id="u1", correlation_id="c2")
    return log


def look_up(log: MemoryLog, views: Views) -> EventLookups:
    ProjectionRunner(log, views, [Events(), UserEvents()]).run_to_head()
    return EventLookups(views)


def check(found: EventLookups) -> None:
    """What every backend answers."""

    def positions(rows: Iterable[EventRow] | Iterable[UserEventRow]) -> list[int]:
        return [row.position for row in rows]

    one = found.get(event_id(3))
    assert one is not None
    assert (one.event_type, one.stream) == ("order.created", "order-o1")
    assert found.get(event_id(99)) is None
    assert positions(found.by_type("order.created")) == [3, 4]
    assert positions(found.by_type("order.created", since=moment(4))) == [4]
    assert positions(found.by_user("u1")) == [1, 2, 3, 5]
    assert positions(found.by_user("u1", since=moment(3))) == [3, 5]
    assert positions(found.correlated("c2")) == [2, 3, 5]
    assert positions(found.of_user("u2")) == [4]
    assert positions(found.in_session("s1")) == [2, 3]
    assert positions(found.of_user("u1", since=moment(2), limit=1)) == [2]
    assert positions(found.correlated("c2", limit=2)) == [2, 3]
    assert positions(found.in_session("none")) == []
    one_by_one = found.by_user("u1")
    assert (next(one_by_one).position, next(one_by_one).position) == (1, 2)


@pytest.mark.parametrize("backend", ["memory", "sqlite", "postgres"])
def test_events_are_found_by_what_the_indexes_know(  # noqa: PLR0917 - fixtures
    log, request, tmp_path, backend
):
    views: Views = MemoryViews()
    if backend == "sqlite":
        views = SQLiteViews(tmp_path / "views.db")
    elif backend == "postgres":
        schema = request.getfixturevalue("postgres_schema")
        views = PostgresViews(schema.url, schema=schema.schema)

    check(look_up(log, views))

    views.close()


@pytest.mark.dynamodb
def test_no_look_up_in_dynamodb_scans(log, dynamodb):
    views = dynamodb_views(dynamodb)
    found = look_up(log, views)
    asked: list[str] = []
    views.calls._transport = Failing(transport_to(dynamodb), before=asked.append)

    check(found)

    assert set(asked) == {"GetItem", "Query"}
    views.close()


class Counting:
    """A transport that notes queries and how many items came."""

    def __init__(self, inner: Transport) -> None:
        self.inner = inner
        self.queries: list[tuple[str, int]] = []

    def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        answer = self.inner.call(operation, parameters)
        if operation in {"Query", "Scan"}:
            self.queries.append((parameters.get("IndexName", ""), len(answer["Items"])))
        return answer

    def close(self) -> None:
        self.inner.close()


@pytest.fixture
def counted():
    """A hundred events of one type in DynamoDB, ten items a page, and what is read of them."""
    log = MemoryLog()
    record(log, *(order(f"o{n}", user_id="u1") for n in range(100)), correlation_id="c")
    counting = Counting(RowTables(page_items=10))
    views = model_views(counting)
    ProjectionRunner(log, views, [Events(), UserEvents()]).run_to_head()
    counting.queries.clear()
    return EventLookups(views), counting.queries


def test_what_is_before_a_bound_is_not_read(counted):
    found, queries = counted

    assert [row.position for row in found.by_type("order.created", since=moment(98))] == [
        98,
        99,
        100,
    ]
    assert queries == [("eventType-timestamp-index", 3)]


def test_no_more_is_read_than_is_asked_for(counted):
    found, queries = counted
    rows = found.correlated("c")

    assert [next(rows).position for _ in range(15)] == list(range(1, 16))
    assert queries == [("correlationId-timestamp-index", 10)] * 2


def test_a_limit_is_told_to_the_database(counted):
    found, queries = counted

    assert [row.position for row in found.of_user("u1", limit=1)] == [1]
    assert queries == [("", 1 + PAGE_ITEMS_MARGIN)]


def test_what_has_expired_is_not_read_over_and_over_until_it_is_deleted():
    log = MemoryLog()
    record(log, *(order(f"o{n}", user_id="u1") for n in range(100)))
    counting = Counting(RowTables(page_items=10))
    at = moment(96) + timedelta(days=EVENTS_TTL_DAYS)
    views = model_views(counting, at, with_ttl=True)
    ProjectionRunner(log, views, [Events(), UserEvents()]).run_to_head()
    counting.queries.clear()

    rows = list(EventLookups(views).by_user("u1"))

    assert [row.position for row in rows] == [96, 97, 98, 99, 100]
    assert counting.queries == [("userId-timestamp-index", 5)]
