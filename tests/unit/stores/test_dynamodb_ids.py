"""The index of event ids: where its mark goes back, it is made anew from there."""

from __future__ import annotations

import pytest

from eventcore.errors import StoreError
from eventcore.events.recorded import EncodedEvent
from eventcore.stores.dynamodb import ids
from eventcore.stores.dynamodb.calls import DynamoDBCalls
from eventcore.stores.dynamodb.layout import Keys
from eventcore.stores.dynamodb.log import DynamoDBLog
from eventcore.stores.dynamodb.repair import repair
from eventcore.stores.log import ANY_VERSION, StreamAppend
from eventcore.testing import EventMaker
from tests.model_dynamodb import ModelTables

TABLE = "log-table"


@pytest.fixture(autouse=True)
def _small_tail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids, "TAIL_EVENTS_MAX", 5)


def opened(tables: ModelTables) -> DynamoDBLog:
    return DynamoDBLog(DynamoDBCalls(tables), TABLE, fence_seconds=0.0)


def test_a_mark_that_went_back_lets_the_ids_between_be_put_again() -> None:
    tables, make = ModelTables(), EventMaker()
    log = opened(tables)
    events = make.many(40)
    for version in range(0, 20, 2):
        log.append([StreamAppend("order-1", version, events[version : version + 2])])
    log.locate([str(make.ids())])
    table = tables.tables[TABLE]
    assert int(table["log#w", 0]["c"]["N"]) >= 15
    # As a repair does it, with the items behind it lost.
    table["log#w", 0]["c"] = {"N": "4"}
    for event in events[4:20]:
        table.pop((f"log#i#{event.event_id}", 0), None)
    for version in range(20, 40, 2):
        log.append([StreamAppend("order-1", version, events[version : version + 2])])

    log.locate([str(make.ids())])

    mark = int(table["log#w", 0]["c"]["N"])
    assert mark >= 34
    indexed = [(f"log#i#{event.event_id}", 0) in table for event in events[:mark]]
    assert indexed == [True] * mark
    found = opened(tables).locate([event.event_id for event in events])
    assert [event.position for event in found.values()] == list(range(1, 41))


DAMAGED = [
    b"",
    b"{damaged",
    b"[1]",
    b'"x"',
    b'{"v":1}',
    b'{"v":1,"id":5}',
    b'{"v":1,"id":"\xff"}',
    b'{"v":1,"id":""}',
    b'{"v":1,"id":"' + 3_000 * b"x" + b'"}',
]
"""Contents that have no id, or none that is one."""


def holding_damage(state: bytes) -> tuple[ModelTables, EventMaker, list[EncodedEvent]]:
    """Tables of a log with a damaged event in its middle, and all of its events as they were."""
    tables, make = ModelTables(), EventMaker()
    events = make.many(8)
    damaged = [events[2]._replace(state=state), events[3]]
    log = opened(tables)
    log.append([StreamAppend("order-1", ANY_VERSION, events[:2])])
    log.append([StreamAppend("order-2", ANY_VERSION, damaged)])
    for version in (0, 2):
        log.append([StreamAppend("order-3", version, events[4 + version : 6 + version])])
    return tables, make, events


@pytest.mark.parametrize("state", DAMAGED)
def test_a_damaged_event_hides_no_other_from_the_index(state: bytes) -> None:
    tables, make, events = holding_damage(state)
    others = [event.event_id for event in events if event != events[2]]
    log = opened(tables)

    found = log.locate([event.event_id for event in events])

    assert sorted(found) == sorted(others)
    assert log.trimmed_positions(others) == {}
    log.stream_version("order-3")
    assert log.append([StreamAppend("order-3", ANY_VERSION, make.many(1))]).positions == (9,)
    assert log.append([StreamAppend("order-1", ANY_VERSION, events[:2])]).repeated


@pytest.mark.parametrize("state", DAMAGED)
def test_a_repeat_of_a_damaged_event_is_told_what_is_wrong(state: bytes) -> None:
    tables, _, events = holding_damage(state)
    log = opened(tables)

    with pytest.raises(StoreError, match=r"event .* at position 3 is damaged"):
        log.append([StreamAppend("order-2", ANY_VERSION, events[2:3])])


@pytest.mark.parametrize("state", DAMAGED)
def test_a_repair_ends_although_an_event_is_damaged(state: bytes) -> None:
    tables, make, events = holding_damage(state)
    del tables.tables[TABLE][f"log#i#{events[0].event_id}", 0]
    tables._made[TABLE] += 60.0

    report = repair(DynamoDBCalls(tables), Keys(TABLE))

    assert report.gaps == []
    log = opened(tables)
    assert log.append([StreamAppend("order-1", ANY_VERSION, events[:2])]).repeated
    assert log.append([StreamAppend("order-1", 2, make.many(1))]).versions == (3,)
