"""What the log on DynamoDB costs, in the service's units."""

from __future__ import annotations

import itertools
import os

import pytest

from eventcore.errors import EventIdReusedError
from eventcore.stores.dynamodb.calls import DynamoDBCalls
from eventcore.stores.dynamodb.ids import LOOK_PAGES_MAX, TAIL_EVENTS_MAX
from eventcore.stores.dynamodb.layout import Keys
from eventcore.stores.dynamodb.limits import SEGMENT_POSITIONS
from eventcore.stores.dynamodb.log import DynamoDBLog
from eventcore.stores.dynamodb.requests import Commit, Request
from eventcore.stores.log import ANY_VERSION, StreamAppend
from eventcore.testing import EventMaker
from tests.dynamodb_costs import MeteredTables

SMALL = {"orderId": "7f3d8a52-0000-4000-8000-000000000000", "amount": "129.90", "currency": "EUR"}
"""The payload of an event of some 250 bytes as stored."""


@pytest.fixture
def tables() -> MeteredTables:
    return MeteredTables()


@pytest.fixture
def log(tables: MeteredTables) -> DynamoDBLog:
    log = DynamoDBLog(DynamoDBCalls(tables), "log-table")
    tables.restart()
    return log


@pytest.fixture
def make() -> EventMaker:
    return EventMaker()


def test_a_small_commit_costs_5_write_units_and_no_read(
    log: DynamoDBLog, tables: MeteredTables, make: EventMaker
) -> None:
    log.append([StreamAppend("order-1", 0, [make(data=SMALL)])])
    assert (tables.written, tables.read, tables.calls) == (5, 0, 2)

    tables.restart()
    log.append([StreamAppend("order-1", 1, [make(data=SMALL)])])
    # Where the stream ends was seen when it was written.
    assert (tables.written, tables.read, tables.calls) == (5, 0, 2)


def test_commits_in_groups_of_ten_cost_at_most_3_write_units_each(
    log: DynamoDBLog, tables: MeteredTables, make: EventMaker
) -> None:
    requests = [
        Request("log", [StreamAppend(f"order-{number}", 0, [make(data=SMALL)])])
        for number in range(10)
    ]
    for request in requests:
        request.bases = [0]

    base, refused = log._writing.write(Commit(Keys("log-table"), requests))

    assert (base, refused) == (1, [])
    assert tables.written / 10 <= 3.0


def test_a_large_commit_costs_what_it_compresses_to(
    log: DynamoDBLog, tables: MeteredTables, make: EventMaker
) -> None:
    events = [make(data={**SMALL, "number": number}) for number in range(100)]
    plain = sum(len(event.state) for event in events)

    log.append([StreamAppend("order-1", 0, events)])

    assert plain > 15_000
    assert tables.written <= 1 + 4 * plain / 1_024 / 3


def test_a_follower_costs_at_most_0_15_read_units_an_event(
    log: DynamoDBLog, tables: MeteredTables, make: EventMaker
) -> None:
    count = 1_000
    for number in range(count):
        log.append([StreamAppend(f"order-{number}", 0, [make(data=SMALL)])])
    tables.restart()

    with log.subscribe() as subscription:
        events = list(itertools.islice(subscription, count))

    assert len(events) == count
    assert tables.read / count <= 0.15


def test_a_follower_with_nothing_to_read_costs_one_read_unit_a_look(
    log: DynamoDBLog, tables: MeteredTables, make: EventMaker
) -> None:
    log.append([StreamAppend("order-1", 0, [make(data=SMALL)])])
    with log.subscribe(1) as subscription:
        subscription.next_page(0)
        tables.restart()

        subscription.next_page(0)

    assert (tables.read, tables.calls) == (1, 1)


@pytest.mark.parametrize("after", [1, 300, 10**6, 10**12, 2**61])
def test_a_page_beyond_the_head_costs_a_few_reads_however_far(  # noqa: PLR0917 - fixtures
    log: DynamoDBLog, tables: MeteredTables, make: EventMaker, after: int
) -> None:
    log.append([StreamAppend("order-1", 0, [make(data=SMALL)])])
    tables.restart()

    page = log.read_page(after, 10)
    with log.subscribe(after) as subscription:
        assert subscription.next_page(0) == ([], after)

    assert page == ([], after)
    assert tables.calls <= 6


@pytest.mark.parametrize("size", [1, 3, 100])
def test_reading_from_anywhere_costs_a_few_reads(  # noqa: PLR0917 - fixtures
    log: DynamoDBLog, tables: MeteredTables, make: EventMaker, size: int
) -> None:
    count = 1_200 // size
    for number in range(count):
        log.append([StreamAppend("order-1", number * size, make.many(size))])
    other = DynamoDBLog(DynamoDBCalls(tables), "log-table")

    # Also where the record that holds the next position begins in the segment before.
    for border in range(SEGMENT_POSITIONS, count * size - 2, SEGMENT_POSITIONS):
        for after in range(border - 3, border + 3):
            tables.restart()
            page = other.read_page(after, 1)
            assert [event.position for event in page.events] == [after + 1]
            assert tables.calls <= 4


def test_the_head_is_found_without_reading_the_cells_before_it(
    log: DynamoDBLog, tables: MeteredTables, make: EventMaker
) -> None:
    for number in range(12):
        log.append([StreamAppend("order-1", number, [make(data={"text": "x" * 100_000})])])
    event = make()._replace(state=make().state + os.urandom(100_000))
    log.append([StreamAppend("order-2", 0, [event])])
    log.append([StreamAppend("order-3", 0, [make()])])
    tables.restart()

    assert log.head() == 14

    assert (tables.read, tables.calls) == (2, 2)


def test_a_conflict_that_is_known_beforehand_costs_a_read(
    log: DynamoDBLog, tables: MeteredTables, make: EventMaker
) -> None:
    log.append([StreamAppend("order-1", 0, [make(data=SMALL)])])
    tables.restart()

    with pytest.raises(Exception, match="order-1 is at version 1"):
        log.append([StreamAppend("order-1", 4, [make(data=SMALL)])])

    assert tables.written == 0
    assert tables.read <= 2


def test_looking_an_id_up_costs_little_and_the_index_one_write_unit_an_event(
    log: DynamoDBLog, tables: MeteredTables, make: EventMaker
) -> None:
    count = 2_000
    for start in range(0, count, 100):
        log.append([StreamAppend("order-1", start, make.many(100))])
    tables.restart()

    log.locate([str(make.ids())])
    built = tables.written
    tables.restart()
    log.locate([str(make.ids())])

    # The events of the tail are remembered, not indexed; two more units move the mark.
    assert count / 2 <= built <= count + 2
    assert (tables.written, tables.read) <= (0, 3)


def test_taking_a_stream_as_it_is_costs_an_item_for_the_id_and_a_look_at_the_ids(
    log: DynamoDBLog, tables: MeteredTables, make: EventMaker
) -> None:
    log.append([StreamAppend("day-1", ANY_VERSION, [make(data=SMALL)])])
    log.append([StreamAppend("day-1", ANY_VERSION, [make(data=SMALL)])])
    tables.restart()

    log.append([StreamAppend("day-1", ANY_VERSION, [make(data=SMALL)])])

    assert tables.written == 7
    assert tables.read <= 6


@pytest.mark.parametrize("positions", [500, 5_000])
def test_taking_a_stream_as_it_is_costs_the_same_in_a_long_log(  # noqa: PLR0917 - fixtures
    tables: MeteredTables, log: DynamoDBLog, make: EventMaker, positions: int
) -> None:
    log.append([StreamAppend("day-1", ANY_VERSION, [make(data=SMALL)])])
    for start in range(0, positions, 100):
        log.append([StreamAppend("order-1", start, make.many(100))])
    other = DynamoDBLog(DynamoDBCalls(tables), "log-table")
    tables.restart()

    other.append([StreamAppend("day-1", ANY_VERSION, [make(data=SMALL)])])

    # Where the stream ends, the mark, two pages of the log, the ids; sequencer and transaction.
    assert (tables.written, tables.calls) == (7, 7)
    assert tables.read <= 15


def test_no_append_that_takes_a_stream_as_it_is_pays_for_the_whole_index(
    tables: MeteredTables, log: DynamoDBLog, make: EventMaker
) -> None:
    log.append([StreamAppend("day-1", ANY_VERSION, [make(data=SMALL)])])
    for start in range(0, 5_000, 100):
        log.append([StreamAppend("order-1", start, make.many(100))])
    first = next(log.read_stream("order-1", limit=1))
    other = DynamoDBLog(DynamoDBCalls(tables), "log-table")
    written = []
    for _ in range(30):
        tables.restart()
        other.append([StreamAppend("day-1", ANY_VERSION, [make(data=SMALL)])])
        written.append(tables.written)

    assert max(written) <= TAIL_EVENTS_MAX + LOOK_PAGES_MAX * SEGMENT_POSITIONS + 10
    assert sorted(written)[len(written) // 2] == 7
    # The appends have brought the index to the end together.
    again = make.many(1)[0]._replace(event_id=str(first.event_id))
    with pytest.raises(EventIdReusedError):
        other.append([StreamAppend("day-1", ANY_VERSION, [again])])
