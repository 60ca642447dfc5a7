"""An application sequence of ``eventsourcing`` as a log: appended to, read and followed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from eventsourcing.persistence import StoredEvent

from eventcore.errors import LogRestoredError
from eventcore.events.codec import Codec
from eventcore.events.limits import EVENTS_PER_APPEND_MAX
from eventcore.stores.dynamodb.appending import Appending
from eventcore.stores.dynamodb.calls import DynamoDBCalls
from eventcore.stores.dynamodb.chain import Chain
from eventcore.stores.dynamodb.ids import EventIds
from eventcore.stores.dynamodb.layout import CellEvent, Keys, Record, cell_entries
from eventcore.stores.dynamodb.limits import STREAMS_PER_APPEND_MAX, at_most
from eventcore.stores.dynamodb.recorders.names import Place, appends_of, place_of
from eventcore.stores.dynamodb.requests import Request
from eventcore.stores.dynamodb.streams import StreamReading
from eventcore.stores.dynamodb.tables import ensure_log
from eventcore.stores.dynamodb.writing import Writing
from eventcore.stores.limits import PLACE_MAX
from eventcore.stores.log import StreamRow

ITEMS_PER_PAGE_MAX = 1_000
"""Items asked for at once while a bounded number of an originator's events is read."""


class Placed(NamedTuple):
    """An event with its position."""

    position: int
    place: Place
    topic: str
    state: bytes


class ApplicationSequence:
    """The events of one application in their order. May be used from any thread.

    Args:
        calls: To the service.
        keys: Of the log.
        create: Create the table if it is missing.

    Raises:
        SchemaMismatchError: There is no table and none is to be created, or it has another shape.
        LogRestoredError: The table was restored from a backup.
    """

    def __init__(self, calls: DynamoDBCalls, keys: Keys, *, create: bool) -> None:
        identity = ensure_log(calls, keys, create=create)
        self._calls = calls
        writing = Writing(calls, keys, identity)
        self._chain = Chain(calls, keys, writing)
        # From 0: where a class of aggregates sets INITIAL_VERSION = 0, its streams begin there.
        self._streams = StreamReading(calls, keys, version_first=0)
        self._ids = EventIds(calls, keys, self._chain, Codec())
        self._appending = Appending(calls, keys, writing, self._streams, self._ids)

    def append(
        self, stored_events: Sequence[StoredEvent], updates: Sequence[Mapping[str, Any]] = ()
    ) -> list[int] | None:
        """Write all or none, with further actions; gives their positions.

        Returns:
            None: a version is taken, or does not follow the last one, or an action was refused.

        Raises:
            ConcurrencyConflictError: The versions of one originator do not follow each other.
            LimitExceededError: Too many or too large. Nothing was sent.
            StoreUnavailableError: The service does not answer; the outcome is unknown.
        """
        self._calls.check_open()
        streams = len({event.originator_id for event in stored_events})
        at_most("an insert", streams, limit=STREAMS_PER_APPEND_MAX, unit="streams")
        at_most("an insert", len(stored_events), limit=EVENTS_PER_APPEND_MAX, unit="events")
        request = Request(
            self._calls.name, appends_of(self._calls.name, stored_events), updates=updates
        )
        if not self._appending.prepare(request):
            return None
        try:
            result = self._appending.append(request)
        except LogRestoredError:
            self._forget()
            raise
        return None if result is None else list(result.positions)

    def rows(
        self, name: str, *, after: int, until: int, backwards: bool, limit: int | None
    ) -> list[StreamRow]:
        """At most ``limit`` events of an originator, versions above ``after`` up to ``until``."""
        self._calls.check_open()
        left = PLACE_MAX if limit is None else limit
        found: list[StreamRow] = []
        if left <= 0:
            return found
        pages = self._streams.rows(
            name,
            after,
            until,
            backwards=backwards,
            items_max=None if left > ITEMS_PER_PAGE_MAX else left,
        )
        for rows in pages:
            found += rows[: left - len(found)]
            if len(found) >= left:
                break
        return found

    def page(
        self, after: int, limit: int, *, until: int, topics: Sequence[str], waits: bool
    ) -> tuple[list[Placed], int]:
        """At most ``limit`` events behind a position, and up to where all of them were seen.

        Args:
            after: Position.
            limit: Events, at least 1.
            until: No event above this position.
            topics: Only these; empty means all.
            waits: Where a writer is late, wait for it. Else the page may end there.
        """
        self._calls.check_open()
        end = after = max(after, 0)
        found: list[Placed] = []
        if after >= min(until, PLACE_MAX):
            return found, end
        wanted = frozenset(topics)
        start = self._chain.start_for(after)
        for event, following in self._walk(start, waits=waits):
            if event is not None and event.position > until:
                break
            start = following
            if event is None or event.position <= after:
                continue
            end = event.position
            if not wanted or event.topic in wanted:
                found.append(event)
            if len(found) == limit:
                break
        self._chain.remember(end, start)
        return found, end

    def _walk(self, start: int, *, waits: bool) -> Iterator[tuple[Placed | None, int]]:
        """Each event, and where the record begins that holds what comes next behind it.

        No event: a record without any.
        """
        while records := self._chain.records_from(start, waits=waits):
            for record in records:
                start = record.end + 1
                if record.is_tombstone:
                    yield None, start
                for event in [] if record.is_tombstone else _events_of(record):
                    yield event, start if event.position == record.end else record.first

    def head(self) -> int:
        """Position of the newest event, 0 if there is none."""
        self._calls.check_open()
        return self._chain.newest_event()

    def close(self) -> None:
        """End the threads that read."""
        self._streams.close()

    def _forget(self) -> None:
        """Drop all that was seen: the table is another one, where none of it need be true."""
        self._streams.last.forget()
        self._chain.forget()
        self._ids.forget()


def _events_of(record: Record) -> list[Placed]:
    return [
        Placed(position, place_of(event.stream, event.version), event.type, event.state)
        for position, event in enumerate(cell_entries(record.body), start=record.first)
        if isinstance(event, CellEvent)  # of this library's own logs alone events are trimmed
    ]
