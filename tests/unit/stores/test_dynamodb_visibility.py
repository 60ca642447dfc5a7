"""Reads see the items of a transaction appear one by one, and nothing wrong is said meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from eventcore.errors import ConcurrencyConflictError
from eventcore.stores.dynamodb.calls import CallFailedError, DynamoDBCalls
from eventcore.stores.dynamodb.log import DynamoDBLog
from eventcore.stores.log import ANY_VERSION, StreamAppend
from eventcore.testing import EventMaker
from tests.model_dynamodb import ModelTables

TABLE = "log-table"


class Appearing:
    """A way to the tables on which some cells are seen only after so many queries for them.

    Args:
        tables: The tables.
        unseen: First positions of the cells to how many queries do not see them.
    """

    def __init__(self, tables: ModelTables, unseen: dict[int, int]) -> None:
        self.tables = tables
        self.unseen = unseen

    def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        answer = self.tables.call(operation, parameters)
        if operation == "Query" and "#l#" in parameters["ExpressionAttributeValues"][":pk"]["S"]:
            answer["Items"] = [item for item in answer["Items"] if self._is_seen(item)]
        return answer

    def _is_seen(self, item: Mapping[str, Any]) -> bool:
        first = int(item["sk"]["N"])
        if not self.unseen.get(first):
            return True
        self.unseen[first] -= 1
        return False

    def close(self) -> None:
        pass


@pytest.mark.parametrize("version", [0, ANY_VERSION])
@pytest.mark.parametrize(("events", "unseen"), [(1, {1: 5}), (200, {129: 5}), (200, {1: 5})])
def test_a_repeat_waits_until_the_whole_append_is_seen(
    version: int, events: int, unseen: dict[int, int]
) -> None:
    tables = ModelTables()
    appends = [StreamAppend("order-1", version, EventMaker(1).many(events))]
    stored = DynamoDBLog(DynamoDBCalls(tables), TABLE).append(appends)
    appearing = Appearing(tables, {})
    other = DynamoDBLog(DynamoDBCalls(appearing, sleep=lambda _: None), TABLE)

    appearing.unseen = unseen
    repeated = other.append(appends)

    assert repeated == stored._replace(repeated=True)


def test_another_append_that_begins_with_a_stored_event_is_refused_and_waits_for_nothing() -> None:
    tables, make = ModelTables(), EventMaker(1)
    log = DynamoDBLog(DynamoDBCalls(tables), TABLE)
    event = make()
    log.append([StreamAppend("order-1", 0, [event])])
    other = DynamoDBLog(DynamoDBCalls(tables, sleep=_never), TABLE)

    with pytest.raises(ConcurrencyConflictError):
        other.append([StreamAppend("order-1", 0, [event, *make.many(2)])])


def test_a_table_that_was_just_made_may_not_be_known_yet() -> None:
    class Unknown:
        """A way to the tables on which a new table is not known to the first who look."""

        def __init__(self) -> None:
            self.tables = ModelTables()
            self.left = 0

        def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
            if operation == "CreateTable":
                self.left = 3
            elif operation == "DescribeTable" and self.left:
                self.left -= 1
                raise CallFailedError("ResourceNotFoundException", "none", kind="absent")
            return self.tables.call(operation, parameters)

        def close(self) -> None:
            pass

    log = DynamoDBLog(DynamoDBCalls(Unknown(), sleep=lambda _: None), TABLE)

    assert log.append([StreamAppend("order-1", 0, [EventMaker(1)()])]).positions == (1,)


def _never(_: float) -> None:
    raise AssertionError("it waits")
