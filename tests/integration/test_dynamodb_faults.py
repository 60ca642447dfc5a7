"""A service that fails one call in twenty, in all its ways: everything holds, and is done.

The failures are answers as the service words them, put in place of the server's in boto3 itself:
what we make of them is tested as well.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ReadTimeoutError

from eventcore.errors import StoreUnavailableError
from eventcore.stores.dynamodb.calls import (
    CallFailedError,
    DynamoDBCalls,
    TransactionCanceledError,
)
from eventcore.stores.dynamodb.client import BotoTransport
from eventcore.stores.dynamodb.log import DynamoDBLog
from eventcore.stores.dynamodb.surveys import log_items
from eventcore.stores.log import ANY_VERSION, StreamAppend
from eventcore.stores.snapshots import Snapshot
from eventcore.testing import EventMaker
from eventcore.testing.log_cases import run_threads
from tests.dynamodb import DynamoDBPlace
from tests.property.stores.dynamodb_promises import check_table

pytestmark = pytest.mark.dynamodb

FAULTS = 0.05
WRITERS = 6
APPENDS = 50
PREFIX = "com.amazonaws.dynamodb.v20120810#"

Happened = tuple[str, str, Any]
"""``call``, ``failed`` or ``pause``; the operation and its parameters."""


class Body:
    """The body of an answer, as botocore reads it."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, **_options: Any) -> Iterator[bytes]:
        yield self._body


class FaultyBoto:
    """boto3 with a share of its answers replaced, and a record of what each thread did."""

    def __init__(self, place: DynamoDBPlace, seed: int) -> None:
        self._transport = BotoTransport(region=place.region, endpoint_url=place.url)
        self._http = self._transport._http
        self._transport._http = self
        self._chance = random.Random(seed)
        self.share = 0.0
        self.injected: Counter[str] = Counter()
        self.happened: dict[int, list[Happened]] = {}

    def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        self._note("call", operation, parameters)
        try:
            return self._transport.call(operation, parameters)
        except CallFailedError as error:
            if error.kind != "absent":  # the table is made then, and looked at again
                self._note("failed", operation, parameters)
            raise
        except TransactionCanceledError as error:
            if not error.failed_conditions:
                self._note("failed", operation, parameters)
            raise

    def close(self) -> None:
        self._transport.close()

    def sleep(self, seconds: float) -> None:
        self._note("pause", "", seconds)
        time.sleep(seconds)

    def _note(self, what: str, operation: str, detail: Any) -> None:
        self.happened.setdefault(threading.get_ident(), []).append((what, operation, detail))

    def send(self, request: Any) -> Any:
        """In the place of boto3's connections; what happened least so far happens next."""
        if self._chance.random() >= self.share:
            return self._http.send(request)
        operation = request.headers["X-Amz-Target"].rpartition(".")[2]
        code = min(_codes(operation), key=lambda one: self.injected[one])
        self.injected[code] += 1
        if code == "timeout":
            raise ReadTimeoutError(endpoint_url=request.url)
        answer: dict[str, Any] = {"__type": PREFIX + code, "message": "injected"}
        if code == "TransactionCanceledException":
            actions = len(json.loads(request.body)["TransactItems"])
            reasons = ["TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"]
            answer["CancellationReasons"] = [
                {"Code": self._chance.choice(reasons)},
                *[{"Code": "None"}] * (actions - 1),
            ]
        status = 500 if code in {"InternalServerError", "ServiceUnavailable"} else 400
        return AWSResponse(request.url, status, {}, Body(json.dumps(answer).encode()))


def _codes(operation: str) -> list[str]:
    """What an operation may fail with."""
    conflict = {"TransactWriteItems": "TransactionCanceledException"}
    return [
        conflict.get(operation, "TransactionConflictException"),
        "ThrottlingException",
        "ProvisionedThroughputExceededException",
        "InternalServerError",
        "ServiceUnavailable",
        "timeout",
    ]


def test_everything_holds_and_is_done_though_one_call_in_twenty_fails(  # noqa: C901, PLR0915 - one story
    dynamodb: DynamoDBPlace,
) -> None:
    ways = [FaultyBoto(dynamodb, seed) for seed in (1, 2)]
    logs = [
        DynamoDBLog(DynamoDBCalls(way, sleep=way.sleep), dynamodb.table, fence_seconds=0.3)
        for way in ways
    ]
    for way in ways:
        way.share = FAULTS
    stored: dict[str, int] = {}
    followed: list[list[str]] = [[], []]

    def write(number: int) -> None:
        log, make = logs[number % 2], EventMaker(number + 1)
        for version in range(APPENDS):
            appends = [StreamAppend(f"own-{number}", version, make.many(1))]
            if version % 3 == 0:
                appends.append(StreamAppend("shared-1", ANY_VERSION, make.many(1)))
            positions = _append(log, appends)
            ids = [event.event_id for append in appends for event in append.events]
            stored.update(zip(ids, positions, strict=True))
        log.save_snapshot(Snapshot(f"own-{number}", APPENDS, "fold", b"{}"))
        assert log.load_snapshot(f"own-{number}") is not None
        assert len(log.locate(list(stored)[:20])) == 20

    def follow(number: int) -> None:
        expected = WRITERS * (APPENDS + (APPENDS + 2) // 3)
        with logs[number].subscribe() as subscription:
            for event in subscription:
                followed[number].append(str(event.event_id))
                if len(followed[number]) == expected:
                    return

    run_threads(
        *(lambda number=number: write(number) for number in range(WRITERS)),
        *(lambda number=number: follow(number) for number in range(2)),
    )

    for way in ways:
        way.share = 0.0
    events = list(logs[0].read())
    ids = [str(event.event_id) for event in events]
    assert followed == [ids, ids]
    assert {str(event.event_id): event.position for event in events} == stored
    items = [item for _, _, item in log_items(logs[0].calls, logs[0].keys)]
    check_table(items, [(one.position, one.stream, one.version, one.state) for one in events])
    assert len(ways[0].injected + ways[1].injected) == 7
    for way in ways:
        assert_no_repeat_without_a_pause(way)
    for log in logs:
        log.close()


def _append(log: DynamoDBLog, appends: list[StreamAppend]) -> tuple[int, ...]:
    while True:
        try:
            return log.append(appends).positions
        except StoreUnavailableError:
            log.calls.sleep(0.01)


def assert_no_repeat_without_a_pause(way: FaultyBoto) -> None:
    """After a failure the same thread pauses before it sends the same again."""
    repeated = 0
    for happened in way.happened.values():
        failed: list[tuple[str, Any]] = []
        for what, operation, detail in happened:
            if what == "pause":
                repeated += len(failed)
                failed.clear()
            elif what == "failed":
                failed.append((operation, detail))
            else:
                assert (operation, detail) not in failed
    assert repeated > 20
