"""The log contract: what every store promises, and the words it is said in.

=================== ==============================================================================
promise             exactly
=================== ==============================================================================
atomic              ``append`` writes all its events, of one stream or several, or none
concurrency         an append names the version it builds on; a stream that moved refuses it
safe retry          repeating an append whose outcome is unknown gives the same positions
order               whoever has read up to position p never later finds an event at or below p
completeness        nothing committed is ever skipped by a follower
immutable           the database itself refuses update and delete
following           woken, not busy-polling; pages are pulled; memory is bounded; stops promptly
=================== ==============================================================================

The same suite (:mod:`eventcore.testing`) checks these for every store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, NamedTuple, Protocol, Self, runtime_checkable

from eventcore.events.codec import Codec
from eventcore.events.recorded import EncodedEvent, Recorded

ANY_VERSION: Final = -1
"""Append at whatever version the stream has: for log-only streams, where order does not matter."""


class StreamAppend(NamedTuple):
    """The events that one append adds to one stream.

    Attributes:
        stream: Name of the stream, ``category-id``.
        expected_version: Version the events build on, 0 for a new stream, or :data:`ANY_VERSION`.
        events: At least one.
    """

    stream: str
    expected_version: int
    events: Sequence[EncodedEvent]


class AppendResult(NamedTuple):
    """Where the events of an append are.

    Attributes:
        positions: One per event, in the order they were given.
        versions: Version in its stream of each event, in the same order.
        repeated: True if those very events were there already and nothing was written.
    """

    positions: tuple[int, ...]
    versions: tuple[int, ...]
    repeated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFilter:
    """Which events of the log to read; no field set means all.

    Attributes:
        types: Stored names.
        categories: First parts of stream names.
    """

    types: frozenset[str] | None = None
    categories: frozenset[str] | None = None

    def matches(self, event: Recorded[Any]) -> bool:
        """Whether an event passes."""
        return (self.types is None or event.type in self.types) and (
            self.categories is None or event.category in self.categories
        )


EVERYTHING: Final = LogFilter()


class Page(NamedTuple):
    """A stretch of the log.

    Attributes:
        events: Those that pass the filter, by position.
        end: Every event up to this position was looked at: where the next page starts. A follower's
            checkpoint advances to it, past events that the filter left out.
    """

    events: list[Recorded[Any]]
    end: int


@runtime_checkable
class Subscription(Protocol):
    """Recorded events, for ever. Iterate it, in one thread; close it from any."""

    def __iter__(self) -> Iterator[Recorded[Any]]:
        """Yields each event once, by position; ends when closed."""

    def next_page(self, timeout_seconds: float | None = None) -> Page | None:
        """The next page; empty if nothing came in time, None once closed. For readers of pages."""

    def close(self) -> None:
        """End the iteration promptly, also while it waits."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


StreamRow = tuple[int, int, str, bytes]
"""An event of a known stream as a plain row: position, version, type, state."""


@runtime_checkable
class Log(Protocol):
    """An append-only log of events in streams. Every method may be called from any thread.

    Attributes:
        codec: Reads the events that the log hands out; writers encode with the same.
    """

    codec: Codec

    def append(self, appends: Sequence[StreamAppend]) -> AppendResult:
        """Write events, all or none; positions follow the order given.

        A stream may be named again, to keep the order in which events of several streams happened,
        if the later entry goes on where the earlier one left it (or both say :data:`ANY_VERSION`).

        Raises:
            ConcurrencyConflictError: A stream is not at its expected version. Reload.
            EventIdReusedError: An event id is stored already, elsewhere or with another content.
            LimitExceededError: Too large or too many. Nothing was sent.
            StoreUnavailableError: Locked, full or unreachable; repeat the same append.
            StoreClosedError: After ``close()``.
        """

    def read_stream(  # noqa: PLR0913 - each a keyword, each a bound of its own
        self,
        stream: str,
        *,
        after: int = 0,
        until: int | None = None,
        until_time: str | None = None,
        backwards: bool = False,
        limit: int | None = None,
    ) -> Iterator[Recorded[Any]]:
        """The events of one stream; an unknown stream has none.

        Args:
            stream: Name of the stream.
            after: Only versions above this one.
            until: Only versions up to and including this one.
            until_time: Only events that happened at or before this time (fixed-width UTC text).
            backwards: Newest first.
            limit: At most so many.
        """

    def stream_version(self, stream: str) -> int:
        """The stream's last version, 0 if it has no events."""

    def stream_versions(self, streams: Sequence[str]) -> Mapping[str, int]:
        """The last version of each of these streams, 0 where there are none; one round trip."""

    def read_page(self, after: int, limit: int, where: LogFilter = EVERYTHING) -> Page:
        """At most ``limit`` matching events above position ``after``, in order."""

    def read(
        self, after: int = 0, *, until: int | None = None, where: LogFilter = EVERYTHING
    ) -> Iterator[Recorded[Any]]:
        """All events above ``after`` (and up to ``until``), page by page; ends at the head."""

    def head(self) -> int:
        """Position of the newest event, 0 for an empty log."""

    def locate(self, event_ids: Sequence[str]) -> Mapping[str, Recorded[Any]]:
        """Those of the ids (canonical text) that are stored, with their events."""

    def subscribe(self, after: int = 0, where: LogFilter = EVERYTHING) -> Subscription:
        """Follow the log from a position on."""

    def close(self) -> None:
        """Release everything; ends every subscription. Closing twice is fine."""


def store_of(log: Log) -> Log:
    """The store itself, of a log that may be read through an archive."""
    return getattr(log, "store", log)


@runtime_checkable
class RowReader(Protocol):
    """What a store may offer besides: a stream as plain rows, for rebuilding state fast."""

    def read_stream_rows(
        self, stream: str, *, after: int = 0, until: int | None = None
    ) -> Iterator[list[StreamRow]]:
        """The events of one stream in pages; no page is empty. Bounds as for ``read_stream``."""


@runtime_checkable
class PageFetcher(Protocol):
    """What a store may offer besides: a page read by one thread and made into events by another.

    Events that are made where they are used lie in the cache of the processor that uses them, and
    a reading thread that makes nothing is in nobody's way.
    """

    def fetch_page(
        self, after: int, limit: int, where: LogFilter = EVERYTHING
    ) -> Callable[[], Page]:
        """Read a page as :meth:`Log.read_page` does, and give what makes it into events."""
