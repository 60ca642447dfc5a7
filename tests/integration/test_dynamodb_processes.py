"""A log on DynamoDB and the processes that fork from its own."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from typing import Any

import pytest

from eventcore.errors import EventCoreError
from eventcore.stores.dynamodb.client import open_calls
from eventcore.stores.dynamodb.log import DynamoDBLog
from eventcore.stores.log import ANY_VERSION, StreamAppend
from eventcore.testing import EventMaker
from tests.dynamodb import DynamoDBPlace

pytestmark = pytest.mark.dynamodb

JOIN_SECONDS = 60.0


def _refusals(log: DynamoDBLog, subscription: Any, queue: Any) -> None:
    event = EventMaker(2)()
    uses: dict[str, Callable[[], object]] = {
        "append": lambda: log.append([StreamAppend("order-1", ANY_VERSION, [event])]),
        "append_judged": lambda: log.append_judged([], [], {"order-1": 1}),
        "read": lambda: list(log.read()),
        "read_page": lambda: log.read_page(0, 1),
        "read_stream": lambda: list(log.read_stream("order-1")),
        "read_stream_rows": lambda: list(log.read_stream_rows("order-1")),
        "stream_versions": lambda: log.stream_versions(["order-1", "order-2"]),
        "head": log.head,
        "locate": lambda: log.locate([event.event_id]),
        "load_snapshot": lambda: log.load_snapshot("order-1"),
        "find_refusals": lambda: log.find_refusals(["id-1"]),
        "subscribe": log.subscribe,
    }
    for name, use in uses.items():
        try:
            use()
        except EventCoreError as error:
            queue.put((name, type(error).__name__, error.facts["problem"]))
        else:
            queue.put((name, "nothing", ""))
    del subscription
    log.close()
    queue.put("closed")
    queue.close()
    queue.join_thread()
    os._exit(0)


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_log_is_refused_in_a_forked_child_and_the_parents_goes_on(
    dynamodb: DynamoDBPlace,
) -> None:
    calls = open_calls(dynamodb.table, region=dynamodb.region, endpoint_url=dynamodb.url)
    log, make = DynamoDBLog(calls, dynamodb.table), EventMaker()
    log.append([StreamAppend("order-1", 0, [make()])])
    log.stream_versions(["order-1", "order-2"])  # its threads run
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    # Locks that another thread of the parent may hold at that moment: in the child for ever.
    held: list[Any] = [
        log._appending._lock,
        log._streams.last._lock,
        log._chain._lock,
        log._ids._index_lock,
        log._ids._recent_lock,
        log._bell._lock,
    ]
    with log.subscribe() as subscription:
        for lock in held:
            lock.acquire()
        child = context.Process(target=_refusals, args=(log, subscription, queue), daemon=True)
        child.start()
        for lock in held:
            lock.release()
        told: list[Any] = []
        while not told or told[-1] != "closed":
            told.append(queue.get(timeout=JOIN_SECONDS))
        child.join(JOIN_SECONDS)

        assert child.exitcode == 0
        problem = "opened before a fork; open it again in the child process"
        assert {one[1:] for one in told[:-1]} == {("StoreError", problem)}
        assert len(told) == 13
        assert log.append([StreamAppend("order-1", 1, [make()])]).positions == (2,)
    log.close()
