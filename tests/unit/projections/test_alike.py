"""Events that are all folded in one way come to the rows that the general way makes of them."""

from decimal import Decimal
from typing import Any, NamedTuple

import pytest

from eventcore.events.catalogue import OrderCancelled, OrderCreated, OrderPaid, UserRegistered
from eventcore.projections import MemoryViews, Projection, Table, on
from eventcore.projections.engine import Engine
from eventcore.projections.fold import PageFold
from eventcore.projections.plan import Plan
from eventcore.projections.read_models import Orders
from eventcore.stores.memory.log import MemoryLog
from tests.unit.projections.histories import order, record, rows_of


class CountRow(NamedTuple):
    name: str
    events: int


COUNTS = Table("counts", CountRow, key=["name"])


def by_user(event: Any) -> Any:
    return event.payload.user_id


class Counts(Projection):
    """By a key that not every event has."""

    name = "counts"
    tables = (COUNTS,)

    @on(OrderCreated, key=by_user)
    def ordered(self, row: CountRow | None, event: Any) -> CountRow:
        before = row or CountRow(event.payload.user_id, 0)
        return before._replace(events=before.events + 1)


class Twice(Counts):
    """Two handlers of one event."""

    @on(OrderCreated, key=by_user)
    def again(self, row: CountRow | None, event: Any) -> CountRow:
        return self.ordered(row, event)


def cancelled(order_id: str) -> OrderCancelled:
    return OrderCancelled(order_id=order_id)


def paid(order_id: str) -> OrderPaid:
    return OrderPaid(order_id=order_id, amount=Decimal(3))


@pytest.fixture
def log():
    log = MemoryLog()
    record(
        log,
        order("o1", user_id="u1"),
        UserRegistered(user_id="u1", email="a@example.com", first_name="A", last_name="B"),
        order("o2"),
        paid("o1"),
        order("o3", user_id="u1"),
        cancelled("o2"),
        order("o4", user_id="u2"),
    )
    return log


def folded(log: MemoryLog, projection: Projection, *, alike: bool, is_alone: bool = True) -> Any:
    views = MemoryViews()
    views.ensure(projection)
    fold = PageFold(Plan(projection, is_alone=is_alone), views)
    if not alike:
        fold._alike = None
    page = log.read_page(0, 100)
    found = fold.fold(page.events)
    return found, page.events, fold


@pytest.mark.parametrize("projection", [Orders(), Counts(), Twice()], ids=repr)
def test_both_ways_come_to_the_same_changes(log, projection):
    fast, *_ = folded(log, projection, alike=True)
    general, *_ = folded(log, projection, alike=False)

    assert fast == general
    assert fast.changes[0].upserts


def test_events_without_a_key_and_of_others_are_passed_over(log):
    views = MemoryViews()
    engine = Engine(views, [Counts()])

    engine.apply(log.read_page(0, 100))

    assert rows_of(views, [Counts()]) == {"counts": [CountRow("u1", 2), CountRow("u2", 1)]}


def test_an_event_with_two_handlers_meets_both(log):
    views = MemoryViews()

    Engine(views, [Twice()]).apply(log.read_page(0, 100))

    assert rows_of(views, [Twice()]) == {"counts": [CountRow("u1", 4), CountRow("u2", 2)]}


def test_what_was_decoded_is_dropped_where_nobody_else_is_given_the_event(log):
    _, events, _ = folded(log, Orders(), alike=True)
    assert {event._payload for event in events} == {None}

    _, events, _ = folded(log, Orders(), alike=True, is_alone=False)
    assert [event.position for event in events if event._payload is not None] == [1, 3, 5, 7]


def test_a_table_in_which_rows_are_changed_in_several_ways_is_folded_in_the_general_way(log):
    assert folded(log, Orders(), alike=True)[2]._alike is not None

    class Mixed(Projection):
        name = "counts"
        tables = (COUNTS,)

        @on(OrderCreated, key=by_user)
        def ordered(self, row: CountRow | None, event: Any) -> CountRow | None:
            return row

        @on(OrderPaid, keys=lambda event: [event.id])
        def paid(self, row: CountRow | None, event: Any, key: str) -> CountRow | None:
            return row

    assert folded(log, Mixed(), alike=True)[2]._alike is None
