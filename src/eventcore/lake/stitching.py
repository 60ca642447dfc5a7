"""ArchivedLog: an archive and its log as one log, without gap or overlap.

The archive holds every event up to a position, the log every event that was not trimmed. What the
log no longer has is read from the archive, the rest from the log; they meet at one position that
both agree on. Whoever reads or follows cannot tell where that is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NoReturn, Protocol

from typing_extensions import override

from eventcore.errors import (
    ConcurrencyConflictError,
    ConfigurationError,
    EventIdReusedError,
    StoreClosedError,
    TrimmedHistoryError,
)
from eventcore.events.limits import READ_PAGE_EVENTS
from eventcore.events.recorded import Recorded
from eventcore.lake.following import StitchedSubscription
from eventcore.lake.reading import Archive
from eventcore.lake.streams import StitchedStream
from eventcore.stores.limits import LogLimits, check_page, limits_of
from eventcore.stores.log import (
    ANY_VERSION,
    EVERYTHING,
    AppendResult,
    Log,
    LogFilter,
    Page,
    RowReader,
    StreamAppend,
    StreamRow,
    Subscription,
)
from eventcore.stores.paging import read_all
from eventcore.stores.refusals import Refusal, RefusalStore
from eventcore.stores.repeats import repeated_append
from eventcore.stores.snapshots import Snapshot, SnapshotStore
from eventcore.stores.trimming import TrimmableLog


class KeepingLog(Log, SnapshotStore, RefusalStore, Protocol):
    """A log that keeps snapshots and refusals beside it, as every store of this library does."""


class ArchivedLog:
    """A log whose past is in an archive. A :class:`~eventcore.stores.log.Log` like any other.

    Appends go to the log. Closing it closes the log.

    Args:
        archive: Made from this log.
        log: The log.
        prefer_archive: Read from the archive whatever it has, not only what the log no longer has:
            to spare the log, or to try an archive before anything is trimmed.

    Attributes:
        codec: The log's.
        limits: The log's.
        archive: As given.
        store: The log itself, as given: read models beside it are opened with that.

    Raises:
        ConfigurationError: The log keeps no snapshots and refusals beside it.
        TrimmedHistoryError: The log was trimmed further than this archive reaches.
    """

    def __init__(self, archive: Archive, log: Log, *, prefer_archive: bool = False) -> None:
        if not (isinstance(log, SnapshotStore) and isinstance(log, RefusalStore)):
            raise ConfigurationError(
                message=f"A {type(log).__name__} cannot be read together with an archive"
            )
        self.codec = log.codec
        self.limits: LogLimits = limits_of(log)
        self.archive = archive
        self.store: Log = log
        self._memories: SnapshotStore = log
        self._refusals: RefusalStore = log
        self._prefers = prefer_archive
        self._boundary = 0
        self._is_closed = False
        self.look_again()

    @property
    def boundary(self) -> int:
        """Up to this position the whole log is read from the archive, behind it from the log."""
        return max(self._boundary, self.archive.until) if self._prefers else self._boundary

    def look_again(self) -> int:
        """See how far the log was trimmed meanwhile, and how far the archive reaches now.

        Raises:
            TrimmedHistoryError: The log was trimmed further than this archive reaches.
        """
        record = self.store.trim_record() if isinstance(self.store, TrimmableLog) else None
        if record is not None and record.until > self._boundary:
            if record.until > self.archive.until:
                self.archive.refresh()
            if record.until > self.archive.until:
                what = f"what is between positions {self.archive.until + 1} and {record.until}"
                raise TrimmedHistoryError(
                    store=f"archive {self.archive.url}", what=what, archive=record.archive
                )
            self._boundary = record.until
        return self.boundary

    def append(self, appends: Sequence[StreamAppend]) -> AppendResult:
        """See :meth:`eventcore.stores.log.Log.append`."""
        try:
            return self.store.append(appends)
        except TrimmedHistoryError:
            # An id of it was stored and trimmed: a repeat, or an id that is used twice.
            present = self.locate([event.event_id for one in appends for event in one.events])
            repeated = repeated_append(appends, present)
            if repeated is not None:
                return repeated
            self._refuse(appends, present, {})

    def append_judged(
        self,
        appends: Sequence[StreamAppend],
        refusals: Sequence[Refusal],
        unmoved: Mapping[str, int],
    ) -> None:
        """See :meth:`eventcore.stores.refusals.RefusalStore.append_judged`."""
        try:
            self._refusals.append_judged(appends, refusals, unmoved)
        except TrimmedHistoryError:
            present = self.locate([event.event_id for one in appends for event in one.events])
            self._refuse(appends, present, unmoved)

    def _refuse(
        self,
        appends: Sequence[StreamAppend],
        present: Mapping[str, Recorded[Any]],
        unmoved: Mapping[str, int],
    ) -> NoReturn:
        """Say what is wrong with an append of which an event was stored before."""
        streams = [*unmoved, *(append.stream for append in appends)]
        reached = dict(self.stream_versions(streams))
        wanted = [*unmoved.items(), *((one.stream, one.expected_version) for one in appends)]
        sizes = [0] * len(unmoved) + [len(append.events) for append in appends]
        for (stream, version), size in zip(wanted, sizes, strict=True):
            if version not in {ANY_VERSION, reached[stream]}:
                raise ConcurrencyConflictError(
                    store=repr(self),
                    stream=stream,
                    expected_version=version,
                    actual_version=reached[stream],
                )
            reached[stream] += size
        ids = [event.event_id for append in appends for event in append.events]
        event_id = next(id_ for id_ in ids if id_ in present)
        event = present[event_id]
        raise EventIdReusedError(event_id=event_id, stream=event.stream, version=event.version)

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
        if until_time is not None:
            until = self._version_at(stream, until_time, until)
        asked = StitchedStream(
            archive=self.archive,
            store=self.store,
            codec=self.codec,
            boundary=lambda: self.boundary,
            prefers=self._prefers,
            look_again=self.look_again,
            stream=stream,
            after=max(after, 0),
            until=until,
            limit=limit,
        )
        events = asked.backwards() if backwards else asked.forwards()
        yield from islice(events, None if limit is None else max(limit, 0))

    def _version_at(self, stream: str, until_time: str, until: int | None) -> int:
        # A prefix: the state that was true then, even where a clock stepped back.
        version = 0
        for event in self.read_stream(stream, until=until):
            if event.timestamp_text > until_time:
                break
            version = event.version
        return version

    def read_stream_rows(
        self, stream: str, *, after: int = 0, until: int | None = None
    ) -> Iterator[list[StreamRow]]:
        """See :meth:`eventcore.stores.log.RowReader.read_stream_rows`."""
        if isinstance(self.store, RowReader) and not self._prefers:
            try:
                for rows in self.store.read_stream_rows(stream, after=after, until=until):
                    yield rows
                    after = rows[-1][1]
            except TrimmedHistoryError:
                self.look_again()
            else:
                return
        events = self.read_stream(stream, after=after, until=until)
        while page := list(islice(events, READ_PAGE_EVENTS)):
            yield [(e.position, e.version, e.type, e.state) for e in page]

    def stream_version(self, stream: str) -> int:
        """See :meth:`eventcore.stores.log.Log.stream_version`."""
        # The newest event of a stream is never trimmed.
        return self.store.stream_version(stream)

    def stream_versions(self, streams: Sequence[str]) -> Mapping[str, int]:
        """See :meth:`eventcore.stores.log.Log.stream_versions`."""
        return self.store.stream_versions(streams)

    def read_page(self, after: int, limit: int, where: LogFilter = EVERYTHING) -> Page:
        """See :meth:`eventcore.stores.log.Log.read_page`."""
        check_page(repr(self), limit)
        after, found = max(after, 0), list[Recorded[Any]]()
        while True:
            if after < self.boundary:
                page = self.archived_page(after, limit - len(found), where)
                found, after = found + page.events, page.end
                if len(found) == limit:
                    return Page(found, after)
            try:
                page = self.store.read_page(after, limit - len(found), where)
            except TrimmedHistoryError:
                # Trimmed since it was looked for.
                if self.look_again() <= after:
                    raise
            else:
                return Page(found + page.events, page.end)

    def archived_page(self, after: int, limit: int, where: LogFilter) -> Page:
        """A page of what is read from the archive; it ends at :attr:`boundary` at the latest."""
        if self._is_closed:
            raise StoreClosedError(store=repr(self))
        return self.archive.read_page(after, limit, where, until=self.boundary, codec=self.codec)

    def read(
        self, after: int = 0, *, until: int | None = None, where: LogFilter = EVERYTHING
    ) -> Iterator[Recorded[Any]]:
        """See :meth:`eventcore.stores.log.Log.read`."""
        return read_all(self, after, until, where)

    def head(self) -> int:
        """See :meth:`eventcore.stores.log.Log.head`."""
        return self.store.head()

    def locate(self, event_ids: Sequence[str]) -> Mapping[str, Recorded[Any]]:
        """See :meth:`eventcore.stores.log.Log.locate`."""
        try:
            return self.store.locate(event_ids)
        except TrimmedHistoryError:
            assert isinstance(self.store, TrimmableLog)
            places = self.store.trimmed_positions(event_ids)
            self.look_again()  # after that: what left by then is in the archive by now
            found = self.archive.at(list(places.values()), self.codec)
            left = [id_ for id_ in event_ids if id_ not in places]
            return {**self.locate(left), **{id_: found[at] for id_, at in places.items()}}

    def subscribe(self, after: int = 0, where: LogFilter = EVERYTHING) -> Subscription:
        """See :meth:`eventcore.stores.log.Log.subscribe`."""
        self.head()  # refuses a closed log here rather than in the consumer's loop
        return StitchedSubscription(self, max(after, 0), where)

    def load_snapshot(self, stream: str) -> Snapshot | None:
        """See :meth:`eventcore.stores.snapshots.SnapshotStore.load_snapshot`."""
        return self._memories.load_snapshot(stream)

    def save_snapshot(self, snapshot: Snapshot) -> None:
        """See :meth:`eventcore.stores.snapshots.SnapshotStore.save_snapshot`."""
        self._memories.save_snapshot(snapshot)

    def find_refusals(self, event_ids: Sequence[str]) -> Mapping[tuple[str, str], Refusal]:
        """See :meth:`eventcore.stores.refusals.RefusalStore.find_refusals`."""
        return self._refusals.find_refusals(event_ids)

    def remember_refusals(self, refusals: Sequence[Refusal]) -> None:
        """See :meth:`eventcore.stores.refusals.RefusalStore.remember_refusals`."""
        self._refusals.remember_refusals(refusals)

    def all_refusals(self) -> Iterable[Refusal]:
        """See :meth:`eventcore.stores.refusals.RefusalStore.all_refusals`."""
        return self._refusals.all_refusals()

    def close(self) -> None:
        """See :meth:`eventcore.stores.log.Log.close`."""
        self._is_closed = True
        self.store.close()

    @override
    def __repr__(self) -> str:
        return f"{type(self.store).__name__} with archive {self.archive.url}"
