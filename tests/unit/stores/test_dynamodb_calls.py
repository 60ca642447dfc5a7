"""What is tried again, and never without a pause; and callers who share a transaction."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import pytest

from eventcore.errors import (
    ConcurrencyConflictError,
    LogRestoredError,
    SchemaMismatchError,
    StoreUnavailableError,
)
from eventcore.stores.dynamodb.calls import (
    BATCH_SENDS_MAX,
    PAUSE_FIRST_SECONDS,
    CallFailedError,
    DynamoDBCalls,
    Kind,
    Transport,
)
from eventcore.stores.dynamodb.client import BotoTransport, _translated
from eventcore.stores.dynamodb.layout import Keys
from eventcore.stores.dynamodb.log import DynamoDBLog
from eventcore.stores.dynamodb.writing import SENDS_MAX
from eventcore.stores.log import AppendResult, StreamAppend
from eventcore.testing import EventMaker
from tests.model_dynamodb import ModelTables


class Failing:
    """A way to the service that fails so many times for each operation."""

    def __init__(self, kind: Kind, times: int, tables: ModelTables | None = None) -> None:
        self.tables = tables or ModelTables()
        self.kind: Kind = kind
        self.left = times
        self.sent: list[str] = []

    def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        self.sent.append(operation)
        if self.left:
            self.left -= 1
            raise CallFailedError("Injected", "as told", kind=self.kind)
        return self.tables.call(operation, parameters)

    def close(self) -> None:
        pass


class Time:
    """Time that passes while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds + 0.001


def calls_over(transport: Transport, time: Time) -> DynamoDBCalls:
    return DynamoDBCalls(transport, clock=lambda: time.now, sleep=time.sleep)


@pytest.mark.parametrize("kind", ["throttled", "conflict", "unknown", "unreachable"])
def test_what_may_pass_is_tried_again_after_a_pause(kind: Kind) -> None:
    transport, time = Failing(kind, 5), Time()

    with pytest.raises(SchemaMismatchError, match="no table"):
        calls_over(transport, time).call("DescribeTable", {"TableName": "none"})

    assert len(transport.sent) == 6
    assert len(time.pauses) == 5


def test_it_is_given_up_in_the_end() -> None:
    transport, time = Failing("throttled", 10_000), Time()

    with pytest.raises(StoreUnavailableError, match="Injected"):
        calls_over(transport, time).call("GetItem", {})

    assert 14 < time.now < 20
    assert len(time.pauses) == len(transport.sent) - 1


@pytest.mark.parametrize("kind", ["refused", "forbidden", "absent"])
def test_what_stays_wrong_is_not_tried_again(kind: Kind) -> None:
    transport, time = Failing(kind, 1), Time()

    with pytest.raises(Exception, match=r"Injected|no table"):
        calls_over(transport, time).call("GetItem", {})

    assert len(transport.sent) == 1


class Undone:
    """A service that does so many items of each batch."""

    def __init__(self, done: int) -> None:
        self.done = done
        self.sent: list[int] = []

    def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        assert operation == "BatchGetItem"
        keys = parameters["RequestItems"]["t"]["Keys"]
        self.sent.append(len(keys))
        left = keys[self.done :]
        answer = {"Responses": {"t": keys[: self.done]}}
        return {**answer, "UnprocessedKeys": {"t": {"Keys": left}} if left else {}}

    def close(self) -> None:
        pass


def test_what_is_left_of_a_batch_is_sent_again_after_a_pause() -> None:
    service, time = Undone(2), Time()

    answers = calls_over(service, time).finish(
        "BatchGetItem", {"t": {"Keys": list(range(100))}}, undone="UnprocessedKeys"
    )

    assert [key for answer in answers for key in answer["Responses"]["t"]] == list(range(100))
    assert service.sent == list(range(100, 0, -2))
    assert len(time.pauses) == len(service.sent) - 1
    # The service is only full: no pause grows.
    assert max(time.pauses) <= PAUSE_FIRST_SECONDS


def test_a_batch_of_which_nothing_is_done_is_given_up() -> None:
    service, time = Undone(0), Time()

    with pytest.raises(StoreUnavailableError, match="BatchGetItem was left undone"):
        calls_over(service, time).finish(
            "BatchGetItem", {"t": {"Keys": [1, 2]}}, undone="UnprocessedKeys"
        )

    assert len(service.sent) == len(time.pauses) == BATCH_SENDS_MAX
    assert max(time.pauses) > PAUSE_FIRST_SECONDS


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("ValidationException", "Type mismatch: Value '{S=secret}' at 'item' is wrong"),
        ("ValidationException", "One value is wrong: {pk=secret}"),
        ("SerializationException", 'Unexpected token "secret'),
        ("InvalidSignatureException", "The canonical string is secret"),
        ("IncompleteSignatureException", "Authorization=secret"),
        ("ThrottlingException", "Too much [secret]"),
        ("SomethingNewException", "No such thing\nsecret"),
    ],
)
def test_what_the_service_quotes_is_in_no_message(code: str, message: str) -> None:
    error = _translated({"__type": f"com.amazonaws#{code}", "message": message}, 400)

    assert isinstance(error, CallFailedError)
    assert "secret" not in f"{error} {error.problem}"
    assert code in str(error)


def test_who_may_not_do_it_is_told_what() -> None:
    message = "User: arn:aws:iam::1:user/a is not authorized to perform: dynamodb:PutItem"
    error = _translated({"__type": "AccessDeniedException", "Message": message}, 400)

    assert isinstance(error, CallFailedError)
    assert error.problem == message


def test_credentials_in_an_endpoint_are_in_no_message() -> None:
    transport = BotoTransport(region="eu-west-1", endpoint_url="http://me:secret@127.0.0.1:9")

    with pytest.raises(CallFailedError) as caught:
        transport.call("ListTables", {})

    assert "secret" not in str(caught.value)
    transport.close()


def test_a_transaction_is_sent_again_by_its_writer_only_and_after_pauses() -> None:
    # As ten minutes later, when the service has forgotten the transaction's token.
    tables, time = ModelTables(are_tokens_kept=False), Time()
    log = DynamoDBLog(calls_over(Failing("unknown", 0, tables), time), "log-table")
    transport = log.calls._transport
    assert isinstance(transport, Failing)
    transport.sent.clear()
    sent = transport.call

    def lose(operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        answer = sent(operation, parameters)
        if operation == "TransactWriteItems":
            raise CallFailedError("Injected", "lost", kind="unknown")
        return answer

    transport.call = lose  # type: ignore[method-assign]

    result = log.append([StreamAppend("order-1", 0, EventMaker().many(1))])

    # The second attempt met the first one's cell, by its token.
    assert result == AppendResult((1,), (1,), repeated=False)
    assert transport.sent == ["UpdateItem", "TransactWriteItems", "TransactWriteItems"]
    assert len(time.pauses) == 1


def test_an_outcome_that_nobody_tells_is_settled_by_a_tombstone() -> None:
    tables, time = ModelTables(), Time()
    log = DynamoDBLog(calls_over(Failing("unknown", 0, tables), time), "log-table")
    transport = log.calls._transport
    assert isinstance(transport, Failing)
    sent = transport.call
    lost: list[Mapping[str, Any]] = []

    def drop(operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        if operation == "TransactWriteItems" and len(lost) < SENDS_MAX:
            lost.append(parameters)
            raise CallFailedError("Injected", "dropped", kind="unknown")
        return sent(operation, parameters)

    transport.call = drop  # type: ignore[method-assign]

    result = log.append([StreamAppend("order-1", 0, EventMaker().many(1))])

    assert result.positions == (2,)
    assert len({request["ClientRequestToken"] for request in lost}) == 1
    with pytest.raises(Exception, match="ConditionalCheckFailed"):
        tables.call("TransactWriteItems", lost[0])


def test_a_sequencer_that_went_back_under_a_writer_stops_it() -> None:
    tables, make = ModelTables(), EventMaker()
    log = DynamoDBLog(DynamoDBCalls(tables), "log-table")
    log.append([StreamAppend("order-1", 0, [make()])])
    tables.tables["log-table"][Keys("log-table").sequencer["pk"]["S"], 0]["c"] = {"N": "0"}

    with pytest.raises(LogRestoredError, match="db repair"):
        log.append([StreamAppend("order-2", 0, [make()])])


def test_callers_who_share_a_transaction_keep_their_own_conflicts() -> None:
    tables, entered, go_on = ModelTables(), threading.Event(), threading.Event()
    log, other = (DynamoDBLog(DynamoDBCalls(tables), "log-table") for _ in range(2))
    make = EventMaker()
    log.append([StreamAppend("late-1", 0, [make()])])
    other.append([StreamAppend("late-1", 1, [make()])])
    write = log._writing.write
    sizes: list[int] = []

    def held(commit: Any) -> tuple[int, list[int]]:
        sizes.append(len(commit.requests))
        if len(sizes) == 1:
            entered.set()
            assert go_on.wait(60)
        return write(commit)

    log._writing.write = held  # type: ignore[method-assign]
    outcomes: dict[str, object] = {}

    def append(stream: str, version: int) -> None:
        try:
            outcomes[stream] = log.append([StreamAppend(stream, version, [make()])]).versions
        except ConcurrencyConflictError as error:
            outcomes[stream] = (error.expected_version, error.actual_version)

    threads = [threading.Thread(target=append, args=("first-1", 0))]
    threads[0].start()
    assert entered.wait(60)
    # Version 1 of late-1 is what this log saw last: whether it moved, the transaction tells.
    threads += [
        threading.Thread(target=append, args=(stream, version))
        for stream, version in (("a-1", 0), ("late-1", 1), ("b-1", 0))
    ]
    for thread in threads[1:]:
        thread.start()
    while len(log._appending._line) < 3:
        pass
    go_on.set()
    for thread in threads:
        thread.join(60)

    assert outcomes == {"first-1": (1,), "a-1": (1,), "b-1": (1,), "late-1": (1, 2)}
    # The three together, then without the one that had lost its race.
    assert sizes == [1, 3, 2]
