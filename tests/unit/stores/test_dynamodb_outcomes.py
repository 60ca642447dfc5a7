"""Nothing is said about a transaction whose outcome is unknown before it is settled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from eventcore.errors import ConfigurationError, StoreError, StoreUnavailableError
from eventcore.stores.dynamodb.calls import (
    CallFailedError,
    DynamoDBCalls,
    Reason,
    TransactionCanceledError,
)
from eventcore.stores.dynamodb.log import DynamoDBLog
from eventcore.stores.log import StreamAppend
from eventcore.stores.refusals import Refusal
from eventcore.testing import EventMaker
from tests.model_dynamodb import ModelTables

TABLE = "log-table"

Answer = Callable[[Callable[[], dict[str, Any]]], dict[str, Any]]
"""What becomes of a transaction, given what does it."""


def lost(do: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    do()
    raise CallFailedError("Injected", "no answer", kind="unknown")


def dropped(_: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    raise CallFailedError("Injected", "no answer", kind="unknown")


def forbidden(_: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    raise CallFailedError("AccessDeniedException", "the key was revoked", kind="forbidden")


def refused(_: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    raise CallFailedError("ValidationException", "wrong", kind="refused")


def cancelled(_: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    raise TransactionCanceledError([Reason("ValidationError", None), Reason("None", None)])


class Answering:
    """A way to the tables on which transactions get the answers given, and then none."""

    def __init__(self, tables: ModelTables) -> None:
        self.tables = tables
        self.answers: list[Answer] = []
        self.sent: list[Mapping[str, Any]] = []
        self.is_forbidden = False

    def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        if operation == "TransactWriteItems":
            self.sent.append(parameters)
            if self.answers:
                return self.answers.pop(0)(lambda: self.tables.call(operation, parameters))
        elif operation == "PutItem" and self.is_forbidden:
            raise CallFailedError("AccessDeniedException", "revoked", kind="forbidden")
        return self.tables.call(operation, parameters)

    def close(self) -> None:
        pass


@pytest.fixture
def way() -> Answering:
    return Answering(ModelTables())


@pytest.fixture
def log(way: Answering) -> DynamoDBLog:
    return DynamoDBLog(DynamoDBCalls(way, sleep=lambda _: None), TABLE, fence_seconds=0.0)


@pytest.mark.parametrize("then", [forbidden, refused, cancelled])
def test_one_that_was_done_is_acknowledged_whatever_the_next_attempt_says(
    way: Answering, log: DynamoDBLog, then: Answer
) -> None:
    way.answers = [lost, then]

    result = log.append([StreamAppend("order-1", 0, EventMaker().many(2))])

    assert (result.positions, result.repeated) == ((1, 2), False)
    assert log.head() == 2


@pytest.mark.parametrize(
    ("then", "error"),
    [(forbidden, ConfigurationError), (refused, StoreError), (cancelled, StoreError)],
)
def test_one_that_was_not_done_never_will_be_once_an_error_is_told(  # noqa: PLR0917 - fixtures
    way: Answering, log: DynamoDBLog, then: Answer, error: type[Exception]
) -> None:
    way.answers = [dropped, then]

    with pytest.raises(error) as caught:
        log.append([StreamAppend("order-1", 0, EventMaker().many(2))])

    assert not isinstance(caught.value, StoreUnavailableError)
    with pytest.raises(TransactionCanceledError):
        way.tables.call("TransactWriteItems", way.sent[0])
    assert log.head() == 0


def test_one_that_cannot_be_settled_stays_unknown(way: Answering, log: DynamoDBLog) -> None:
    events = EventMaker().many(2)
    way.answers, way.is_forbidden = [lost, forbidden], True

    with pytest.raises(StoreUnavailableError, match="unknown"):
        log.append([StreamAppend("order-1", 0, events)])

    way.is_forbidden = False
    assert log.append([StreamAppend("order-1", 0, events)]).positions == (1, 2)


def test_an_error_of_the_first_attempt_is_told_as_it_is(way: Answering, log: DynamoDBLog) -> None:
    way.answers = [forbidden]

    with pytest.raises(ConfigurationError, match="revoked"):
        log.append([StreamAppend("order-1", 0, EventMaker().many(1))])

    assert len(way.sent) == 1


def test_a_verdict_without_events_stays_unknown_too(way: Answering, log: DynamoDBLog) -> None:
    way.answers = [lost, forbidden]

    with pytest.raises(StoreUnavailableError, match="unknown"):
        log.append_judged([], [Refusal("id-1", "d", "not-found", "no such order")], {"order-1": 0})
