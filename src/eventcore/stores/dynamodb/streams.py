"""Reading streams, and remembering where they end."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any, Final, TypeVar

from eventcore.stores.dynamodb.calls import DynamoDBCalls, Item
from eventcore.stores.dynamodb.layout import (
    Keys,
    StreamEntry,
    StreamEvent,
    TrimmedOffset,
    number,
    stream_entries,
)
from eventcore.stores.dynamodb.trims import refuse
from eventcore.stores.limits import PLACE_MAX, is_storable
from eventcore.stores.log import StreamRow

STREAMS_REMEMBERED_MAX: Final = 100_000
"""Streams whose last version is remembered, the least recently used forgotten first."""

PARALLEL_READS_MAX: Final = 8
"""Streams whose versions are asked for at once."""

T = TypeVar("T")


class LastVersions:
    """The highest version of each stream that was ever seen to be its last. Safe under threads.

    What was seen never becomes untrue: a stream only grows. A writer may put version v + 1 once v
    was seen, however long ago, since the put demands that v + 1 is not there.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._versions: OrderedDict[str, int] = OrderedDict()

    def get(self, stream: str) -> int | None:
        """What is remembered; None: nothing is."""
        with self._lock:
            version = self._versions.get(stream)
            if version is not None:
                self._versions.move_to_end(stream)
            return version

    def saw(self, stream: str, version: int) -> None:
        """Remember that a stream reached a version."""
        with self._lock:
            if version >= self._versions.get(stream, 0):
                self._versions[stream] = version
                self._versions.move_to_end(stream)
            if len(self._versions) > STREAMS_REMEMBERED_MAX:
                self._versions.popitem(last=False)

    def forget(self) -> None:
        """Forget everything: it was another log."""
        with self._lock:
            self._versions.clear()


class StreamReading:
    """Reads the streams of one log. May be used from any thread; close it after use.

    Args:
        calls: To the service.
        keys: Of the log.
        version_first: The lowest version that a stream may have.

    Attributes:
        last: What is remembered of the streams.
    """

    def __init__(self, calls: DynamoDBCalls, keys: Keys, *, version_first: int = 1) -> None:
        self.last = LastVersions()
        self._calls = calls
        self._keys = keys
        self._below_first = version_first - 1

    def rows(
        self,
        stream: str,
        after: int,
        until: int,
        *,
        backwards: bool = False,
        items_max: int | None = None,
    ) -> Iterator[list[StreamRow]]:
        """Events of a stream in pages as the service gives them.

        Args:
            stream: Its name.
            after: Versions above this one.
            until: Up to and including this one.
            backwards: Newest first.
            items_max: How many items a page has at most; each holds an event or more.

        Raises:
            TrimmedHistoryError: What comes next was trimmed. What comes before it was given.
        """
        low, high = max(after, self._below_first), min(until, PLACE_MAX)
        if low >= high or not is_storable(stream):
            return
        # The item that holds the first of them may begin before it: known where it does, forwards,
        # and come to anyway, backwards.
        start = self._below_first + 1 if backwards else self._start(stream, low)
        request: dict[str, Any] = {
            "KeyConditionExpression": "pk = :pk AND sk BETWEEN :low AND :high",
            "ExpressionAttributeValues": {
                ":pk": {"S": self._keys.stream(stream)},
                ":low": {"N": str(start)},
                ":high": {"N": str(high)},
            },
            "ScanIndexForward": not backwards,
        }
        if items_max is not None:
            request["Limit"] = items_max
        for items in self._pages(request):
            rows = [row for item in items for row in self._rows_of(stream, item, low, high)]
            if backwards:
                rows.sort(key=_version, reverse=True)
            gone = [version for version in _trimmed_versions(items) if low < version <= high]
            if gone:
                yield from self._before_trimmed(stream, rows, gone, backwards=backwards)
            if rows:
                yield rows
            if backwards and items and number(items[-1], "sk") <= low + 1:
                return

    def _before_trimmed(
        self, stream: str, rows: Sequence[StreamRow], gone: Sequence[int], *, backwards: bool
    ) -> Iterator[list[StreamRow]]:
        """What comes before the first trimmed version that a reader meets; then refuse."""
        edge = max(gone) if backwards else min(gone)
        if before := [row for row in rows if (row[1] > edge) is backwards]:
            yield before
        refuse(self._calls, self._keys, f"version {edge} of {stream}")

    def entry_of(self, stream: str, version: int) -> tuple[int, StreamEntry] | None:
        """Position of a version, and its event or what is left of it; None: there is none."""
        for item in self.items(stream, version, version):
            place = version - number(item, "sk")
            if place < number(item, "n"):
                entry = stream_entries(item)[place]
                return number(item, "b") + entry.offset, entry
        return None

    def items(self, stream: str, first: int, last: int) -> Iterator[Item]:
        """The items that hold versions from ``first`` to ``last``, whole, in their order."""
        if not is_storable(stream):
            return
        request: dict[str, Any] = {
            "KeyConditionExpression": "pk = :pk AND sk BETWEEN :low AND :high",
            "ExpressionAttributeValues": {
                ":pk": {"S": self._keys.stream(stream)},
                ":low": {"N": str(self._start(stream, first - 1))},
                ":high": {"N": str(last)},
            },
        }
        for items in self._pages(request):
            yield from items

    def each(self, read: Callable[[str], T], streams: Iterable[str]) -> Iterator[T]:
        """What is read of each of several streams, some of them at once."""
        return self._threads.map(read, streams)

    def last_version(self, stream: str) -> int:
        """The stream's last version, 0 if it has no events."""
        if not is_storable(stream):
            return 0
        items = self._query(
            {
                "KeyConditionExpression": "pk = :pk",
                "ExpressionAttributeValues": {":pk": {"S": self._keys.stream(stream)}},
                "ProjectionExpression": "sk, n",
                "ScanIndexForward": False,
                "Limit": 1,
            }
        )["Items"]
        version = number(items[0], "sk") + number(items[0], "n") - 1 if items else 0
        self.last.saw(stream, version)
        return version

    def last_versions(self, streams: Sequence[str]) -> dict[str, int]:
        """Those of several streams, some of them asked for at once."""
        wanted = list(dict.fromkeys(streams))
        if len(wanted) <= 1:
            return {stream: self.last_version(stream) for stream in wanted}
        return dict(zip(wanted, self._threads.map(self.last_version, wanted), strict=True))

    def close(self) -> None:
        """End the threads that read."""
        if "_threads" in self.__dict__:
            self._threads.shutdown(wait=False, cancel_futures=True)

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(PARALLEL_READS_MAX, thread_name_prefix="eventcore-dynamodb")

    def _start(self, stream: str, after: int) -> int:
        """Version that the item begins with which holds the one behind ``after``."""
        if after == self._below_first or self.last.get(stream) == after:
            return after + 1
        items = self._query(
            {
                "KeyConditionExpression": "pk = :pk AND sk <= :high",
                "ExpressionAttributeValues": {
                    ":pk": {"S": self._keys.stream(stream)},
                    ":high": {"N": str(after + 1)},
                },
                "ProjectionExpression": "sk",
                "ScanIndexForward": False,
                "Limit": 1,
            }
        )["Items"]
        return number(items[0], "sk") if items else after + 1

    def _pages(self, request: dict[str, Any]) -> Iterator[list[Item]]:
        while True:
            answer = self._query(request)
            yield answer["Items"]
            if "LastEvaluatedKey" not in answer:
                return
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def _rows_of(self, stream: str, item: Item, low: int, high: int) -> list[StreamRow]:  # noqa: PLR0917 - bounds
        first, base = number(item, "sk"), number(item, "b")
        entries = stream_entries(item)
        self.last.saw(stream, first + len(entries) - 1)
        return [
            (base + entry.offset, version, entry.type, entry.state)
            for version, entry in enumerate(entries, start=first)
            if low < version <= high and isinstance(entry, StreamEvent)
        ]

    def _query(self, request: Mapping[str, Any]) -> dict[str, Any]:
        return self._calls.call(
            "Query", {"TableName": self._keys.table, "ConsistentRead": True, **request}
        )


def _version(row: StreamRow) -> int:
    return row[1]


def _trimmed_versions(items: Iterable[Item]) -> Iterator[int]:
    for item in items:
        if "x" in item:
            for version, entry in enumerate(stream_entries(item), start=number(item, "sk")):
                if isinstance(entry, TrimmedOffset):
                    yield version
