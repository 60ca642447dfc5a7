"""A writer or a follower of a DynamoDB log in a process of its own, with faults on its way.

Started and killed by :mod:`tests.integration.dynamodb_race`.
"""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3  # noqa: F401 - imported once, before the processes are forked
import botocore.exceptions  # noqa: F401 - likewise

from eventcore.errors import ConcurrencyConflictError, LogDamagedError, StoreUnavailableError
from eventcore.stores.dynamodb.calls import CallFailedError, DynamoDBCalls, Transport
from eventcore.stores.dynamodb.client import BotoTransport
from eventcore.stores.dynamodb.layout import record_of
from eventcore.stores.dynamodb.log import DynamoDBLog
from eventcore.stores.log import ANY_VERSION, StreamAppend
from eventcore.testing import EventMaker

FENCE_SECONDS = 0.3
PAUSE_SECONDS_MAX = 3 * FENCE_SECONDS
LATE_SECONDS_MAX = 1.0
DAMAGED = "damaged"
"""Name of the file that says that somebody found two records at one position."""

STEPS = ("after reserve", "before transaction", "after transaction")


@dataclass(frozen=True)
class Job:
    """What a process is told.

    Attributes:
        journal: File it writes down in what it did; opened to append.
        series: Ids and streams of a writer are its own.
        faults: Share of its calls that go wrong.
        dies_at: One of :data:`STEPS`; it kills itself there, after some commits.
        mutant: Name of a bug.
    """

    endpoint: str
    region: str
    table: str
    journal: str
    series: int
    faults: float
    dies_at: str = ""
    mutant: str = ""


class Faults:
    """A way to the service on which calls are throttled, lost, late, or the last thing done."""

    def __init__(self, transport: Transport, job: Job) -> None:
        self._transport = transport
        self._job = job
        self._chance = random.Random(job.series * 1_000_003 + os.getpid())
        self._commits_left = self._chance.randint(3, 15)

    def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        self._perhaps_die(operation, is_before=True)
        if self._job.mutant == "no conditions" and operation == "TransactWriteItems":
            parameters = _without_conditions(parameters)
        if operation == "TransactWriteItems" and self._chance.random() < self._job.faults:
            time.sleep(self._chance.uniform(0, PAUSE_SECONDS_MAX))
        if self._chance.random() < self._job.faults:
            self._fail(operation, parameters)
        answer = self._transport.call(operation, parameters)
        self._perhaps_die(operation, is_before=False)
        return answer

    def close(self) -> None:
        self._transport.close()

    def _fail(self, operation: str, parameters: Mapping[str, Any]) -> None:
        fate = self._chance.choice(("throttled", "conflict", "error", "lost", "late"))
        if fate in {"throttled", "conflict"}:
            raise CallFailedError("Injected", "not done", kind=fate)  # type: ignore[arg-type]
        if fate == "lost":
            self._transport.call(operation, parameters)
        elif fate == "late" and operation in {"TransactWriteItems", "PutItem", "UpdateItem"}:
            # The connection was cut after it was sent, and it is done when nobody waits any more.
            late = threading.Timer(
                self._chance.uniform(0, LATE_SECONDS_MAX), self._do, (operation, parameters)
            )
            late.daemon = True
            late.start()
        raise CallFailedError("Injected", "no answer", kind="unknown")

    def _do(self, operation: str, parameters: Mapping[str, Any]) -> None:
        try:
            self._transport.call(operation, parameters)
        except Exception as error:  # noqa: BLE001 - nobody waits for it
            del error

    def _perhaps_die(self, operation: str, *, is_before: bool) -> None:
        if not self._job.dies_at:
            return
        if operation == "TransactWriteItems" and not is_before:
            self._commits_left -= 1
        here = {
            ("UpdateItem", False): "after reserve",
            ("TransactWriteItems", True): "before transaction",
            ("TransactWriteItems", False): "after transaction",
        }.get((operation, is_before))
        if here == self._job.dies_at and self._commits_left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)


def _without_conditions(parameters: Mapping[str, Any]) -> dict[str, Any]:
    def stripped(given: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in given.items() if name != "ConditionExpression"}

    actions = [
        {verb: stripped(given)}
        for one in parameters["TransactItems"]
        for verb, given in one.items()
        if verb == "Put"
    ]
    return {**parameters, "TransactItems": actions}


def open_log(job: Job) -> DynamoDBLog:
    transport = Faults(BotoTransport(region=job.region, endpoint_url=job.endpoint), job)
    calls = DynamoDBCalls(transport, retry_seconds=2.0)
    log = DynamoDBLog(calls, job.table, fence_seconds=FENCE_SECONDS)
    if job.mutant == "skips holes":
        log._chain._linked = lambda items, start: [record_of(item) for item in items]  # type: ignore[method-assign]
    return log


def work(role: str, job: Job) -> None:
    """Write or follow until killed; note it if the log turns out to be damaged."""
    try:
        {"write": write, "follow": follow}[role](job)
    except LogDamagedError:
        Path(job.journal).with_name(DAMAGED).touch()


def write(job: Job) -> None:
    """Append for ever: to a stream of its own, to one that all share, or to both."""
    log, make, chance = open_log(job), EventMaker(job.series), random.Random(job.series)
    own, version = f"own-{job.series}", 0
    with Path(job.journal).open("a", buffering=1) as journal:
        while True:
            count = chance.randint(1, 3)
            appends = [StreamAppend(own, version, make.many(count))]
            if chance.random() < 0.5:
                appends.append(StreamAppend("shared-1", ANY_VERSION, make.many(1)))
            ids = [event.event_id for append in appends for event in append.events]
            journal.write(json.dumps({"tried": ids}) + "\n")
            if (positions := _append(log, appends)) is not None:
                journal.write(json.dumps({"stored": ids, "positions": positions}) + "\n")
                version += count
            else:
                version = log.stream_version(own)


def _append(log: DynamoDBLog, appends: list[StreamAppend]) -> list[int] | None:
    while True:
        try:
            return list(log.append(appends).positions)
        except StoreUnavailableError:
            time.sleep(0.01)
        except ConcurrencyConflictError:
            return None


def follow(job: Job) -> None:
    """Write down every event as it comes, from where the journal ends."""
    path = Path(job.journal)
    lines = path.read_text().split("\n") if path.exists() else [""]
    # A line that the kill cut off was not written.
    path.write_text("".join(f"{line}\n" for line in lines[:-1]))
    after = int(lines[-2].split()[0]) if len(lines) > 1 else 0
    log = open_log(job)
    with path.open("a") as journal:
        while True:
            try:
                with log.subscribe(after) as subscription:
                    while (page := subscription.next_page()) is not None:
                        journal.write(
                            "".join(f"{event.position} {event.event_id}\n" for event in page.events)
                        )
                        journal.flush()
                        after = page.end
            except StoreUnavailableError:
                time.sleep(0.01)
