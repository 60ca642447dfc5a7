"""The index of event ids: where its mark goes back, it is made anew from there."""

from __future__ import annotations

import pytest

from eventcore.stores.dynamodb import ids
from eventcore.stores.dynamodb.calls import DynamoDBCalls
from eventcore.stores.dynamodb.log import DynamoDBLog
from eventcore.stores.log import StreamAppend
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
