"""The service's limits: the right answer, or a clear error before anything is sent."""

from __future__ import annotations

import os

import pytest

from eventcore.errors import LimitExceededError
from eventcore.stores.dynamodb.calls import DynamoDBCalls
from eventcore.stores.dynamodb.limits import ITEM_BYTES_MAX, STATE_BYTES_MAX
from eventcore.stores.dynamodb.log import DynamoDBLog
from eventcore.stores.log import ANY_VERSION, StreamAppend
from eventcore.testing import EventMaker
from tests.dynamodb_costs import MeteredTables
from tests.model_dynamodb import ModelTables


@pytest.fixture
def tables() -> MeteredTables:
    return MeteredTables()


@pytest.fixture
def log(tables: MeteredTables) -> DynamoDBLog:
    return DynamoDBLog(DynamoDBCalls(tables), "log-table")


@pytest.fixture
def make() -> EventMaker:
    return EventMaker()


def test_an_event_of_400_kb_is_refused_and_one_that_fits_is_stored(
    log: DynamoDBLog, tables: MeteredTables, make: EventMaker
) -> None:
    event = make()
    noise = os.urandom(STATE_BYTES_MAX - len(event.state))
    # Bytes that no compression helps, as an encrypting codec would make them.
    largest = event._replace(state=event.state + noise)
    log.append([StreamAppend("order-1", 0, [largest])])
    assert next(log.read_stream("order-1")).state == largest.state
    tables.restart()

    with pytest.raises(LimitExceededError, match="400000 bytes"):
        log.append([StreamAppend("order-2", 0, [make()._replace(state=b" " * ITEM_BYTES_MAX)])])

    assert tables.calls == 0


def test_101_events_are_one_commit(log: DynamoDBLog, make: EventMaker) -> None:
    result = log.append([StreamAppend("order-1", 0, make.many(101))])

    assert result.positions == tuple(range(1, 102))
    assert len(list(log.read())) == 101


def test_an_append_above_4_mb_is_refused_before_anything_is_sent(
    log: DynamoDBLog, tables: MeteredTables, make: EventMaker
) -> None:
    events = [event._replace(state=event.state + os.urandom(300_000)) for event in make.many(8)]
    log.append([StreamAppend("order-1", 0, events[:6])])
    assert [one.state for one in log.read()] == [one.state for one in events[:6]]
    others = [event._replace(event_id=str(make.ids())) for event in events]
    written = tables.written

    with pytest.raises(LimitExceededError, match="limit is 4000000 bytes"):
        log.append([StreamAppend("order-2", 0, others)])

    assert tables.written == written


def test_more_items_than_a_transaction_takes_are_refused(
    log: DynamoDBLog, tables: MeteredTables, make: EventMaker
) -> None:
    # 98 streams with an item each are fine with one cell, but these events need four.
    appends = [StreamAppend(f"order-{number}", 0, make.many(4)) for number in range(98)]
    written = tables.written

    with pytest.raises(LimitExceededError, match="102 items"):
        log.append(appends)

    assert tables.written == written


@pytest.mark.parametrize("page_bytes_max", [2_000, 1_048_576])
def test_a_stream_of_3000_items_is_read_over_all_pages(
    page_bytes_max: int, make: EventMaker
) -> None:
    log = DynamoDBLog(DynamoDBCalls(ModelTables(page_bytes_max)), "log-table")
    count = 3_000 if page_bytes_max > 10_000 else 300
    for version in range(count):
        log.append([StreamAppend("order-1", version, [make()])])

    forwards = [event.version for event in log.read_stream("order-1")]
    backwards = [event.version for event in log.read_stream("order-1", backwards=True)]

    assert forwards == list(range(1, count + 1))
    assert backwards == forwards[::-1]
    assert [event.position for event in log.read()] == forwards
    middle = log.read_stream("order-1", after=count // 2, until=count // 2 + 3)
    assert [event.version for event in middle] == [count // 2 + 1, count // 2 + 2, count // 2 + 3]


def test_an_item_of_a_stream_is_cut_where_it_is_read_in_the_middle(
    log: DynamoDBLog, make: EventMaker
) -> None:
    log.append([StreamAppend("order-1", 0, make.many(10))])
    log.append([StreamAppend("order-1", ANY_VERSION, make.many(5))])
    fresh = DynamoDBLog(log.calls, "log-table")

    assert [one.version for one in fresh.read_stream("order-1", after=3, until=12)] == list(
        range(4, 13)
    )
    assert [one.version for one in fresh.read_stream("order-1", after=8, backwards=True)] == list(
        range(15, 8, -1)
    )
    assert [one.version for one in fresh.read_stream("order-1", after=12, limit=2)] == [13, 14]
