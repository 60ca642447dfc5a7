"""A reader that catches up has asked for what comes next, and still sees what is there."""

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import wait
from typing import Any

import pytest

from eventcore.stores.dynamodb.ahead import AGE_SECONDS_MAX, SEGMENTS_AHEAD
from eventcore.stores.dynamodb.calls import CallFailedError, DynamoDBCalls
from eventcore.stores.dynamodb.limits import SEGMENT_POSITIONS
from eventcore.stores.dynamodb.log import DynamoDBLog
from eventcore.stores.log import StreamAppend
from eventcore.testing import EventMaker
from tests.model_dynamodb import ModelTables

SEGMENTS = 12
EVENTS = SEGMENTS * SEGMENT_POSITIONS - 1
AHEAD = "eventcore-dynamodb-ahead"


class Watched:
    """A table that notes which thread asked for what, and fails threads that read ahead on wish."""

    def __init__(self) -> None:
        self.tables = ModelTables()
        self.queries: list[tuple[bool, str, int]] = []
        self.fails_ahead = False
        self.now = 0.0

    def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        if operation == "Query" and "sk >= :bound" in parameters["KeyConditionExpression"]:
            is_ahead = threading.current_thread().name.startswith(AHEAD)
            values = parameters["ExpressionAttributeValues"]
            self.queries.append((is_ahead, values[":pk"]["S"], int(values[":bound"]["N"])))
            if is_ahead and self.fails_ahead:
                raise CallFailedError("Injected", "no", kind="refused")
        return self.tables.call(operation, parameters)

    def close(self) -> None:
        pass

    def clock(self) -> float:
        return self.now


@pytest.fixture
def service() -> Watched:
    return Watched()


@pytest.fixture
def log(service: Watched) -> Iterator[DynamoDBLog]:
    log = DynamoDBLog(DynamoDBCalls(service, clock=service.clock), "log-table")
    make = EventMaker()
    for start in range(0, EVENTS, 89):
        events = make.many(min(89, EVENTS - start))
        log.append([StreamAppend("order-1", start, events)])
    service.queries.clear()
    yield log
    log.close()


def positions(log: DynamoDBLog) -> list[int]:
    return [event.position for event in log.read()]


def test_a_reader_of_everything_asks_for_each_segment_once(
    log: DynamoDBLog, service: Watched
) -> None:
    assert positions(log) == list(range(1, EVENTS + 1))

    asked = [segment for _, segment, _ in service.queries]
    assert len(asked) - len(set(asked)) <= 1  # the first one is found before it is read
    assert len(set(asked)) <= SEGMENTS + SEGMENTS_AHEAD
    assert sum(is_ahead for is_ahead, *_ in service.queries) >= SEGMENTS - 3


@pytest.mark.parametrize("limit", [1, 7, 100, SEGMENT_POSITIONS, 1_000])
def test_pages_of_any_size_leave_nothing_out(log: DynamoDBLog, limit: int) -> None:
    seen: list[int] = []
    while page := log.read_page(seen[-1] if seen else 0, limit).events:
        seen += [event.position for event in page]

    assert seen == list(range(1, EVENTS + 1))


def test_what_a_page_leaves_is_not_read_again(log: DynamoDBLog, service: Watched) -> None:
    first = log.read_page(0, 10)
    second = log.read_page(first.end, 100)

    assert [event.position for event in second.events] == list(range(11, 111))
    assert len(service.queries) == 1


def test_what_was_not_there_when_it_was_asked_for_is_asked_for_again(
    log: DynamoDBLog, service: Watched
) -> None:
    positions(log)
    wait([asked.items for asked in log._chain._ahead._asked.values()])
    behind = {segment for is_ahead, segment, _ in service.queries if is_ahead}
    assert f"log#l#{SEGMENTS}" in behind

    make = EventMaker(2)
    log.append([StreamAppend("order-2", 0, make.many(90))])
    log.append([StreamAppend("order-2", 90, make.many(90))])

    assert positions(log) == list(range(1, EVENTS + 181))


def test_what_fails_ahead_is_asked_for_by_who_wants_it(log: DynamoDBLog, service: Watched) -> None:
    service.fails_ahead = True

    assert positions(log) == list(range(1, EVENTS + 1))
    assert any(is_ahead for is_ahead, *_ in service.queries)


def test_an_old_answer_is_not_handed_out(log: DynamoDBLog, service: Watched) -> None:
    end = log.read_page(0, 10).end
    service.now += AGE_SECONDS_MAX + 1

    log.read_page(end, 10)

    assert len(service.queries) == 2


def test_who_follows_the_end_asks_for_nothing_ahead(log: DynamoDBLog, service: Watched) -> None:
    end, make = log.head(), EventMaker(3)
    log.read_page(end - 1, 10)
    service.queries.clear()
    for version in range(3 * SEGMENT_POSITIONS):
        log.append([StreamAppend("order-3", version, make.many(1))])
        end = log.read_page(end, 100).end

    assert end == EVENTS + 3 * SEGMENT_POSITIONS
    assert not any(is_ahead for is_ahead, *_ in service.queries)


def test_closing_ends_the_threads(service: Watched) -> None:
    others = set(threading.enumerate())  # of logs that earlier tests left open
    log = DynamoDBLog(DynamoDBCalls(service), "log-table")
    make = EventMaker()
    for start in range(0, EVENTS, 89):
        events = make.many(min(89, EVENTS - start))
        log.append([StreamAppend("order-1", start, events)])
    positions(log)
    new = set(threading.enumerate()) - others
    threads = [one for one in new if one.name.startswith(AHEAD)]
    assert threads

    log.close()

    for one in threads:
        one.join(60)
    assert not any(one.is_alive() for one in threads)
