"""A table that was dropped, restored or set back under a log in use: refused, and nothing stale."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from eventcore.errors import LogRestoredError, SchemaMismatchError, StoreUnavailableError
from eventcore.stores.dynamodb.calls import CallFailedError, DynamoDBCalls
from eventcore.stores.dynamodb.layout import Keys
from eventcore.stores.dynamodb.log import DynamoDBLog
from eventcore.stores.dynamodb.repair import repair
from eventcore.stores.dynamodb.table_watch import QUIET_SECONDS
from eventcore.stores.log import ANY_VERSION, StreamAppend
from eventcore.testing import EventMaker
from tests.model_dynamodb import ModelTables

TABLE = "log-table"


@pytest.fixture
def tables() -> ModelTables:
    return ModelTables()


@pytest.fixture
def make() -> EventMaker:
    return EventMaker()


def opened(tables: ModelTables) -> DynamoDBLog:
    return DynamoDBLog(DynamoDBCalls(tables), TABLE, fence_seconds=0.0)


def replace(tables: ModelTables) -> None:
    """Drop the table and make another one of its name, with a log of its own."""
    del tables.tables[TABLE]
    made = tables._made[TABLE]
    opened(tables).close()
    tables._made[TABLE] = made + 60.0
    tables.tables[TABLE].clear()
    opened(tables).close()


def test_a_table_that_was_replaced_is_refused_although_its_streams_are_remembered(
    tables: ModelTables, make: EventMaker
) -> None:
    log = opened(tables)
    log.append([StreamAppend("order-1", 0, make.many(3))])
    replace(tables)

    # The log remembers version 3: without a look at the table's identity it would write version 4.
    for expected in (3, ANY_VERSION):
        with pytest.raises(LogRestoredError, match="not the one"):
            log.append([StreamAppend("order-1", expected, [make()])])
        with pytest.raises(LogRestoredError, match="not the one"):
            log.append_judged([StreamAppend("order-2", 0, [make()])], [], {})

    assert opened(tables).head() == 0
    assert [key for key in tables.tables[TABLE] if "#s#" in key[0]] == []


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Answering:
    """Answers some operations in its own way."""

    def __init__(self, tables: ModelTables, **answers: Any) -> None:
        self._tables = tables
        self.answers = answers
        self.asked: list[str] = []

    def call(self, operation: str, parameters: Any) -> dict[str, Any]:
        self.asked.append(operation)
        answer = self.answers.get(operation, self._tables.call)
        found: dict[str, Any] = answer(operation, parameters)
        return found

    def close(self) -> None:
        pass


def restore(tables: ModelTables, items: dict[Any, Any]) -> None:
    """Put a copy of a table in its place: its items, and another identity."""
    tables.tables[TABLE] = dict(items)
    tables._made[TABLE] += 60.0


def test_a_copy_that_was_restored_while_a_log_was_quiet_is_refused_by_its_next_append(
    tables: ModelTables, make: EventMaker
) -> None:
    clock = Clock()
    log = DynamoDBLog(DynamoDBCalls(tables, clock=clock), TABLE, fence_seconds=0.0)
    log.append([StreamAppend("order-1", 0, make.many(2))])
    backup = copy.deepcopy(tables.tables[TABLE])
    log.append([StreamAppend("order-1", 2, make.many(2))])
    restore(tables, backup)
    clock.now += QUIET_SECONDS + 1.0

    for expected in (4, ANY_VERSION):
        with pytest.raises(LogRestoredError, match="another one than was opened"):
            log.append([StreamAppend("order-1", expected, [make()])])

    assert tables.tables[TABLE] == backup
    repair(DynamoDBCalls(tables), Keys(TABLE))
    assert [event.version for event in opened(tables).read()] == [1, 2]


def test_a_copy_is_refused_by_a_log_that_found_no_table_in_between(
    tables: ModelTables, make: EventMaker
) -> None:
    log = opened(tables)
    log.append([StreamAppend("order-1", 0, make.many(2))])
    items = tables.tables.pop(TABLE)
    with pytest.raises(SchemaMismatchError, match="no table"):
        log.append([StreamAppend("order-1", 2, [make()])])
    restore(tables, items)

    with pytest.raises(LogRestoredError, match="another one than was opened"):
        log.append([StreamAppend("order-1", 2, [make()])])

    assert tables.tables[TABLE] == items


def test_a_thread_that_stood_still_between_its_steps_writes_nothing_into_a_copy(
    tables: ModelTables, make: EventMaker
) -> None:
    clock = Clock()

    def stalling(operation: str, parameters: Any) -> dict[str, Any]:
        """Stand still after positions were reserved, while the table is restored."""
        answer = tables.call(operation, parameters)
        restore(tables, backup)
        clock.now += QUIET_SECONDS + 1.0
        return answer

    transport = Answering(tables)
    log = DynamoDBLog(DynamoDBCalls(transport, clock=clock), TABLE, fence_seconds=0.0)
    log.append([StreamAppend("order-1", 0, make.many(2))])
    backup = copy.deepcopy(tables.tables[TABLE])
    transport.answers["UpdateItem"] = stalling

    with pytest.raises(LogRestoredError, match="another one than was opened"):
        log.append([StreamAppend("order-1", 2, [make()])])

    assert tables.tables[TABLE] == backup


def test_a_table_that_is_just_being_restored_is_refused_at_once(
    tables: ModelTables, make: EventMaker
) -> None:
    clock = Clock()

    def creating(operation: str, parameters: Any) -> dict[str, Any]:
        table = tables.call(operation, parameters)["Table"]
        return {"Table": {**table, "TableStatus": "CREATING", "CreationDateTime": -1.0}}

    transport = Answering(tables)
    log = DynamoDBLog(DynamoDBCalls(transport, clock=clock), TABLE, fence_seconds=0.0)
    log.append([StreamAppend("order-1", 0, [make()])])
    transport.answers["DescribeTable"] = creating
    clock.now += QUIET_SECONDS + 1.0
    transport.asked.clear()

    with pytest.raises(LogRestoredError, match="another one than was opened"):
        log.append([StreamAppend("order-1", 1, [make()])])

    assert transport.asked == ["DescribeTable"]


@pytest.mark.parametrize("slow", ["", "UpdateItem"])
def test_a_look_that_is_not_answered_writes_nothing_and_says_so(
    tables: ModelTables, make: EventMaker, slow: str
) -> None:
    clock = Clock()

    def throttled(_operation: str, _parameters: Any) -> dict[str, Any]:
        clock.now += 5.0
        raise CallFailedError("ThrottlingException", "too many", kind="throttled")

    def slowly(operation: str, parameters: Any) -> dict[str, Any]:
        clock.now += QUIET_SECONDS + 1.0
        return tables.call(operation, parameters)

    transport = Answering(tables)
    calls = DynamoDBCalls(transport, clock=clock, sleep=lambda _: None)
    log = DynamoDBLog(calls, TABLE, fence_seconds=0.0)
    log.append([StreamAppend("order-1", 0, [make()])])
    transport.answers["DescribeTable"] = throttled
    if slow:
        transport.answers[slow] = slowly
    else:
        clock.now += QUIET_SECONDS + 1.0
    transport.asked.clear()

    with pytest.raises(StoreUnavailableError, match="too many"):
        log.append([StreamAppend("order-1", 1, [make()])])

    assert "TransactWriteItems" not in transport.asked
    assert len(transport.asked) < 8
    transport.answers.clear()
    assert log.append([StreamAppend("order-1", 1, [make()])]).versions == (2,)


def test_a_log_that_is_busy_does_not_look_again_and_again(
    tables: ModelTables, make: EventMaker
) -> None:
    clock, transport = Clock(), Answering(tables)
    log = DynamoDBLog(DynamoDBCalls(transport, clock=clock), TABLE, fence_seconds=0.0)
    transport.asked.clear()
    for version in range(10):
        log.append([StreamAppend("order-1", version, [make()])])
        clock.now += QUIET_SECONDS / 2
    assert transport.asked.count("DescribeTable") == 0

    clock.now += QUIET_SECONDS
    log.append([StreamAppend("order-1", 10, [make()])])
    assert transport.asked.count("DescribeTable") == 1


def test_what_was_remembered_is_dropped_with_the_refusal(
    tables: ModelTables, make: EventMaker
) -> None:
    log = opened(tables)
    event = make()
    log.append([StreamAppend("order-1", 0, [event])])
    log.read_page(1, 10)
    log.locate([str(make.ids())])
    replace(tables)

    with pytest.raises(LogRestoredError):
        log.append([StreamAppend("order-2", 0, [make()])])

    assert log._streams.last.get("order-1") is None
    assert log._ids.remembered([event.event_id]) == []
    assert log._chain._hints == {}
    assert log.locate([event.event_id]) == {}


def test_a_table_without_its_log_is_refused(tables: ModelTables, make: EventMaker) -> None:
    log = opened(tables)
    tables.tables[TABLE].clear()

    with pytest.raises(LogRestoredError, match="no longer holds the log"):
        log.append([StreamAppend("order-1", 0, [make()])])


def test_an_event_that_is_remembered_and_gone_is_told_at_once(
    tables: ModelTables, make: EventMaker
) -> None:
    log = opened(tables)
    events = make.many(1)
    log.append([StreamAppend("order-1", 0, events)])
    sequencer = tables.tables[TABLE]["log#q", 0]
    tables.tables[TABLE].clear()
    tables.tables[TABLE]["log#q", 0] = sequencer

    with pytest.raises(LogRestoredError, match=events[0].event_id):
        log.append([StreamAppend("order-1", 0, events)])


def test_a_format_of_another_version_is_refused_by_a_log_in_use(
    tables: ModelTables, make: EventMaker
) -> None:
    log = opened(tables)
    tables.tables[TABLE]["log#q", 0]["f"] = {"N": "2"}

    with pytest.raises(Exception, match="a log of format 2"):
        log.append([StreamAppend("order-1", 0, [make()])])


def test_a_reader_closes_no_hole_in_a_table_that_took_the_place_of_its_own(
    tables: ModelTables, make: EventMaker
) -> None:
    reader = opened(tables)
    reader.append([StreamAppend("order-1", 0, make.many(3))])
    assert reader.read_page(0, 10).end == 3
    replace(tables)
    log = opened(tables)
    # The reader goes on behind position 3, which is within a record of the new log.
    log.append([StreamAppend("order-2", 0, make.many(5))])
    log.append([StreamAppend("order-2", 5, make.many(1))])

    with pytest.raises(LogRestoredError, match="another one"):
        reader.read_page(3, 10)

    assert [event.position for event in log.read()] == [1, 2, 3, 4, 5, 6]
    assert reader._chain._hints == {}


def test_a_reader_closes_no_hole_that_a_repair_has_to_mend(
    tables: ModelTables, make: EventMaker
) -> None:
    reader = opened(tables)
    for version in range(3):
        reader.append([StreamAppend("order-1", version, make.many(1))])
    del tables.tables[TABLE]["log#l#0", 2]
    tables._made[TABLE] += 60.0

    with pytest.raises(LogRestoredError, match="not the one"):
        reader.read_page(1, 10)
    repair(DynamoDBCalls(tables), Keys(TABLE))

    assert [event.version for event in opened(tables).read()] == [1, 2, 3]
