"""The log on DynamoDB Local beside the bare calls it is made of, through the same client.

The rival of an append is a bare ``TransactWriteItems`` of the same two items, without any protocol
around it; that of reading the log are bare paginated queries of the same cells. The emulator does
the work of a whole data centre on this machine: rates say little, ratios do.

    python -m benchmarks.bench_dynamodb_log [--rounds N] [--milliseconds N] [--events N]
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import closing
from functools import partial
from itertools import count

import orjson

from benchmarks.measuring import Figure, arguments, interleaved, rate, ratio, report
from eventcore.events.recorded import EncodedEvent
from eventcore.stores.dynamodb.calls import DynamoDBCalls
from eventcore.stores.dynamodb.client import open_calls
from eventcore.stores.dynamodb.layout import Keys
from eventcore.stores.dynamodb.limits import SEGMENT_POSITIONS
from eventcore.stores.dynamodb.log import DynamoDBLog
from eventcore.stores.dynamodb.requests import Commit, Request
from eventcore.stores.log import StreamAppend
from tests.dynamodb import CREDENTIALS, REGION
from tests.dynamodb_local import LocalServer

TABLE = "log"
THREADS = 16
WARMING_ROUNDS = 3
PAYLOAD = {"orderId": "7f3d8a52", "amount": "129.90", "currency": "EUR", "note": "x" * 90}


def event() -> EncodedEvent:
    """One of some 250 bytes."""
    id_ = str(uuid.uuid4())
    at = "2026-01-01T09:00:00.000000Z"
    state = orjson.dumps({"v": 1, "id": id_, "at": at, "data": PAYLOAD})
    return EncodedEvent(id_, "order.paid", at, state)


class Ours:
    """Appends to streams of their own, one a thread."""

    def __init__(self, log: DynamoDBLog) -> None:
        self._log = log
        self._versions: dict[str, int] = {}

    def append(self, thread: int) -> None:
        """One event."""
        stream = f"order-{thread}"
        version = self._versions.get(stream, 0)
        self._log.append([StreamAppend(stream, version, [event()])])
        self._versions[stream] = version + 1


class Bare:
    """Puts the same two items in a bare transaction."""

    def __init__(self, calls: DynamoDBCalls) -> None:
        self._calls = calls
        self._keys = Keys(TABLE, "bare")
        self._positions = count(1)

    def append(self, _thread: int) -> None:
        """One event."""
        position = next(self._positions)
        request = Request("bare", [StreamAppend(f"order-{position}", 0, [event()])])
        request.bases = [0]
        token = os.urandom(16)
        self._calls.call(
            "TransactWriteItems",
            {
                "TransactItems": Commit(self._keys, [request]).actions(position, token),
                "ClientRequestToken": token.hex(),
            },
        )


def appending(append: Callable[[int], None], *, threads: int, seconds: float) -> float:
    """Appends a second."""
    done = [0] * threads
    until = time.perf_counter() + seconds

    def work(thread: int) -> None:
        while time.perf_counter() < until:
            append(thread)
            done[thread] += 1

    began = time.perf_counter()
    workers = [threading.Thread(target=work, args=(thread,)) for thread in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(done) / (time.perf_counter() - began)


def reading(log: DynamoDBLog, events: int) -> float:
    """Events a second through the log."""
    began = time.perf_counter()
    read = sum(1 for _ in log.read(until=events))
    return read / (time.perf_counter() - began)


def querying(calls: DynamoDBCalls, keys: Keys, events: int) -> float:
    """Events a second by bare queries of the same segments; nobody looks into the items."""
    began = time.perf_counter()
    read = 0
    for segment in range(events // SEGMENT_POSITIONS + 1):
        request = {
            "TableName": TABLE,
            "KeyConditionExpression": "pk = :pk",
            "ExpressionAttributeValues": {":pk": {"S": keys.segment_numbered(segment)}},
            "ConsistentRead": True,
        }
        answer = calls.call("Query", request)
        read += sum(int(item["n"]["N"]) for item in answer["Items"])
        while "LastEvaluatedKey" in answer:
            answer = calls.call(
                "Query", {**request, "ExclusiveStartKey": answer["LastEvaluatedKey"]}
            )
            read += sum(int(item["n"]["N"]) for item in answer["Items"])
    return read / (time.perf_counter() - began)


def measure(url: str, rounds: int, seconds: float, events: int) -> list[Figure]:  # noqa: PLR0917
    """Everything, on one server."""
    calls = open_calls(TABLE, region=REGION, endpoint_url=url)
    with closing(DynamoDBLog(calls, TABLE)) as log:
        sides: dict[str, Ours | Bare] = {"eventcore": Ours(log), "bare": Bare(calls)}
        cases = {
            f"{name}, {threads} threads": partial(
                appending, side.append, threads=threads, seconds=seconds
            )
            for threads in (1, THREADS)
            for name, side in sides.items()
        }
        for _ in range(WARMING_ROUNDS):
            for case in cases.values():
                case()  # a Java program is slow until it is warm
        found = interleaved(cases, rounds)
        one, many = found["eventcore, 1 threads"], found[f"eventcore, {THREADS} threads"]
        figures = [
            ratio("1 thread: over bare transactions", one, found["bare, 1 threads"], 0.55),
            ratio(
                f"{THREADS} threads: over bare transactions of {THREADS} threads",
                many,
                found[f"bare, {THREADS} threads"],
                1.5,
            ),
            ratio(f"{THREADS} threads: over one thread", many, one, 3.0),
            *(rate(f"appends: {name}", values) for name, values in found.items()),
        ]
        log_of_one = DynamoDBLog(
            open_calls(TABLE, region=REGION, endpoint_url=url), TABLE, prefix="read"
        )
        with closing(log_of_one):
            for number in range(events):
                log_of_one.append([StreamAppend(f"order-{number}", 0, [event()])])
            readers: dict[str, Callable[[], float]] = {
                "eventcore": partial(reading, log_of_one, events),
                "bare": partial(querying, calls, log_of_one.keys, events),
            }
            for reader in readers.values():
                reader()
            read = interleaved(readers, rounds)
        figures.append(
            ratio("reading: over bare queries of the cells", read["eventcore"], read["bare"], 0.7)
        )
        figures += [rate(f"reading: {name}", values) for name, values in read.items()]
    return figures


def main() -> None:
    """Measure on a fresh server."""
    options = arguments(__doc__ or "", rounds=5, milliseconds=1_500, events=2_000)
    for name, value in CREDENTIALS.items():
        os.environ.setdefault(name, value)
    server = LocalServer(os.getpid())
    try:
        figures = measure(server.url, options.rounds, options.milliseconds / 1000, options.events)
    finally:
        server.stop()
    report("the log on DynamoDB Local", figures)


if __name__ == "__main__":
    main()
