"""The log on DynamoDB: total order, nothing skipped, no lock and no clock that has to be right."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from eventcore.errors import (
    ConcurrencyConflictError,
    EventIdReusedError,
    LogRestoredError,
    StoreUnavailableError,
)
from eventcore.events.codec import Codec
from eventcore.events.recorded import Recorded, event_id_of
from eventcore.settings import PREFIX_DEFAULT
from eventcore.stores.dynamodb.ahead import SEGMENTS_AHEAD
from eventcore.stores.dynamodb.appending import RACES_MAX, Appending
from eventcore.stores.dynamodb.calls import DynamoDBCalls, Pauses
from eventcore.stores.dynamodb.chain import FENCE_SECONDS, Chain
from eventcore.stores.dynamodb.following import TailWatch
from eventcore.stores.dynamodb.ids import EventIds, Trimmed, recorded_events
from eventcore.stores.dynamodb.integrity import Integrity
from eventcore.stores.dynamodb.layout import Keys, Record, StreamEvent
from eventcore.stores.dynamodb.limits import LIMITS
from eventcore.stores.dynamodb.memories import Memories
from eventcore.stores.dynamodb.requests import Request
from eventcore.stores.dynamodb.streams import StreamReading
from eventcore.stores.dynamodb.tables import ensure_log
from eventcore.stores.dynamodb.trimming import Trimming
from eventcore.stores.dynamodb.trims import refuse, trim_record
from eventcore.stores.dynamodb.writing import Writing
from eventcore.stores.following import PullSubscription
from eventcore.stores.integrity import Problem
from eventcore.stores.limits import PLACE_MAX, check_append, check_page
from eventcore.stores.log import (
    ANY_VERSION,
    EVERYTHING,
    AppendResult,
    LogFilter,
    Page,
    StreamAppend,
    StreamRow,
    Subscription,
)
from eventcore.stores.paging import read_all
from eventcore.stores.refusals import Refusal
from eventcore.stores.repeats import repeated_append
from eventcore.stores.signals import LocalSignal
from eventcore.stores.trimming import TrimRecord

ITEMS_PER_PAGE_MAX: Final = 1_000
"""Items asked for at once while a bounded number of a stream's events is read."""


class DynamoDBLog(Memories):
    """A log in a table of DynamoDB, shared by any number of threads, processes and machines.

    An event id that is stored already is refused if the append that names it takes one of its
    streams as it is (:data:`~eventcore.stores.log.ANY_VERSION`), or if this log wrote it lately:
    see :mod:`eventcore.stores.dynamodb.ids`. Not to be used across a ``fork``: open it again in the
    child.

    Args:
        calls: To the service. This log then owns and closes them.
        table: Name of the table; it may hold other logs, with other prefixes.
        codec: Reads the events that this log hands out.
        prefix: Name of the log within its table.
        create: Create the table, and the log in it, if they are missing.
        fence_seconds: How long a reader waits for a late writer before it makes it begin anew.
            None: for ever; for one that may not write.
        segments_ahead: How many segments a reader that catches up asks for before it wants them.
            0: none, and no threads for it.

    Raises:
        SchemaMismatchError: The table is absent (with ``create=False``) or has another shape.
        LogRestoredError: The table was restored from a backup.
        StoreUnavailableError: The service does not answer.
    """

    def __init__(  # noqa: PLR0913 - each a keyword with a default
        self,
        calls: DynamoDBCalls,
        table: str,
        codec: Codec | None = None,
        *,
        prefix: str = PREFIX_DEFAULT,
        create: bool = True,
        fence_seconds: float | None = FENCE_SECONDS,
        segments_ahead: int = SEGMENTS_AHEAD,
    ) -> None:
        self.codec = codec or Codec()
        self.limits = LIMITS
        self.calls = calls
        self.keys = Keys(table, prefix)
        super().__init__(calls, self.keys)
        try:
            identity = ensure_log(calls, self.keys, create=create)
        except BaseException:
            calls.close()
            raise
        self._name = calls.name
        self._bell = LocalSignal()
        self._writing = Writing(calls, self.keys, identity)
        self._chain = Chain(
            calls,
            self.keys,
            self._writing,
            fence_seconds=fence_seconds,
            segments_ahead=segments_ahead,
        )
        self._streams = StreamReading(calls, self.keys)
        self._ids = EventIds(calls, self.keys, self._chain, self.codec)
        self._appending = Appending(calls, self.keys, self._writing, self._streams, self._ids)
        self._trimming = Trimming(calls, self.keys, self._writing, self._chain, self._streams)

    def append(self, appends: Sequence[StreamAppend]) -> AppendResult:
        """See :meth:`eventcore.stores.log.Log.append`."""
        check_append(self._name, appends, self.limits)
        self.calls.check_open()
        pauses = Pauses(self.calls.sleep)
        for _ in range(RACES_MAX):
            request = Request(self._name, appends)
            if self._appending.prepare(request) and not self._are_known(request):
                result = self._written(request)
                if result is not None:
                    self._bell.notify()
                    return result
            repeated = self._refuse(appends, request)
            if repeated is not None:
                return repeated
            pauses.pause()
        raise self._lost()

    def append_judged(
        self,
        appends: Sequence[StreamAppend],
        refusals: Sequence[Refusal],
        unmoved: Mapping[str, int],
    ) -> None:
        """See :meth:`eventcore.stores.refusals.RefusalStore.append_judged`."""
        if appends:
            check_append(self._name, appends, self.limits)
        self.calls.check_open()
        updates = self.refusal_updates(refusals)
        pauses = Pauses(self.calls.sleep)
        for _ in range(RACES_MAX):
            request = Request(self._name, appends, unmoved=unmoved, updates=updates)
            self._check_unmoved(unmoved)
            for stream, wanted in request.heads:
                if wanted is not None:
                    self._check_version(stream, wanted, unmoved.get(stream, wanted))
            if not (appends or updates):
                return
            is_fine = self._appending.prepare(request) and not self._are_known(request)
            if is_fine and self._written(request) is not None:
                self._bell.notify()
                return
            versions = self._streams.last_versions([head.stream for head in request.heads])
            self._check_versions(appends, versions)
            if request.heads:
                self._check_ids(self._present(request, versions) or {})
            pauses.pause()
        raise self._lost()

    def read_stream(  # noqa: PLR0913 - the contract's signature
        self,
        stream: str,
        *,
        after: int = 0,
        until: int | None = None,
        until_time: str | None = None,
        backwards: bool = False,
        limit: int | None = None,
    ) -> Iterator[Recorded[Any]]:
        """See :meth:`eventcore.stores.log.Log.read_stream`."""
        self.calls.check_open()
        if until_time is not None:
            until = self._version_at(stream, until_time, until)
        return self._stream_events(stream, after, until, backwards=backwards, limit=limit)

    def read_stream_rows(
        self, stream: str, *, after: int = 0, until: int | None = None
    ) -> Iterator[list[StreamRow]]:
        """See :meth:`eventcore.stores.log.RowReader.read_stream_rows`."""
        self.calls.check_open()
        return self._streams.rows(stream, after, PLACE_MAX if until is None else until)

    def stream_version(self, stream: str) -> int:
        """See :meth:`eventcore.stores.log.Log.stream_version`."""
        self.calls.check_open()
        return self._streams.last_version(stream)

    def stream_versions(self, streams: Sequence[str]) -> Mapping[str, int]:
        """See :meth:`eventcore.stores.log.Log.stream_versions`."""
        self.calls.check_open()
        return self._streams.last_versions(streams)

    def read_page(self, after: int, limit: int, where: LogFilter = EVERYTHING) -> Page:
        """See :meth:`eventcore.stores.log.Log.read_page`.

        Where a writer is late, it waits until the events behind are certain to come next.
        """
        check_page(self._name, limit)
        return self._page(after, limit, where, waits=True)

    def read(
        self, after: int = 0, *, until: int | None = None, where: LogFilter = EVERYTHING
    ) -> Iterator[Recorded[Any]]:
        """See :meth:`eventcore.stores.log.Log.read`."""
        self.calls.check_open()
        return read_all(self, after, until, where)

    def head(self) -> int:
        """See :meth:`eventcore.stores.log.Log.head`."""
        self.calls.check_open()
        return self._chain.newest_event()

    def locate(self, event_ids: Sequence[str]) -> Mapping[str, Recorded[Any]]:
        """See :meth:`eventcore.stores.log.Log.locate`."""
        self.calls.check_open()
        return self._ids.locate(event_ids)

    def subscribe(self, after: int = 0, where: LogFilter = EVERYTHING) -> Subscription:
        """See :meth:`eventcore.stores.log.Log.subscribe`."""
        self.calls.check_open()
        return PullSubscription(_Looking(self), TailWatch(self._bell), after, where)

    def trim(self, events: Sequence[Recorded[Any]], *, archive: str) -> int:
        """See :meth:`eventcore.stores.trimming.TrimmableLog.trim`.

        Raises:
            LogRestoredError: The table is another one than was opened. Nothing was removed.
            StoreUnavailableError: The service does not answer, or others trim as well: some of them
                may have been removed. Do it again.
        """
        self.calls.check_open()
        return self._trimming.trim(events, archive)

    def trim_record(self) -> TrimRecord | None:
        """See :meth:`eventcore.stores.trimming.TrimmableLog.trim_record`."""
        self.calls.check_open()
        return trim_record(self.calls, self.keys)

    def trimmed_positions(self, event_ids: Sequence[str]) -> Mapping[str, int]:
        """See :meth:`eventcore.stores.trimming.TrimmableLog.trimmed_positions`."""
        self.calls.check_open()
        return self._ids.trimmed(event_ids)

    def trimmed_among(self, events: Sequence[Recorded[Any]]) -> set[str]:
        """See :meth:`eventcore.stores.trimming.TrimsByPlace.trimmed_among`."""
        self.calls.check_open()
        return self._trimming.among(events)

    def problems(self, head: int) -> Iterator[Problem]:
        """See :meth:`eventcore.stores.integrity.SelfChecking.problems`."""
        return Integrity(self.calls, self.keys, self._chain, self._streams).problems(head)

    def close(self) -> None:
        """See :meth:`eventcore.stores.log.Log.close`."""
        self.calls.close()
        if self.calls.is_forked:
            return  # the threads and locks are the parent's
        self._streams.close()
        self._chain.close()
        self._bell.notify()

    def _written(self, request: Request) -> AppendResult | None:
        try:
            return self._appending.append(request)
        except LogRestoredError:
            self._forget()
            raise

    def _forget(self) -> None:
        """Drop all that was seen: the table is another one, where none of it need be true."""
        self._streams.last.forget()
        self._chain.forget()
        self._ids.forget()

    def _are_known(self, request: Request) -> bool:
        """Whether events of an append are stored already, as far as has to be known beforehand."""
        ids = [row.event.event_id for row in request.rows]
        if self._ids.remembered(ids):
            return True
        takes_as_is = any(
            wanted is None and self._streams.last.get(stream) for stream, wanted in request.heads
        )
        return takes_as_is and bool(self._ids.look(ids))

    def _refuse(self, appends: Sequence[StreamAppend], request: Request) -> AppendResult | None:
        """Say why an append was refused, or that it was stored before; None: look again."""
        remembered = self._ids.remembered([row.event.event_id for row in request.rows])
        versions = self._streams.last_versions([head.stream for head in request.heads])
        present = self._present(request, versions)
        if present is None:
            return None
        repeated = repeated_append(appends, present)
        if repeated is not None:
            return repeated
        self._check_versions(appends, versions)
        self._check_ids(present)
        if remembered:
            self._forget()
            problem = f"event {remembered[0]} was stored, and is gone"
            raise LogRestoredError(store=self._name, problem=problem)
        return None

    def _present(
        self, request: Request, versions: Mapping[str, int]
    ) -> Mapping[str, Recorded[Any]] | None:
        """Those events of an append that are stored, where they could be; None: look again.

        One that names a version of a stream is stored there or nowhere; one that names none, where
        the item of its first event's id says. All its events are one behind the other.
        """
        ids = [row.event.event_id for row in request.rows]
        named = next(
            ((at, one) for at, one in enumerate(request.heads) if one.wanted is not None), None
        )
        if named is None:
            found = self._ids.stored_from(ids)
            return self._ids.look(ids) if found == {} else found
        index, (stream, wanted) = named
        assert wanted is not None
        if versions[stream] > wanted:
            place = next(place for place, row in enumerate(request.rows) if row.head == index)
            position = self._position_of(stream, wanted + 1, ids[place])
            if position is not None:
                base = position - place
                return self._ids.whole_at(range(base, base + len(ids)), ids)
        takes_as_is = any(head.wanted is None for head in request.heads)
        return self._ids.look(ids) if takes_as_is else self._ids.recall(ids)

    def _position_of(self, stream: str, version: int, event_id: str) -> int | None:
        """Where the event of a version is, or was before it was trimmed, if it has this id."""
        found = self._streams.entry_of(stream, version)
        if found is None:
            return None
        position, entry = found
        if isinstance(entry, StreamEvent):
            there = event_id_of(entry.state)
        else:
            there = self._ids.id_at(position)
        return position if there == event_id else None

    def _check_unmoved(self, unmoved: Mapping[str, int]) -> None:
        versions = self._streams.last_versions(list(unmoved))
        for stream, version in unmoved.items():
            self._check_version(stream, version, versions[stream])

    def _check_versions(self, appends: Sequence[StreamAppend], versions: Mapping[str, int]) -> None:
        reached = dict(versions)
        for stream, expected_version, events in appends:
            if expected_version != ANY_VERSION:
                self._check_version(stream, expected_version, reached[stream])
            reached[stream] += len(events)

    def _check_version(self, stream: str, expected_version: int, version: int) -> None:
        if expected_version != version:
            raise ConcurrencyConflictError(
                store=self._name,
                stream=stream,
                expected_version=expected_version,
                actual_version=version,
            )

    def _check_ids(self, present: Mapping[str, Recorded[Any]]) -> None:
        for event_id, event in present.items():
            raise EventIdReusedError(event_id=event_id, stream=event.stream, version=event.version)

    def _lost(self) -> StoreUnavailableError:
        problem = f"an append lost its race {RACES_MAX} times"
        return StoreUnavailableError(store=self._name, problem=problem)

    def _stream_events(
        self, stream: str, after: int, until: int | None, *, backwards: bool, limit: int | None
    ) -> Iterator[Recorded[Any]]:
        left = PLACE_MAX if limit is None else limit
        if left <= 0:
            return
        pages = self._streams.rows(
            stream,
            after,
            PLACE_MAX if until is None else until,
            backwards=backwards,
            items_max=None if left > ITEMS_PER_PAGE_MAX else left,
        )
        for rows in pages:
            for position, version, type_, state in rows[:left]:
                yield Recorded(position, stream, version, type_, state, self.codec)
            left -= len(rows)
            if left <= 0:
                return

    def _version_at(self, stream: str, until_time: str, until: int | None) -> int:
        # A prefix: the state that was true then, even where a clock stepped back.
        version = 0
        for event in self._stream_events(stream, 0, until, backwards=False, limit=None):
            if event.timestamp_text > until_time:
                break
            version = event.version
        return version

    def _page(self, after: int, limit: int, where: LogFilter, *, waits: bool) -> Page:
        self.calls.check_open()
        end = after = max(after, 0)
        found: list[Recorded[Any]] = []
        if after >= PLACE_MAX:
            return Page(found, end)
        start = self._chain.start_for(after)
        # What is there is handed out before any waiting for what comes next.
        while records := self._chain.records_from(
            start, waits=waits and not found, is_catching_up=True
        ):
            for index, record in enumerate(records):
                for event in self._events_above(record, after):
                    end = event.position
                    if where.matches(event):
                        found.append(event)
                    if len(found) == limit:
                        left = records[index + (end == record.end) :]
                        start = left[0].first if left else record.end + 1
                        self._chain.remember(end, start, left)
                        return Page(found, end)
                start = record.end + 1
        self._chain.remember(end, start)
        return Page(found, end)

    def _events_above(self, record: Record, after: int) -> Iterator[Recorded[Any]]:
        for event in recorded_events(record, self.codec):
            if event.position <= after:
                continue
            if isinstance(event, Trimmed):
                refuse(self.calls, self.keys, f"what is above position {after}")
            yield event


class _Looking:
    """Reads pages without waiting for late writers: its subscription waits, and can be closed."""

    def __init__(self, log: DynamoDBLog) -> None:
        self._log = log

    def read_page(self, after: int, limit: int, where: LogFilter) -> Page:
        return self._log._page(after, limit, where, waits=False)  # noqa: SLF001 - a part of it
